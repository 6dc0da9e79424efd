//! OCSP answers: believed with the issuer's signature, and with no other.

use portcullis::revocation::fuzzing;

const CERTIFICATE: &[u8] = include_bytes!("../seeds/facts/certificate.der");
const ISSUER: &[u8] = include_bytes!("../seeds/facts/issuer.spki");
const STRANGER: &[u8] = include_bytes!("../seeds/facts/stranger.spki");
/// When the seeds were made.
const NOW: i64 = 1795563119;

/// Reads the input as an answer about a certificate.
pub fn check(data: &[u8]) {
    let _ = fuzzing::believes_answer(data, CERTIFICATE, content(ISSUER), NOW);
    assert!(!fuzzing::believes_answer(
        data,
        CERTIFICATE,
        content(STRANGER),
        NOW
    ));
}

/// The content of a SubjectPublicKeyInfo that is shorter than 128 bytes.
fn content(spki: &[u8]) -> &[u8] {
    spki.get(2..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_believed_so_that_what_is_near_it_is_tried() {
        let seed = include_bytes!("../seeds/ocsp/a-0x0A1B.der");
        assert!(fuzzing::believes_answer(
            seed,
            CERTIFICATE,
            content(ISSUER),
            NOW
        ));
    }
}
