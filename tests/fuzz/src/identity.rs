//! Identities: any DER is read or refused, and what was read can be told to an upstream in every form.

use portcullis::identity::Identity;
use portcullis::identity_fields::claims::{Occasion, claims};
use portcullis::identity_fields::{client_cert, xfcc};
use portcullis_config::XfccDetail;
use rustls_pki_types::CertificateDer;

/// Reads the input as a certificate.
pub fn check(data: &[u8]) {
    let leaf = CertificateDer::from(data.to_vec());
    let Ok(identity) = Identity::from_verified(&leaf) else {
        return;
    };
    if let Some(spiffe) = &identity.spiffe {
        assert_eq!(identity.uris, std::slice::from_ref(spiffe));
        assert!(spiffe.starts_with("spiffe://"));
    }
    assert!(
        identity
            .dns
            .iter()
            .all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase()))
    );
    assert!(identity.serial.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let details = [XfccDetail::Subject, XfccDetail::Uri, XfccDetail::Dns];
    let text = xfcc::element(&identity, std::slice::from_ref(&leaf), &[], &details);
    super::xfcc::read_back(&text, &identity, &[]);
    if let Some(value) = client_cert::leaf(&leaf) {
        assert!(value.starts_with(':') && value.ends_with(':'));
    }
    told(&identity);
}

/// The claims are JSON that says the same.
fn told(identity: &Identity) {
    let occasion = Occasion {
        issuer: "portcullis",
        audience: "orders",
        site: "api",
        now: 0,
        lifetime: 60,
    };
    let Some(claims) = claims(identity, &occasion) else {
        assert!(identity.not_after <= 0);
        return;
    };
    let read: serde_json::Value = serde_json::from_str(&claims.to_string()).expect("JSON");
    assert_eq!(read["subject"], identity.subject);
    assert!(!read["sub"].as_str().expect("a subject").is_empty());
    assert!(read["exp"].as_i64().expect("an end") <= identity.not_after);
}
