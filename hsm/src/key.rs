//! A key: something that can sign, with its public half and its provenance, never bytes.

pub(crate) mod certificate;
pub(crate) mod curve;
pub(crate) mod object;
pub(crate) mod proof;
mod public;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, SigningKey};
use serde::{Deserialize, Serialize};

use crate::error::HsmError;
use crate::holder::Holder;
use crate::link::{self, FoundKey, KeyName};
use crate::sessions::Canary;
use crate::sign::TokenSigningKey;
use crate::software;
use crate::uri::{ObjectType, Pkcs11Uri};

/// Whether a key that can leave its token (`CKA_EXTRACTABLE`) is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extractable {
    /// It is refused.
    Refuse,
    /// The operator allowed this key by name.
    Allow,
}

/// The kinds of key that serve TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// ECDSA on NIST P-521.
    EcdsaP521,
    /// RSA, for PSS and PKCS#1 v1.5 signatures.
    Rsa {
        /// Length of the modulus.
        bits: u32,
    },
    /// Ed25519.
    Ed25519,
}

/// Where a private key comes from and whether it can go elsewhere; the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Provenance {
    /// Made in the token and never outside of it (`CKA_LOCAL`, `CKA_ALWAYS_SENSITIVE`,
    /// `CKA_NEVER_EXTRACTABLE`).
    GeneratedInHsm,
    /// Cannot be read or wrapped now, but was once outside.
    Imported,
    /// Can be read or wrapped out of the token (`CKA_EXTRACTABLE`, or not `CKA_SENSITIVE`).
    Extractable,
    /// A file; there is no token.
    Software,
}

/// What is known about a private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The canonical URI of the key in its token, or `file:PATH` of a software key.
    pub uri: String,
    /// `CKA_LABEL`; empty for a software key.
    pub label: String,
    /// `CKA_ID`; empty for a software key.
    pub id: Vec<u8>,
    /// Its kind.
    pub kind: KeyKind,
    /// Where it comes from.
    pub provenance: Provenance,
    /// `CKA_SENSITIVE`: it cannot be read in plain.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`: it can be wrapped.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: bool,
    /// `CKA_ALWAYS_SENSITIVE`.
    pub always_sensitive: bool,
    /// `CKA_LOCAL`: it was generated in the token.
    pub local: bool,
}

/// A key that can sign. Clones share it, and keep its token open.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    info: KeyInfo,
    spki: SubjectPublicKeyInfoDer<'static>,
    signing: Arc<dyn SigningKey>,
    /// `None` for a software key.
    holder: Option<Holder>,
}

impl Key {
    /// What is known about it.
    pub fn info(&self) -> &KeyInfo {
        &self.0.info
    }

    /// Its public half: a DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// The key as rustls takes it. A token key waits in [`crate::step::wait`] while the token signs.
    pub fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.0.signing)
    }

    /// Joins the key with its certificate chain, leaf first: the public key of the leaf must be that of
    /// the key, and a signature made now must verify under it. Blocks while the token signs.
    ///
    /// # Errors
    /// [`HsmError::CertificateMismatch`] and [`HsmError::ProofFailed`], or why the token did not sign.
    pub fn certify(
        &self,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<CertifiedKey>, HsmError> {
        proof::certify(self, chain)
    }

    /// Proves a key that no certificate goes with: a signature made now must verify under [`Self::spki`].
    /// Blocks while the token signs.
    ///
    /// # Errors
    /// [`HsmError::ProofFailed`], or why the token did not sign.
    pub fn prove(&self) -> Result<(), HsmError> {
        proof::prove(self, self.spki())
    }

    /// A key from a PEM file (PKCS#8, PKCS#1 or SEC 1). It signs in this process; the caller has made
    /// sure that the operator allowed software keys.
    ///
    /// # Errors
    /// [`HsmError::SoftwareKey`] with the file and the reason.
    pub fn software(path: &Path) -> Result<Key, HsmError> {
        let (info, spki, signing) = software::load(path)?;
        Ok(Key(Arc::new(Inner {
            info,
            spki,
            signing,
            holder: None,
        })))
    }

    /// Whether a signature that is asked for now has a chance. Costs a lock, and nothing of the token.
    ///
    /// # Errors
    /// [`HsmError::QueueFull`] or [`HsmError::Away`], which a signature would end with at once.
    pub fn admit(&self) -> Result<(), HsmError> {
        match &self.0.holder {
            Some(holder) => holder.admit(),
            None => Ok(()),
        }
    }

    /// The key that `uri` names, in a token or in the tokens of a group.
    pub(crate) fn held(
        holder: &Holder,
        uri: &Pkcs11Uri,
        extractable: Extractable,
    ) -> Result<Key, HsmError> {
        if !matches!(uri.object_type(), None | Some(ObjectType::Private)) {
            let reason = "the `type` of its URI is not `private`".to_owned();
            return Err(HsmError::KeyUnsupported {
                key: uri.to_string(),
                reason,
            });
        }
        let FoundKey { info, spki } = holder.find(uri)?;
        if info.provenance == Provenance::Extractable && extractable == Extractable::Refuse {
            return Err(HsmError::KeyExtractable { key: info.uri });
        }
        let name = Arc::new(KeyName {
            number: link::next_number(),
            uri: uri.clone(),
            spki: spki.clone(),
        });
        let signing = Arc::new(TokenSigningKey::new(holder, Arc::clone(&name), info.kind));
        if signing.schemes().is_empty() {
            let reason = "the token has no mechanism that signs for TLS with it".to_owned();
            return Err(HsmError::KeyUnsupported {
                key: info.uri,
                reason,
            });
        }
        holder.set_canary(Canary::new(name, info.kind));
        Ok(Key(Arc::new(Inner {
            info,
            spki: spki.into(),
            signing,
            holder: Some(holder.clone()),
        })))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.0.info).finish()
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::EcdsaP256 => f.write_str("ecdsa-p256"),
            KeyKind::EcdsaP384 => f.write_str("ecdsa-p384"),
            KeyKind::EcdsaP521 => f.write_str("ecdsa-p521"),
            KeyKind::Rsa { bits } => write!(f, "rsa-{bits}"),
            KeyKind::Ed25519 => f.write_str("ed25519"),
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Provenance::GeneratedInHsm => "generated-in-hsm",
            Provenance::Imported => "imported",
            Provenance::Extractable => "extractable",
            Provenance::Software => "software",
        })
    }
}
