//! `Client-Cert` and `Client-Cert-Chain`: a strict reader of RFC 8941 finds the bytes that were put in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::identity_fields::client_cert::{MAX, chain, leaf};
use rustls_pki_types::CertificateDer;

/// Cuts the input into certificates: a byte of length, times 16, before each.
pub fn check(data: &[u8]) {
    let mut certificates = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let length = (usize::from(*length) * 16).min(after.len());
        let (certificate, after) = after.split_at(length);
        certificates.push(CertificateDer::from(certificate.to_vec()));
        rest = after;
    }
    if let Some(first) = certificates.first() {
        told(leaf(first), &certificates[..1]);
    }
    let issuers = certificates.get(1..).unwrap_or_default();
    match issuers.is_empty() {
        true => assert_eq!(chain(&certificates), None),
        false => told(chain(&certificates), issuers),
    }
}

fn told(value: Option<String>, certificates: &[CertificateDer<'_>]) {
    let Some(value) = value else {
        // Nothing was left out that would have fitted.
        let least: usize = certificates.iter().map(|der| der.len() / 3 * 4).sum();
        assert!(least + certificates.len() * 8 > MAX);
        return;
    };
    assert!(value.len() <= MAX);
    let members: Vec<&str> = value.split(", ").collect();
    assert_eq!(members.len(), certificates.len());
    for (member, certificate) in members.iter().zip(certificates) {
        let text = member
            .strip_prefix(':')
            .and_then(|text| text.strip_suffix(':'))
            .expect("a byte sequence");
        assert_eq!(STANDARD.decode(text).expect("base64"), certificate.to_vec());
    }
}
