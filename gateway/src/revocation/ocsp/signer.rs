//! Who may sign an answer: the issuer of the certificate, or whom the issuer named.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use super::answer::Basic;
use super::question::{Question, sha1};
use crate::revocation::der::{self, Reader};
use crate::revocation::signature::split_key;

const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];

/// Certificates in an answer that are tried as the signer's.
const SIGNERS_MAX: usize = 4;

/// Who says that it signed.
pub(super) enum Responder<'a> {
    /// The content of the Name's SEQUENCE.
    Name(&'a [u8]),
    KeyHash(&'a [u8]),
}

impl Responder<'_> {
    fn is(&self, name: &[u8], key: &[u8]) -> bool {
        match self {
            Responder::Name(named) => *named == name,
            Responder::KeyHash(hash) => {
                split_key(key).is_some_and(|(_, bits)| *hash == sha1(bits).as_slice())
            }
        }
    }
}

/// Whether the issuer signed, or a responder with a certificate for that directly from the issuer (RFC 6960,
/// section 4.2.2.2).
pub(super) fn is_signed(basic: &Basic<'_>, question: &Question, now: i64) -> bool {
    let (name, key) = (&question.issuer_name, &question.issuer_key);
    if basic.data.responder.is(name, key) && basic.signed.verify(key).is_ok() {
        return true;
    }
    let issuer = TrustAnchor {
        subject: name.as_slice().into(),
        subject_public_key_info: key.as_slice().into(),
        name_constraints: None,
    };
    let now = Duration::from_secs(u64::try_from(now).unwrap_or_default());
    let now = UnixTime::since_unix_epoch(now);
    let mut signers = basic.certificates.iter().take(SIGNERS_MAX);
    signers.any(|der| {
        let der = CertificateDer::from(*der);
        let Ok(certificate) = EndEntityCert::try_from(&der) else {
            return false;
        };
        let own_key = certificate.subject_public_key_info();
        let own_key = Reader::new(own_key.as_ref(), "key").value(der::SEQUENCE);
        let own_key = own_key.unwrap_or_default();
        basic.data.responder.is(certificate.subject(), own_key)
            && basic.signed.verify(own_key).is_ok()
            && certificate
                .verify_for_usage(
                    ALL_VERIFICATION_ALGS,
                    std::slice::from_ref(&issuer),
                    &[],
                    now,
                    KeyUsage::required(OCSP_SIGNING),
                    None,
                    None,
                )
                .is_ok()
    })
}
