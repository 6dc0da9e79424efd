//! Backups: a private key leaves its token only under another key (`C_WrapKey`, `C_UnwrapKey`).
//!
//! What comes out is the PKCS#8 form of the key under AES key wrap (RFC 5649, or RFC 3394 where the token
//! has only that). Other tools read it, and neither this process nor the file ever holds the key in plain.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass};

use super::{KeyName, Writer, delete, id_or_random, keys, names, refuse_taken};
use crate::error::HsmError;
use crate::key::{Extractable, KeyInfo, KeyKind, curve, object};
use crate::token::Token;
use crate::uri::Pkcs11Uri;

/// OID rsaEncryption, as an element.
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

/// OID id-ecPublicKey, as an element.
const EC: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";

/// A private key outside of its token, useless without the wrapping key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The wrapped private key: AES key wrap around PKCS#8.
    pub wrapped: Vec<u8>,
    /// Its public key, a DER SubjectPublicKeyInfo; a token does not get that out of a private key again.
    pub spki: Vec<u8>,
}

/// Wraps the private key that `uri` names under the AES key that `wrapping` names (`C_WrapKey`,
/// `CKM_AES_KEY_WRAP_PAD` or `CKM_AES_KEY_WRAP`).
///
/// # Errors
/// [`HsmError::KeyStays`] for a key that is not extractable, [`HsmError::MechanismMissing`] where the token
/// cannot, or when a PKCS#11 call fails.
pub fn wrap(token: &Token, uri: &Pkcs11Uri, wrapping: &Pkcs11Uri) -> Result<WrappedKey, HsmError> {
    let mechanism = mechanism(token)?;
    let session = token.source()?.open()?;
    let (info, spki, key) = object::find_one(&session, uri, token.info())?;
    if !info.extractable {
        return Err(HsmError::KeyStays {
            key: Box::new(key.uri(token.info())),
        });
    }
    let wrapping = delete::wrapping_key(&session, token.info(), wrapping)?;
    let wrapped = session
        .wrap_key(&mechanism, wrapping, key.handle())
        .map_err(|error| {
            let what = format!("the token does not wrap this {} key", info.kind);
            refused(&what, &mechanism, error)
        })?;
    Ok(WrappedKey {
        wrapped,
        spki: spki.to_vec(),
    })
}

/// Puts a wrapped key into the token (`C_UnwrapKey`) with its public key (`C_CreateObject`), signs with it
/// and verifies. What was half made when something failed is removed. With [`Extractable::Allow`] it can be
/// wrapped again.
///
/// # Errors
/// As [`wrap`]; when the public key is none, or does not belong to what was wrapped.
pub fn unwrap(
    token: &Token,
    key: &WrappedKey,
    wrapping: &Pkcs11Uri,
    name: KeyName<'_>,
    extractable: Extractable,
) -> Result<KeyInfo, HsmError> {
    let no_key = || HsmError::Generate("the public key beside the wrapped key is none".to_owned());
    let kind = kind(&key.spki).ok_or_else(no_key)?;
    let mut public = keys::public_object(kind, &key.spki).ok_or_else(no_key)?;
    let mechanism = mechanism(token)?;
    let id = id_or_random(name.label, name.id)?;
    let writer = Writer::open(token)?;
    refuse_taken(&writer.session, ObjectClass::PRIVATE_KEY, name.label, &id)?;
    let wrapping = delete::wrapping_key(&writer.session, token.info(), wrapping)?;
    let mut private = keys::private_uses(extractable);
    private.push(Attribute::Class(ObjectClass::PRIVATE_KEY));
    private.push(Attribute::KeyType(keys::key_type(kind)));
    private.extend(names(name.label, &id));
    public.extend(names(name.label, &id));
    let private = writer
        .session
        .unwrap_key(&mechanism, wrapping, &key.wrapped, &private)
        .map_err(|error| {
            let what = "the token does not unwrap it (another wrapping key, a damaged file, or a kind of \
                        key it does not unwrap)";
            refused(what, &mechanism, error)
        })?;
    match writer.session.create_object(&public) {
        Ok(public) => writer.prove(token, private, &[private, public]),
        Err(error) => {
            writer.remove(&[private]);
            Err(error.into())
        }
    }
}

fn refused(what: &str, mechanism: &Mechanism<'_>, error: cryptoki::error::Error) -> HsmError {
    let mechanism = mechanism.mechanism_type();
    HsmError::Generate(format!("{what} by {mechanism}: {}", HsmError::from(error)))
}

/// The padded form takes every key; the other only lengths in whole blocks of eight.
fn mechanism(token: &Token) -> Result<Mechanism<'static>, HsmError> {
    let source = token.source()?;
    if source.has(MechanismType::AES_KEY_WRAP_PAD)? {
        Ok(Mechanism::AesKeyWrapPad)
    } else if source.has(MechanismType::AES_KEY_WRAP)? {
        Ok(Mechanism::AesKeyWrap)
    } else {
        Err(HsmError::MechanismMissing {
            token: token.info().label.clone(),
            mechanism: "CKM_AES_KEY_WRAP_PAD or CKM_AES_KEY_WRAP",
        })
    }
}

/// The kind of key that a SubjectPublicKeyInfo is of.
fn kind(spki: &[u8]) -> Option<KeyKind> {
    let mut algorithm = crate::der::Reader::new(spki).sequence()?.sequence()?;
    match algorithm.element(0x06)? {
        RSA => {
            let key = crate::der::public_key_bits(spki)?;
            let modulus = crate::der::Reader::new(key).sequence()?.unsigned()?;
            let bits = crate::der::bits(modulus);
            Some(KeyKind::Rsa { bits })
        }
        EC => curve::kind(algorithm.element(0x06)?),
        other => curve::kind(other),
    }
}
