//! An OCSP request about one certificate (RFC 6960, in the profile of RFC 5019).

use std::sync::Arc;

use aws_lc_rs::digest;

use crate::revocation::certificate::PathCert;
use crate::revocation::der::{self, Malformed, Reader, constructed};
use crate::revocation::signature::split_key;

/// AlgorithmIdentifier of SHA-1. The hash only names the issuer, which is what responders index by; nothing
/// relies on it.
const SHA1: &[u8] = b"\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00";
const SHA1_OID: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
pub(super) const NONCE_OID: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];

/// The length RFC 9654 asks for.
pub(super) const NONCE_LENGTH: usize = 32;

/// Which certificate is meant: a CertID in DER.
pub(super) type CertId = Arc<[u8]>;

/// Everything to ask and to check the answer with.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) id: CertId,
    /// Whom to ask.
    pub(super) address: String,
    /// The issuer's name: the content of the SEQUENCE.
    pub(super) issuer_name: Vec<u8>,
    /// The content of the issuer's SubjectPublicKeyInfo.
    pub(super) issuer_key: Vec<u8>,
}

/// The CertID of a certificate.
pub(super) fn cert_id(certificate: &PathCert<'_>) -> CertId {
    let (_, key) = split_key(certificate.issuer_key()).unwrap_or_default();
    let name = der::wrap(der::OCTET_STRING, &[&sha1(certificate.issuer_der())]);
    let key = der::wrap(der::OCTET_STRING, &[&sha1(key)]);
    let serial = der::wrap(der::INTEGER, &[certificate.serial()]);
    der::wrap(der::SEQUENCE, &[SHA1, &name, &key, &serial]).into()
}

pub(super) fn sha1(bytes: &[u8]) -> [u8; 20] {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    hash.as_ref().try_into().unwrap_or_default()
}

/// The request in DER.
pub(super) fn encode(id: &[u8], nonce: Option<&[u8]>) -> Vec<u8> {
    let one = der::wrap(der::SEQUENCE, &[id]);
    let list = der::wrap(der::SEQUENCE, &[&one]);
    let extensions = nonce.map(|nonce| {
        let oid = der::wrap(der::OID, &[NONCE_OID]);
        let nonce = der::wrap(der::OCTET_STRING, &[nonce]);
        let value = der::wrap(der::OCTET_STRING, &[&nonce]);
        let extension = der::wrap(der::SEQUENCE, &[&oid, &value]);
        der::wrap(constructed(2), &[&der::wrap(der::SEQUENCE, &[&extension])])
    });
    let tbs = der::wrap(der::SEQUENCE, &[&list, &extensions.unwrap_or_default()]);
    der::wrap(der::SEQUENCE, &[&tbs])
}

/// Whether a CertID of an answer names the certificate that was asked about: the same hashes and serial
/// number. The parameters of SHA-1 may be left out.
pub(super) fn names_same(asked: &[u8], answered: &[u8]) -> Result<bool, Malformed> {
    let read = |id| -> Result<_, Malformed> {
        let mut outer = Reader::new(id, "CertID");
        let mut id = outer.inside(der::SEQUENCE)?;
        outer.end()?;
        let oid = id.inside(der::SEQUENCE)?.value(der::OID)?;
        let name = id.value(der::OCTET_STRING)?;
        let key = id.value(der::OCTET_STRING)?;
        let serial = der::unsigned(id.value(der::INTEGER)?);
        id.end()?;
        Ok((oid, name, key, serial))
    };
    let answered = read(answered)?;
    Ok(answered.0 == SHA1_OID && answered == read(asked)?)
}
