//! What a secret of a shared source becomes for one fleet and generation.
//!
//! The same file or record in two fleets, or under another `tickets.generation`, gives keys that do not know each
//! other.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use zeroize::Zeroizing;

use super::source::Setup;

/// HMAC-SHA-256 over fleet and generation.
pub(super) fn scoped(secret: &[u8; 32], setup: &Setup) -> Zeroizing<[u8; 32]> {
    let mut scope = b"portcullis ticket scope v1\0".to_vec();
    append(&mut scope, setup.fleet.as_bytes());
    scope.extend_from_slice(&setup.generation.to_be_bytes());
    let tag = sign(&Key::new(HMAC_SHA256, secret), &scope);
    let mut scoped = Zeroizing::new([0; 32]);
    // A tag of SHA-256 has 32 bytes.
    scoped.copy_from_slice(tag.as_ref());
    scoped
}

/// Appends bytes behind their length, so that no two lists of them are the same.
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}
