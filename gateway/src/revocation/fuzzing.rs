//! The readers of foreign bytes, for the fuzz targets: what an attacker on the way to a list or an answer can write.

use std::sync::Arc;
use std::time::Duration;

use super::ocsp::reads_answer;
use super::source::read_bytes;

/// Whether the bytes are revocation lists.
///
/// # Panics
/// A list says more than its bytes can hold, or counts as signed by a key that signed nothing.
pub fn reads_lists(bytes: &[u8], stranger: &[u8]) -> bool {
    let Ok(lists) = read_bytes(bytes.to_vec(), "fuzzing") else {
        return false;
    };
    for list in lists {
        assert!(list.crl.len() <= bytes.len());
        assert!(!list.crl.is_authentic(stranger));
        let _ = (list.crl.find(&[1]), list.crl.scope(), list.crl.freshest());
    }
    true
}

/// Whether the bytes are an OCSP answer about a certificate of an issuer with this key, at this time (seconds since the
/// Unix epoch).
pub fn believes_answer(bytes: &[u8], certificate: &[u8], stranger: &[u8], now: i64) -> bool {
    super::PathCert::new(certificate, stranger)
        .is_ok_and(|certificate| reads_answer(bytes, &certificate, now, Duration::from_secs(3600)))
}

/// What is read of certificates of a chain.
pub fn reads_certificate(bytes: &[u8]) -> bool {
    let shared: Arc<[u8]> = bytes.into();
    super::PathCert::new(&shared, &[]).is_ok()
}
