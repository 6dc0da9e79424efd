//! Secret key objects of a token, and the data objects that keep their generation.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::{Generation, SecretInfo};
use crate::error::HsmError;
use crate::key::{Provenance, object};
use crate::slots::TokenInfo;
use crate::uri::{ObjectType, Pkcs11Uri};

/// As long as what is derived: a shorter secret would be easier to guess than that.
pub(crate) const LEAST_BYTES: u64 = 32;

/// What is read of a secret key (`C_GetAttributeValue`); nothing of it is secret.
const ATTRIBUTES: [AttributeType; 9] = [
    AttributeType::Label,
    AttributeType::Id,
    AttributeType::KeyType,
    AttributeType::ValueLen,
    AttributeType::Sign,
    AttributeType::Sensitive,
    AttributeType::Extractable,
    AttributeType::AlwaysSensitive,
    AttributeType::NeverExtractable,
];

/// A secret key in a token, and what it tells about itself.
pub(crate) struct SecretObject {
    pub(crate) handle: ObjectHandle,
    attributes: Vec<Attribute>,
}

/// The secret keys that `uri` names, or all (`C_FindObjects`).
pub(crate) fn secret_keys(
    session: &Session,
    uri: Option<&Pkcs11Uri>,
) -> Result<Vec<SecretObject>, HsmError> {
    let mut wanted = vec![Attribute::Class(ObjectClass::SECRET_KEY)];
    wanted.extend(uri.into_iter().flat_map(object::named));
    let handles = session.find_objects(&wanted)?.into_iter();
    let read = handles.map(|handle| {
        let attributes = session.get_attributes(handle, &ATTRIBUTES)?;
        Ok(SecretObject { handle, attributes })
    });
    read.collect()
}

/// The one secret key that `uri` names.
pub(crate) fn find_one(
    session: &Session,
    uri: &Pkcs11Uri,
    token: &TokenInfo,
) -> Result<SecretObject, HsmError> {
    let mut found = secret_keys(session, Some(uri))?;
    if found.len() == 1
        && let Some(only) = found.pop()
    {
        return Ok(only);
    }
    if found.is_empty() {
        found = secret_keys(session, None)?;
    }
    Err(HsmError::ObjectSelection {
        what: "secret key",
        wanted: Box::new(uri.clone()),
        candidates: found.iter().map(|object| object.uri(token)).collect(),
    })
}

impl SecretObject {
    /// Its label; empty when it has none, or one that is no text.
    pub(crate) fn label(&self) -> &str {
        let label = self.find(|attribute| match attribute {
            Attribute::Label(label) => std::str::from_utf8(label).ok(),
            _ => None,
        });
        label.unwrap_or_default()
    }

    /// Whether it is of a kind to derive from; else it wraps or encrypts.
    pub(crate) fn derives(&self) -> bool {
        let kind = self.find(|attribute| match attribute {
            Attribute::KeyType(kind) => Some(*kind),
            _ => None,
        });
        matches!(kind, Some(KeyType::GENERIC_SECRET | KeyType::SHA256_HMAC))
    }

    /// Its canonical URI: what an operator pastes into the configuration.
    pub(crate) fn uri(&self, token: &TokenInfo) -> Pkcs11Uri {
        let mut uri = Pkcs11Uri::default()
            .with_token_label(&token.label)
            .with_object_type(ObjectType::SecretKey);
        if !self.label().is_empty() {
            uri = uri.with_object(self.label());
        }
        let id = self.find(|attribute| match attribute {
            Attribute::Id(id) if !id.is_empty() => Some(id),
            _ => None,
        });
        match id {
            Some(id) => uri.with_id(id),
            None => uri,
        }
    }

    /// What is known about it, if it can be derived from.
    pub(crate) fn info(&self, token: &TokenInfo) -> Result<SecretInfo, HsmError> {
        let uri = self.uri(token).to_string();
        if let Some(reason) = self.unfit() {
            return Err(HsmError::KeyUnsupported { key: uri, reason });
        }
        // What a token does not tell is taken to be the worse case.
        let says = |of: fn(&Attribute) -> Option<bool>| self.find(of).unwrap_or(false);
        let sensitive = says(|a| match a {
            Attribute::Sensitive(v) => Some(*v),
            _ => None,
        });
        let stays = says(|a| match a {
            Attribute::Extractable(v) => Some(!*v),
            _ => None,
        });
        let always = says(|a| match a {
            Attribute::AlwaysSensitive(v) => Some(*v),
            _ => None,
        });
        let never = says(|a| match a {
            Attribute::NeverExtractable(v) => Some(*v),
            _ => None,
        });
        let provenance = match (sensitive && stays, always && never) {
            (false, _) => Provenance::Extractable,
            (true, false) => Provenance::Imported,
            (true, true) => Provenance::GeneratedInHsm,
        };
        Ok(SecretInfo {
            uri,
            label: self.label().to_owned(),
            provenance,
        })
    }

    /// Why nothing can be derived from it.
    fn unfit(&self) -> Option<String> {
        if !self.derives() {
            return Some("it is neither a generic secret nor a key of SHA256_HMAC".to_owned());
        }
        let bytes = self.find(|attribute| match attribute {
            Attribute::ValueLen(bytes) => Some(u64::from(*bytes)),
            _ => None,
        });
        match bytes {
            None => return Some("its length is not told (CKA_VALUE_LEN)".to_owned()),
            Some(bytes) if bytes < LEAST_BYTES => {
                return Some(format!(
                    "it has {bytes} bytes, and at least {LEAST_BYTES} are needed"
                ));
            }
            Some(_) => {}
        }
        let no_sign = |a: &Attribute| matches!(a, Attribute::Sign(false));
        let text = || "it is not for signing (CKA_SIGN is false)".to_owned();
        self.attributes.iter().any(no_sign).then(text)
    }

    fn find<'a, T>(&'a self, of: impl FnMut(&'a Attribute) -> Option<T>) -> Option<T> {
        self.attributes.iter().find_map(of)
    }
}

/// The label of the data object that keeps the generation of the secret `uri` names.
pub(crate) fn generation_label(
    session: &Session,
    uri: &Pkcs11Uri,
    token: &TokenInfo,
) -> Result<String, HsmError> {
    let label = match uri.object() {
        Some(label) => label.to_owned(),
        None => find_one(session, uri, token)?.label().to_owned(),
    };
    if label.is_empty() {
        return Err(HsmError::KeyUnsupported {
            key: uri.to_string(),
            reason: "it has no label that its generation could be named after".to_owned(),
        });
    }
    Ok(format!("{label}.generation"))
}

/// The objects that keep a generation, and the highest of what they say.
pub(crate) fn generations(
    session: &Session,
    label: &str,
) -> Result<(Generation, Vec<ObjectHandle>), HsmError> {
    let wanted = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Label(label.into()),
    ];
    let found = session.find_objects(&wanted)?;
    let mut highest = Generation::default();
    for handle in &found {
        let attributes = session.get_attributes(*handle, &[AttributeType::Value])?;
        let read = attributes.iter().find_map(|attribute| match attribute {
            Attribute::Value(value) => Generation::from_bytes(value),
            _ => None,
        });
        let read = read.ok_or_else(|| HsmError::KeyUnsupported {
            key: label.to_owned(),
            reason: "the data object of this label is no generation".to_owned(),
        })?;
        highest = highest.max(read);
    }
    Ok((highest, found))
}
