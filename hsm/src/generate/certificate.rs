//! Certificates that a key signs for itself, to try a listener before a CA has answered.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::SignatureScheme;

use super::{random, refuse};
use crate::der;
use crate::error::HsmError;
use crate::key::{Key, KeyKind, proof};

/// Clocks differ; a certificate is valid from a little before it was made.
const BACKDATE: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`); longer names are in the SAN only.
const MAX_COMMON_NAME: usize = 64;

/// A self-signed server certificate for `names` (DNS names or addresses) as PEM (RFC 5280). The key
/// signs it; the call blocks meanwhile.
///
/// # Errors
/// When a name is none, when there is none, or when the token did not sign.
pub fn selfsign(key: &Key, names: &[String], days: u32) -> Result<String, HsmError> {
    let Some(first) = names.first() else {
        return refuse("a certificate needs a name".to_owned());
    };
    let failed = |error: rcgen::Error| HsmError::Generate(format!("no certificate: {error}"));
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    if first.len() <= MAX_COMMON_NAME {
        params
            .distinguished_name
            .push(DnType::CommonName, first.as_str());
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now + DAY * days;
    let mut serial = random::<16>()?;
    // Positive, and of full length whatever was drawn (RFC 5280 section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(serial.to_vec().into());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let issuer = Issuer {
        key,
        failure: RefCell::new(None),
    };
    match params.self_signed(&issuer) {
        Ok(certificate) => Ok(certificate.pem()),
        // The error of the token tells more than that of the generator.
        Err(error) => Err(issuer.failure.take().unwrap_or_else(|| failed(error))),
    }
}

/// A key as rcgen takes it.
struct Issuer<'a> {
    key: &'a Key,
    failure: RefCell<Option<HsmError>>,
}

impl Issuer<'_> {
    /// The scheme of TLS whose signature is that of a certificate of this kind of key.
    fn plan(&self) -> (SignatureScheme, &'static SignatureAlgorithm) {
        match self.key.info().kind {
            KeyKind::EcdsaP256 => (
                SignatureScheme::ECDSA_NISTP256_SHA256,
                &rcgen::PKCS_ECDSA_P256_SHA256,
            ),
            KeyKind::EcdsaP384 => (
                SignatureScheme::ECDSA_NISTP384_SHA384,
                &rcgen::PKCS_ECDSA_P384_SHA384,
            ),
            KeyKind::EcdsaP521 => (
                SignatureScheme::ECDSA_NISTP521_SHA512,
                &rcgen::PKCS_ECDSA_P521_SHA512,
            ),
            KeyKind::Ed25519 => (SignatureScheme::ED25519, &rcgen::PKCS_ED25519),
            KeyKind::Rsa { .. } => (SignatureScheme::RSA_PKCS1_SHA256, &rcgen::PKCS_RSA_SHA256),
        }
    }
}

impl PublicKeyData for Issuer<'_> {
    fn der_bytes(&self) -> &[u8] {
        der::public_key_bits(self.key.spki()).unwrap_or_default()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.plan().1
    }
}

impl SigningKey for Issuer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.key.signing_key().choose_scheme(&[self.plan().0]);
        let signer = signer.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        proof::sign(&*signer, message).map_err(|error| {
            self.failure.replace(Some(error));
            rcgen::Error::RemoteKeyError
        })
    }
}
