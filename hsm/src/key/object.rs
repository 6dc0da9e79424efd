//! Private key objects of a token: finding exactly one, and reading what it tells about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use rustls::pki_types::SubjectPublicKeyInfoDer;

use super::{KeyInfo, Provenance, public};
use crate::error::HsmError;
use crate::token::TokenInfo;
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

/// A private key in a token, known well enough to be found again by any session.
pub(crate) struct KeyObject {
    number: u64,
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

/// The one private key that `uri` names, with its public half.
pub(crate) fn find_one(
    session: &Session,
    uri: &Pkcs11Uri,
    token: &TokenInfo,
) -> Result<(KeyInfo, SubjectPublicKeyInfoDer<'static>, KeyObject), HsmError> {
    let label = uri.object().map(|label| Attribute::Label(label.into()));
    let id = uri.id().map(|id| Attribute::Id(id.into()));
    let mut found = private_keys(session, label.into_iter().chain(id))?;
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
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let mut object = KeyObject {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
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

    /// Tells this key from every other of the process; the session threads keep handles by it.
    pub(crate) fn number(&self) -> u64 {
        self.number
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

    pub(crate) fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Finds the key again in another session, by what made it unique; its handle may be another there.
    pub(crate) fn find(&self, session: &Session) -> Result<ObjectHandle, HsmError> {
        let mut template = vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(self.label.clone()),
            Attribute::Id(self.id.clone()),
        ];
        template.extend(self.key_type.map(Attribute::KeyType));
        // For RSA the modulus is the key itself; an EC private key does not tell its point.
        let modulus = self
            .attributes
            .iter()
            .find(|a| matches!(a, Attribute::Modulus(_)));
        template.extend(modulus.cloned());
        match session.find_objects(&template)?[..] {
            [handle] => Ok(handle),
            _ => Err(HsmError::KeyUnsupported {
                key: String::from_utf8_lossy(&self.label).into_owned(),
                reason: "it is not in the token any more, or not alone".to_owned(),
            }),
        }
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

    /// Refuses keys that cannot sign unattended.
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
        if self
            .attributes
            .iter()
            .any(|a| matches!(a, Attribute::AlwaysAuthenticate(true)))
        {
            return unsupported("it wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE)");
        }
        Ok(())
    }
}
