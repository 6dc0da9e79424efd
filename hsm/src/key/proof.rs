//! Joining a key with a certificate: the same public key, and a signature that proves it.

use std::sync::Arc;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, Signer};

use super::Key;
use crate::error::HsmError;

/// Every scheme a key may sign with, and what verifies it.
const SCHEMES: [(SignatureScheme, &dyn VerificationAlgorithm); 10] = [
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        &signature::ECDSA_P256_SHA256_ASN1,
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        &signature::ECDSA_P384_SHA384_ASN1,
    ),
    (
        SignatureScheme::ECDSA_NISTP521_SHA512,
        &signature::ECDSA_P521_SHA512_ASN1,
    ),
    (
        SignatureScheme::RSA_PSS_SHA256,
        &signature::RSA_PSS_2048_8192_SHA256,
    ),
    (
        SignatureScheme::RSA_PSS_SHA384,
        &signature::RSA_PSS_2048_8192_SHA384,
    ),
    (
        SignatureScheme::RSA_PSS_SHA512,
        &signature::RSA_PSS_2048_8192_SHA512,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA256,
        &signature::RSA_PKCS1_2048_8192_SHA256,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA384,
        &signature::RSA_PKCS1_2048_8192_SHA384,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA512,
        &signature::RSA_PKCS1_2048_8192_SHA512,
    ),
    (SignatureScheme::ED25519, &signature::ED25519),
];

/// See [`Key::certify`].
pub(super) fn certify(
    key: &Key,
    chain: Vec<CertificateDer<'static>>,
) -> Result<Arc<CertifiedKey>, HsmError> {
    let unreadable = |reason: String| HsmError::CertificateUnreadable(reason);
    let leaf = chain
        .first()
        .ok_or_else(|| unreadable("the chain is empty".to_owned()))?;
    let parsed =
        ParsedCertificate::try_from(leaf).map_err(|error| unreadable(error.to_string()))?;
    let leaf_spki = parsed.subject_public_key_info();
    if *leaf_spki != *key.spki() {
        return Err(HsmError::CertificateMismatch {
            key: key.info().uri.clone(),
        });
    }
    prove(key, &leaf_spki)?;
    Ok(Arc::new(CertifiedKey::new(chain, key.signing_key())))
}

/// Signs random bytes with the best scheme of the key and verifies them under `spki`.
pub(crate) fn prove(key: &Key, spki: &[u8]) -> Result<(), HsmError> {
    let offered = SCHEMES.map(|(scheme, _)| scheme);
    match key.signing_key().choose_scheme(&offered) {
        Some(signer) => prove_signer(key, &*signer, spki),
        None => Err(HsmError::ProofFailed {
            key: key.info().uri.clone(),
        }),
    }
}

/// Signs random bytes with every scheme that the key offers and verifies them.
pub(crate) fn prove_all(key: &Key) -> Vec<(SignatureScheme, Result<(), HsmError>)> {
    let signers = SCHEMES.iter().filter_map(|(scheme, _)| {
        let signer = key.signing_key().choose_scheme(&[*scheme])?;
        Some((*scheme, prove_signer(key, &*signer, key.spki())))
    });
    signers.collect()
}

fn prove_signer(key: &Key, signer: &dyn Signer, spki: &[u8]) -> Result<(), HsmError> {
    let failed = || HsmError::ProofFailed {
        key: key.info().uri.clone(),
    };
    let message = message()?;
    let signature = sign(signer, &message)?;
    verify(signer.scheme(), spki, &message, &signature).map_err(|()| failed())
}

/// Random bytes to sign: no signature of them is of use to anybody.
pub(crate) fn message() -> Result<[u8; 32], HsmError> {
    let mut message = [0; 32];
    rand::fill(&mut message)
        .map_err(|_| HsmError::Generate("the system has no random numbers".to_owned()))?;
    Ok(message)
}

/// Whether a signature verifies under a public key.
pub(crate) fn verify(
    scheme: SignatureScheme,
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), ()> {
    let known = SCHEMES
        .iter()
        .find(|(known, _)| *known == scheme)
        .ok_or(())?;
    let key = UnparsedPublicKey::new(known.1, spki);
    key.verify(message, signature).map_err(|_| ())
}

/// Signs and gives the error of the token back as it was before rustls wrapped it.
pub(crate) fn sign(signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, HsmError> {
    signer.sign(message).map_err(|error| match &error {
        rustls::Error::Other(other) => match other.0.downcast_ref::<HsmError>() {
            Some(error) => error.clone(),
            None => HsmError::Generate(error.to_string()),
        },
        _ => HsmError::Generate(error.to_string()),
    })
}
