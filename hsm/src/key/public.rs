//! The public half of a token key, put together from the attributes of its objects.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::Session;
use rustls::pki_types::{AlgorithmIdentifier, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::public_key_to_spki;

use super::object::KeyObject;
use super::{KeyKind, curve};
use crate::der;
use crate::error::HsmError;

/// Smaller RSA keys are broken or refused by every browser.
const MIN_RSA_BITS: u32 = 2048;

/// What kind of key it is, from `CKA_KEY_TYPE`, `CKA_EC_PARAMS` and `CKA_MODULUS`.
pub(super) fn kind(session: &Session, object: &KeyObject, key: &str) -> Result<KeyKind, HsmError> {
    let unsupported = |reason: String| HsmError::KeyUnsupported {
        key: key.to_owned(),
        reason,
    };
    match object.key_type() {
        Some(KeyType::RSA) => {
            let public = public_attributes(session, object, &[AttributeType::Modulus])?;
            let all = object.attributes().iter().chain(&public);
            let modulus = all.clone().find_map(|a| match a {
                Attribute::Modulus(v) => Some(v),
                _ => None,
            });
            match modulus.map(|modulus| der::bits(modulus)) {
                Some(bits) if bits >= MIN_RSA_BITS => Ok(KeyKind::Rsa { bits }),
                Some(bits) => Err(unsupported(format!("RSA of {bits} bits is too short"))),
                None => Err(unsupported("it has no CKA_MODULUS".to_owned())),
            }
        }
        Some(KeyType::EC | KeyType::EC_EDWARDS) => {
            let public = public_attributes(session, object, &[AttributeType::EcParams])?;
            let all = object.attributes().iter().chain(&public);
            let params = all.clone().find_map(|a| match a {
                Attribute::EcParams(v) => Some(&v[..]),
                _ => None,
            });
            match params.map(curve::kind) {
                Some(Some(kind)) => Ok(kind),
                Some(None) => Err(unsupported(
                    "its curve (CKA_EC_PARAMS) does not serve TLS".to_owned(),
                )),
                None => Err(unsupported("it has no CKA_EC_PARAMS".to_owned())),
            }
        }
        _ => Err(unsupported(
            "it is neither RSA nor an elliptic curve key".to_owned(),
        )),
    }
}

/// The SubjectPublicKeyInfo: from the public key object, from the private key where that tells it (RSA),
/// or from `CKA_PUBLIC_KEY_INFO`.
pub(super) fn spki(
    session: &Session,
    object: &KeyObject,
    kind: KeyKind,
    key: &str,
) -> Result<SubjectPublicKeyInfoDer<'static>, HsmError> {
    let wanted = [
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let public = public_attributes(session, object, &wanted)?;
    let found = match kind {
        KeyKind::Rsa { .. } => rsa(&public).or_else(|| rsa(object.attributes())),
        KeyKind::EcdsaP256 => {
            point(&public, 65).map(|p| public_key_to_spki(&alg_id::ECDSA_P256, p))
        }
        KeyKind::EcdsaP384 => {
            point(&public, 97).map(|p| public_key_to_spki(&alg_id::ECDSA_P384, p))
        }
        KeyKind::EcdsaP521 => {
            point(&public, 133).map(|p| public_key_to_spki(&alg_id::ECDSA_P521, p))
        }
        KeyKind::Ed25519 => point(&public, 32).map(|p| public_key_to_spki(&alg_id::ED25519, p)),
    };
    if let Some(spki) = found {
        return Ok(spki);
    }
    let own = session.get_attributes(object.handle(), &[AttributeType::PublicKeyInfo])?;
    match own.into_iter().next() {
        Some(Attribute::PublicKeyInfo(spki)) if !spki.is_empty() => Ok(spki.into()),
        _ => Err(HsmError::KeyUnsupported {
            key: key.to_owned(),
            reason: "its public key is not in the token: store one with the same CKA_ID".to_owned(),
        }),
    }
}

/// Attributes of the public key object that belongs to `object`: the same `CKA_ID`, or the same label if
/// there is no id, and the same type. A wrong one is found out when the key is proven.
fn public_attributes(
    session: &Session,
    object: &KeyObject,
    wanted: &[AttributeType],
) -> Result<Vec<Attribute>, HsmError> {
    let mut template = vec![Attribute::Class(ObjectClass::PUBLIC_KEY)];
    template.extend(object.key_type().map(Attribute::KeyType));
    template.push(match object.id() {
        [] => Attribute::Label(object.label().to_vec()),
        id => Attribute::Id(id.to_vec()),
    });
    match session.find_objects(&template)?.first() {
        Some(handle) => Ok(session.get_attributes(*handle, wanted)?),
        None => Ok(Vec::new()),
    }
}

fn rsa(attributes: &[Attribute]) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let modulus = attributes.iter().find_map(|a| match a {
        Attribute::Modulus(v) => Some(v),
        _ => None,
    })?;
    let exponent = attributes.iter().find_map(|a| match a {
        Attribute::PublicExponent(v) => Some(v),
        _ => None,
    })?;
    if exponent.is_empty() {
        return None;
    }
    // RSAPublicKey, RFC 8017 appendix A.1.1.
    let key = der::sequence(&[der::integer(modulus), der::integer(exponent)].concat());
    let algorithm: AlgorithmIdentifier = alg_id::RSA_ENCRYPTION;
    Some(public_key_to_spki(&algorithm, key))
}

/// `CKA_EC_POINT` is a DER OCTET STRING around the point; some tokens return the bare point. The length
/// tells which.
fn point(attributes: &[Attribute], len: usize) -> Option<Vec<u8>> {
    let value = attributes.iter().find_map(|a| match a {
        Attribute::EcPoint(v) => Some(v),
        _ => None,
    })?;
    if value.len() == len {
        return Some(value.clone());
    }
    let bare = value.get(value.len().checked_sub(len)?..)?;
    (der::octet_string(bare) == *value).then(|| bare.to_vec())
}
