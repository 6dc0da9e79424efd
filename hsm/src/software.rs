//! Keys in files: the explicit exception, behind the same signer and shown as `software` everywhere.
//!
//! They exist for SPIFFE, cert-manager secrets and demonstrations. The key signs inline in this process;
//! the file and the parsed key are wiped from memory after loading, what remains is inside aws-lc.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::SigningKey;
use zeroize::{Zeroize, Zeroizing};

use crate::error::HsmError;
use crate::key::{KeyInfo, KeyKind, Provenance};

/// A key with its kind and its public half.
pub(crate) type Parsed = (
    Arc<dyn SigningKey>,
    KeyKind,
    SubjectPublicKeyInfoDer<'static>,
);

/// Loads the first private key of a PEM file (PKCS#8, PKCS#1 or SEC 1).
pub(crate) fn load(
    path: &Path,
) -> Result<
    (
        KeyInfo,
        SubjectPublicKeyInfoDer<'static>,
        Arc<dyn SigningKey>,
    ),
    HsmError,
> {
    let mut der = read(path)?;
    let parsed = parse(path, &der);
    der.zeroize();
    let (signing, kind, spki) = parsed?;
    let info = KeyInfo {
        uri: format!("file:{}", path.display()),
        label: String::new(),
        id: Vec::new(),
        kind,
        provenance: Provenance::Software,
        sensitive: false,
        extractable: true,
        never_extractable: false,
        always_sensitive: false,
        local: false,
    };
    Ok((info, spki, signing))
}

/// The first private key of a PEM file. The caller wipes it.
pub(crate) fn read(path: &Path) -> Result<PrivateKeyDer<'static>, HsmError> {
    let pem = fs::read(path).map_err(|error| unusable(path, &error.to_string()))?;
    let pem = Zeroizing::new(pem);
    // The errors of the parsers are not passed on: they quote what they stumbled over.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let encrypted = pem
            .windows(ENCRYPTED.len())
            .any(|window| window == ENCRYPTED);
        let reason = if encrypted {
            "it is encrypted: decrypt it first (`openssl pkey`)"
        } else {
            "it holds no PEM private key (PKCS#8, PKCS#1 or SEC 1)"
        };
        unusable(path, reason)
    })
}

/// What of a PEM file says that its key wants a passphrase (PKCS#8, and the older form of OpenSSL).
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// Checks a key of the file at `path` and tells its public half.
pub(crate) fn parse(path: &Path, der: &PrivateKeyDer<'_>) -> Result<Parsed, HsmError> {
    let unusable = |reason: &str| unusable(path, reason);
    let signing = any_supported_type(der)
        .map_err(|_| unusable("it is no RSA, ECDSA or Ed25519 key that can be used"))?;
    let spki = signing
        .public_key()
        .map(SubjectPublicKeyInfoDer::into_owned);
    let spki = spki.ok_or_else(|| unusable("its public key cannot be told"))?;
    let kind = kind(&*signing).ok_or_else(|| unusable("its kind does not serve TLS"))?;
    Ok((signing, kind, spki))
}

pub(crate) fn unusable(path: &Path, reason: &str) -> HsmError {
    HsmError::SoftwareKey {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn kind(key: &dyn SigningKey) -> Option<KeyKind> {
    let offers = |scheme| key.choose_scheme(&[scheme]).is_some();
    if offers(SignatureScheme::ECDSA_NISTP256_SHA256) {
        return Some(KeyKind::EcdsaP256);
    }
    if offers(SignatureScheme::ECDSA_NISTP384_SHA384) {
        return Some(KeyKind::EcdsaP384);
    }
    if offers(SignatureScheme::ECDSA_NISTP521_SHA512) {
        return Some(KeyKind::EcdsaP521);
    }
    if offers(SignatureScheme::ED25519) {
        return Some(KeyKind::Ed25519);
    }
    // A signature is as long as the modulus.
    let rsa = key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])?;
    let bits = u32::try_from(rsa.sign(&[]).ok()?.len()).ok()? * 8;
    Some(KeyKind::Rsa { bits })
}
