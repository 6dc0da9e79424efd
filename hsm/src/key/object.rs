//! Private key objects of a token: finding exactly one, and reading what it tells about itself.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use rustls::pki_types::SubjectPublicKeyInfoDer;

use super::{KeyInfo, Provenance, public};
use crate::error::HsmError;
use crate::slots::TokenInfo;
use crate::uri::{ObjectType, Pkcs11Uri};

/// What is read of a private key (`C_GetAttributeValue`); nothing of it is secret.
const ATTRIBUTES: [AttributeType; 13] = [
    AttributeType::Label,
    AttributeType::Id,
    AttributeType::KeyType,
    AttributeType::Sign,
    AttributeType::Sensitive,
    AttributeType::Extractable,
    AttributeType::AlwaysSensitive,
    AttributeType::NeverExtractable,
    AttributeType::Local,
    AttributeType::AlwaysAuthenticate,
    AttributeType::EcParams,
    AttributeType::Modulus,
    AttributeType::PublicExponent,
];

/// A private key in a token, and what it tells about itself.
pub(crate) struct KeyObject {
    handle: ObjectHandle,
    label: Vec<u8>,
    id: Vec<u8>,
    key_type: Option<KeyType>,
    attributes: Vec<Attribute>,
}

/// All private keys that fit `template` (`C_FindObjects`).
pub(crate) fn private_keys(
    session: &Session,
    template: impl IntoIterator<Item = Attribute>,
) -> Result<Vec<KeyObject>, HsmError> {
    let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    wanted.extend(template);
    let handles = session.find_objects(&wanted)?;
    handles
        .into_iter()
        .map(|handle| KeyObject::read(session, handle))
        .collect()
}

/// The private key that `uri` names and whose public half is `spki`; of several, which are then the same key,
/// the first.
pub(crate) fn find_same(
    session: &Session,
    uri: &Pkcs11Uri,
    spki: &[u8],
) -> Result<Option<KeyObject>, HsmError> {
    for object in private_keys(session, named(uri))? {
        let key = uri.to_string();
        // Neighbours of the same name may be of any kind.
        let Ok(kind) = public::kind(session, &object, &key) else {
            continue;
        };
        if public::spki(session, &object, kind, &key).is_ok_and(|found| found.as_ref() == spki) {
            return Ok(Some(object));
        }
    }
    Ok(None)
}

/// The attributes of objects that a URI tells.
pub(crate) fn named(uri: &Pkcs11Uri) -> impl Iterator<Item = Attribute> + use<> {
    let label = uri.object().map(|label| Attribute::Label(label.into()));
    let id = uri.id().map(|id| Attribute::Id(id.into()));
    label.into_iter().chain(id)
}

/// The one private key that `uri` names, with its public half.
pub(crate) fn find_one(
    session: &Session,
    uri: &Pkcs11Uri,
    token: &TokenInfo,
) -> Result<(KeyInfo, SubjectPublicKeyInfoDer<'static>, KeyObject), HsmError> {
    let mut found = private_keys(session, named(uri))?;
    let object = match (found.pop(), found.is_empty()) {
        (Some(object), true) => object,
        (last, _) => {
            found.extend(last);
            if found.is_empty() {
                found = private_keys(session, None)?;
            }
            let candidates = found.iter().map(|object| object.uri(token)).collect();
            return Err(HsmError::KeySelection {
                wanted: Box::new(uri.clone()),
                candidates,
            });
        }
    };
    let info = object.info(session, token)?;
    object.check_use(&info.uri)?;
    let spki = public::spki(session, &object, info.kind, &info.uri)?;
    Ok((info, spki, object))
}

impl KeyObject {
    /// Reads a key that was found or made (`C_GetAttributeValue`).
    pub(crate) fn read(session: &Session, handle: ObjectHandle) -> Result<Self, HsmError> {
        let mut object = KeyObject {
            handle,
            label: Vec::new(),
            id: Vec::new(),
            key_type: None,
            attributes: session.get_attributes(handle, &ATTRIBUTES)?,
        };
        for attribute in &object.attributes {
            match attribute {
                Attribute::Label(label) => object.label.clone_from(label),
                Attribute::Id(id) => object.id.clone_from(id),
                Attribute::KeyType(key_type) => object.key_type = Some(*key_type),
                _ => {}
            }
        }
        Ok(object)
    }

    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    pub(crate) fn label(&self) -> &[u8] {
        &self.label
    }

    pub(crate) fn key_type(&self) -> Option<KeyType> {
        self.key_type
    }

    pub(crate) fn handle(&self) -> ObjectHandle {
        self.handle
    }

    /// `CKA_ALWAYS_AUTHENTICATE`: the user must log in for each signature.
    pub(crate) fn always_authenticate(&self) -> bool {
        let always = |a: &Attribute| matches!(a, Attribute::AlwaysAuthenticate(true));
        self.attributes.iter().any(always)
    }

    pub(crate) fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The canonical URI of the key: what an operator pastes into the configuration.
    pub(crate) fn uri(&self, token: &TokenInfo) -> Pkcs11Uri {
        let mut uri = Pkcs11Uri::default()
            .with_token_label(&token.label)
            .with_object_type(ObjectType::Private);
        // A label that is not UTF-8 cannot be written in a URI (RFC 7512 section 2.3); the id must do.
        if let Some(label) = std::str::from_utf8(&self.label)
            .ok()
            .filter(|label| !label.is_empty())
        {
            uri = uri.with_object(label);
        }
        if !self.id.is_empty() {
            uri = uri.with_id(&self.id);
        }
        uri
    }

    /// Everything that is known about the key.
    pub(crate) fn info(&self, session: &Session, token: &TokenInfo) -> Result<KeyInfo, HsmError> {
        let uri = self.uri(token).to_string();
        let kind = public::kind(session, self, &uri)?;
        let flag = |of: fn(&Attribute) -> Option<bool>| self.attributes.iter().find_map(of);
        // What a token does not tell is taken to be the worse case.
        let sensitive = flag(|a| match a {
            Attribute::Sensitive(v) => Some(*v),
            _ => None,
        });
        let extractable = flag(|a| match a {
            Attribute::Extractable(v) => Some(*v),
            _ => None,
        });
        let never = flag(|a| match a {
            Attribute::NeverExtractable(v) => Some(*v),
            _ => None,
        });
        let always = flag(|a| match a {
            Attribute::AlwaysSensitive(v) => Some(*v),
            _ => None,
        });
        let local = flag(|a| match a {
            Attribute::Local(v) => Some(*v),
            _ => None,
        });
        let mut info = KeyInfo {
            uri,
            label: String::from_utf8_lossy(&self.label).into_owned(),
            id: self.id.clone(),
            kind,
            provenance: Provenance::Extractable,
            sensitive: sensitive.unwrap_or(false),
            extractable: extractable.unwrap_or(true),
            never_extractable: never.unwrap_or(false),
            always_sensitive: always.unwrap_or(false),
            local: local.unwrap_or(false),
        };
        if info.sensitive && !info.extractable {
            let inside = info.local && info.never_extractable && info.always_sensitive;
            info.provenance = if inside {
                Provenance::GeneratedInHsm
            } else {
                Provenance::Imported
            };
        }
        Ok(info)
    }

    /// Refuses keys that are not for signing.
    pub(crate) fn check_use(&self, key: &str) -> Result<(), HsmError> {
        let unsupported = |reason: &str| {
            Err(HsmError::KeyUnsupported {
                key: key.to_owned(),
                reason: reason.to_owned(),
            })
        };
        if self
            .attributes
            .iter()
            .any(|a| matches!(a, Attribute::Sign(false)))
        {
            return unsupported("it is not for signing (CKA_SIGN is false)");
        }
        Ok(())
    }
}
