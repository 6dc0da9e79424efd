//! Token keys as rustls signing keys: which schemes they offer, what the token is asked, what comes back.
//!
//! Messages are hashed here and the token signs the digest: every token can do that (SoftHSM 2.6 has no
//! `CKM_ECDSA_SHA256`), and less crosses the wire to a network HSM.

use std::sync::Arc;

use aws_lc_rs::digest;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism as CkMechanism, MechanismType};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use serde::{Deserialize, Serialize};

use crate::der;
use crate::error::HsmError;
use crate::holder::Holder;
use crate::key::KeyKind;
use crate::link::{KeyName, Request, SignRequest};
use crate::step;

/// How a session thread signs; the part of `CK_MECHANISM` that can be sent to another thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mechanism {
    /// `CKM_ECDSA` over a digest.
    Ecdsa,
    /// `CKM_RSA_PKCS` over a DigestInfo.
    RsaPkcs,
    /// `CKM_RSA_PKCS_PSS` over a digest, the salt as long as the digest (RFC 8446 section 4.2.3).
    RsaPss(Hash),
    /// `CKM_EDDSA` over the message (RFC 8032).
    Eddsa,
}

/// The hash functions of TLS signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The mechanisms of a token that are of use here, parameters apart: those that make signatures for TLS, and
/// the one that derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Family {
    Ecdsa,
    RsaPkcs,
    RsaPss,
    Eddsa,
    /// `CKM_SHA256_HMAC`.
    Hmac,
}

/// A key in a token or in the tokens of a group, for rustls.
#[derive(Debug)]
pub(crate) struct TokenSigningKey(Arc<Parts>);

struct Parts {
    holder: Holder,
    name: Arc<KeyName>,
    kind: KeyKind,
    schemes: Vec<SignatureScheme>,
}

#[derive(Debug)]
struct TokenSigner {
    key: Arc<Parts>,
    scheme: SignatureScheme,
}

impl TokenSigningKey {
    pub(crate) fn new(holder: &Holder, name: Arc<KeyName>, kind: KeyKind) -> Self {
        let able = |scheme: &SignatureScheme| {
            plan(*scheme).is_some_and(|(mechanism, _)| holder.has(mechanism.family()))
        };
        let schemes = schemes(kind).iter().copied().filter(able).collect();
        TokenSigningKey(Arc::new(Parts {
            holder: holder.clone(),
            name,
            kind,
            schemes,
        }))
    }

    /// The schemes that the key is of a kind for and the token has a mechanism for, best first.
    pub(crate) fn schemes(&self) -> &[SignatureScheme] {
        &self.0.schemes
    }
}

impl SigningKey for TokenSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self
            .0
            .schemes
            .iter()
            .find(|scheme| offered.contains(scheme))?;
        Some(Box::new(TokenSigner {
            key: Arc::clone(&self.0),
            scheme,
        }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(&self.0.name.spki[..]))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.kind {
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
                SignatureAlgorithm::ECDSA
            }
            KeyKind::Rsa { .. } => SignatureAlgorithm::RSA,
            KeyKind::Ed25519 => SignatureAlgorithm::ED25519,
        }
    }
}

impl Signer for TokenSigner {
    /// Queues the signature and waits for it in [`step::wait`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let (mechanism, data) = prepare(self.scheme, message)?;
        let request = SignRequest {
            key: Arc::clone(&self.key.name),
            mechanism,
            data,
        };
        let raw = step::wait(self.key.holder.make(Request::Sign(request)))?;
        Ok(encode(self.key.kind, raw)?)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("holder", &self.holder)
            .field("kind", &self.kind)
            .finish()
    }
}

impl Mechanism {
    pub(crate) fn to_cryptoki(self) -> CkMechanism<'static> {
        match self {
            Mechanism::Ecdsa => CkMechanism::Ecdsa,
            Mechanism::RsaPkcs => CkMechanism::RsaPkcs,
            Mechanism::RsaPss(hash) => CkMechanism::RsaPkcsPss(hash.pss()),
            Mechanism::Eddsa => CkMechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
        }
    }

    fn family(self) -> Family {
        match self {
            Mechanism::Ecdsa => Family::Ecdsa,
            Mechanism::RsaPkcs => Family::RsaPkcs,
            Mechanism::RsaPss(_) => Family::RsaPss,
            Mechanism::Eddsa => Family::Eddsa,
        }
    }
}

impl Hash {
    fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    /// DigestInfo (RFC 8017 section 9.2, note 1): a fixed beginning and the digest.
    fn digest_info(self, message: &[u8]) -> Vec<u8> {
        let (len, name, digest_len) = match self {
            Hash::Sha256 => (0x31, 1, 32),
            Hash::Sha384 => (0x41, 2, 48),
            Hash::Sha512 => (0x51, 3, 64),
        };
        let mut info = vec![
            0x30, len, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            name, 0x05, 0x00, 0x04, digest_len,
        ];
        info.extend(self.digest(message));
        info
    }

    fn pss(self) -> PkcsPssParams {
        let (hash_alg, mgf, salt) = match self {
            Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
            Hash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
            Hash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
        };
        PkcsPssParams {
            hash_alg,
            mgf,
            s_len: salt.into(),
        }
    }
}

/// The schemes of a kind of key in TLS 1.2 and 1.3, best first (RFC 8446 section 4.2.3).
pub(crate) fn schemes(kind: KeyKind) -> &'static [SignatureScheme] {
    match kind {
        KeyKind::EcdsaP256 => &[SignatureScheme::ECDSA_NISTP256_SHA256],
        KeyKind::EcdsaP384 => &[SignatureScheme::ECDSA_NISTP384_SHA384],
        KeyKind::EcdsaP521 => &[SignatureScheme::ECDSA_NISTP521_SHA512],
        KeyKind::Ed25519 => &[SignatureScheme::ED25519],
        // SHA-256 first: the modulus bounds the strength of all of them, and it is the cheapest.
        KeyKind::Rsa { .. } => &[
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ],
    }
}

/// What a token is asked for a signature of `message`.
pub(crate) fn prepare(
    scheme: SignatureScheme,
    message: &[u8],
) -> Result<(Mechanism, Vec<u8>), HsmError> {
    let Some((mechanism, hash)) = plan(scheme) else {
        return Err(HsmError::Generate(
            "a scheme was chosen that was not offered".to_owned(),
        ));
    };
    let data = match (mechanism, hash) {
        (Mechanism::RsaPkcs, Some(hash)) => hash.digest_info(message),
        (_, Some(hash)) => hash.digest(message),
        (_, None) => message.to_vec(),
    };
    Ok((mechanism, data))
}

/// How a scheme is signed: the mechanism of the token and the hash made here.
fn plan(scheme: SignatureScheme) -> Option<(Mechanism, Option<Hash>)> {
    let plan = match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => (Mechanism::Ecdsa, Some(Hash::Sha256)),
        SignatureScheme::ECDSA_NISTP384_SHA384 => (Mechanism::Ecdsa, Some(Hash::Sha384)),
        SignatureScheme::ECDSA_NISTP521_SHA512 => (Mechanism::Ecdsa, Some(Hash::Sha512)),
        SignatureScheme::RSA_PSS_SHA256 => (Mechanism::RsaPss(Hash::Sha256), Some(Hash::Sha256)),
        SignatureScheme::RSA_PSS_SHA384 => (Mechanism::RsaPss(Hash::Sha384), Some(Hash::Sha384)),
        SignatureScheme::RSA_PSS_SHA512 => (Mechanism::RsaPss(Hash::Sha512), Some(Hash::Sha512)),
        SignatureScheme::RSA_PKCS1_SHA256 => (Mechanism::RsaPkcs, Some(Hash::Sha256)),
        SignatureScheme::RSA_PKCS1_SHA384 => (Mechanism::RsaPkcs, Some(Hash::Sha384)),
        SignatureScheme::RSA_PKCS1_SHA512 => (Mechanism::RsaPkcs, Some(Hash::Sha512)),
        SignatureScheme::ED25519 => (Mechanism::Eddsa, None),
        _ => return None,
    };
    Some(plan)
}

/// From what the token returns to what TLS wants: ECDSA is `r‖s` there and a SEQUENCE here (RFC 3279
/// section 2.2.3). A signature of another length did not come from a healthy token.
pub(crate) fn encode(kind: KeyKind, raw: Vec<u8>) -> Result<Vec<u8>, HsmError> {
    let expected = match kind {
        KeyKind::EcdsaP256 | KeyKind::Ed25519 => 64,
        KeyKind::EcdsaP384 => 96,
        KeyKind::EcdsaP521 => 132,
        KeyKind::Rsa { bits } => bits.div_ceil(8) as usize,
    };
    if raw.len() != expected {
        return Err(HsmError::SignatureMalformed);
    }
    if matches!(kind, KeyKind::Rsa { .. } | KeyKind::Ed25519) {
        return Ok(raw);
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    Ok(der::sequence(&[der::integer(r), der::integer(s)].concat()))
}
