//! Revocation lists: read whole or not at all, and never signed by a key that signed nothing.

use portcullis::revocation::fuzzing;

const STRANGER: &[u8] = include_bytes!("../seeds/facts/stranger.spki");

/// Reads the input as a file of lists, and as a certificate of a chain.
pub fn check(data: &[u8]) {
    let _ = fuzzing::reads_lists(data, STRANGER);
    let _ = fuzzing::reads_certificate(data);
}
