//! `Client-Cert` and `Client-Cert-Chain` (RFC 9440): DER as byte sequences of structured fields.
//!
//! A value is never longer than [`MAX`]; a certificate that would make it longer is not sent at all, for half
//! a certificate or half a chain would be another one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// Longest value of each of the two fields.
pub const MAX: usize = 32 * 1024;

/// The value of `Client-Cert`. `None` when it would be longer than [`MAX`].
pub fn leaf(certificate: &CertificateDer<'_>) -> Option<String> {
    list(std::slice::from_ref(certificate))
}

/// The value of `Client-Cert-Chain`: the chain without its leaf, in order. `None` when there is nothing but
/// the leaf, or when it would be longer than [`MAX`].
pub fn chain(certificates: &[CertificateDer<'_>]) -> Option<String> {
    let issuers = certificates.get(1..).unwrap_or_default();
    (!issuers.is_empty()).then(|| list(issuers)).flatten()
}

/// RFC 8941, sections 3.1 and 3.3.5.
fn list(certificates: &[CertificateDer<'_>]) -> Option<String> {
    let bytes: usize = certificates
        .iter()
        .map(|certificate| certificate.len().div_ceil(3) * 4 + ":, :".len())
        .sum();
    if bytes > MAX {
        return None;
    }
    let mut text = String::with_capacity(bytes);
    for certificate in certificates {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push(':');
        STANDARD.encode_string(certificate, &mut text);
        text.push(':');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(bytes: &[u8]) -> CertificateDer<'static> {
        CertificateDer::from(bytes.to_vec())
    }

    #[test]
    fn what_is_too_large_is_not_sent_and_what_just_fits_is() {
        let fits = der(&vec![7; (MAX - 4) / 4 * 3]);
        assert!(leaf(&fits).unwrap().len() <= MAX);
        assert_eq!(leaf(&der(&vec![7; MAX / 4 * 3])), None);
        let half = der(&vec![7; MAX / 8 * 3]);
        assert!(chain(&[der(&[1]), half.clone()]).is_some());
        assert_eq!(chain(&[der(&[1]), half.clone(), half]), None);
    }

    #[test]
    fn a_chain_is_told_without_its_leaf() {
        assert_eq!(chain(&[]), None);
        assert_eq!(chain(&[der(&[1])]), None);
        let told = chain(&[der(&[1]), der(&[0xfb, 0xff]), der(b"abc")]);
        assert_eq!(told.as_deref(), Some(":+/8=:, :YWJj:"));
        assert_eq!(leaf(&der(b"a")).as_deref(), Some(":YQ==:"));
    }
}
