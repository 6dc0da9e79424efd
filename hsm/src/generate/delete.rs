//! Removing objects from the token (`C_DestroyObject`), after somebody saw exactly what would go.

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::Writer;
use crate::error::HsmError;
use crate::key::certificate;
use crate::key::object::{self, KeyObject};
use crate::secret::object::{self as secret, SecretObject};
use crate::slots::TokenInfo;
use crate::token::Token;
use crate::uri::{ObjectType, Pkcs11Uri};

/// What goes with a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteScope {
    /// Its public key.
    Key,
    /// Its public key and its certificates.
    KeyAndCertificates,
}

/// An object to remove.
type Doomed = (Pkcs11Uri, ObjectHandle);

/// Removes the one private key that `uri` names, with its public key and what `scope` says
/// (`C_DestroyObject`). With `type=cert` or `type=secret-key` it removes that one object. `confirm` sees the
/// URIs of what would go; when it says no, nothing is removed. Answers with what was removed.
///
/// # Errors
/// [`HsmError::KeySelection`] and [`HsmError::ObjectSelection`] list the candidates when not exactly one
/// object fits; or when a PKCS#11 call fails.
pub fn delete(
    token: &Token,
    uri: &Pkcs11Uri,
    scope: DeleteScope,
    confirm: impl FnOnce(&[Pkcs11Uri]) -> bool,
) -> Result<Vec<Pkcs11Uri>, HsmError> {
    let info = token.info();
    if !info.fits(uri) {
        return Err(HsmError::TokenSelection {
            wanted: format!("the attributes of {uri}"),
            candidates: vec![info.uri()],
        });
    }
    let writer = Writer::open(token)?;
    let doomed = match uri.object_type() {
        None | Some(ObjectType::Private) => with_key(&writer.session, info, uri, scope)?,
        Some(ObjectType::Certificate) => one_certificate(&writer.session, info, uri)?,
        Some(ObjectType::SecretKey) => {
            vec![secret_key(&writer.session, info, uri)?]
        }
        Some(ObjectType::Public | ObjectType::Data) => {
            return Err(HsmError::Generate(
                "name the private key: its public key goes with it".to_owned(),
            ));
        }
    };
    let uris: Vec<_> = doomed.iter().map(|(uri, _)| uri.clone()).collect();
    if !confirm(&uris) {
        return Ok(Vec::new());
    }
    // The private key is the last to go: until then the call can be repeated.
    for (_, handle) in &doomed {
        writer.session.destroy_object(*handle)?;
    }
    Ok(uris)
}

/// The one secret key that `uri` names.
fn secret_key(session: &Session, token: &TokenInfo, uri: &Pkcs11Uri) -> Result<Doomed, HsmError> {
    let found = secret::find_one(session, uri, token)?;
    Ok((found.uri(token), found.handle))
}

/// The one key that `uri` names of those that wrap.
pub(super) fn wrapping_key(
    session: &Session,
    token: &TokenInfo,
    uri: &Pkcs11Uri,
) -> Result<ObjectHandle, HsmError> {
    let wanted_type = matches!(uri.object_type(), None | Some(ObjectType::SecretKey));
    let wraps = |found: &SecretObject| !found.derives();
    let mut found = Vec::new();
    if wanted_type && token.fits(uri) {
        found = secret::secret_keys(session, Some(uri))?;
        found.retain(wraps);
    }
    if let [only] = &found[..] {
        return Ok(only.handle);
    }
    if found.is_empty() {
        found = secret::secret_keys(session, None)?;
        found.retain(wraps);
    }
    Err(HsmError::ObjectSelection {
        what: "wrapping key",
        wanted: Box::new(uri.clone()),
        candidates: found.iter().map(|object| object.uri(token)).collect(),
    })
}

/// The one private key that `uri` names, whether it can serve TLS or not.
pub(super) fn private_key(
    session: &Session,
    token: &TokenInfo,
    uri: &Pkcs11Uri,
) -> Result<KeyObject, HsmError> {
    let label = uri.object().map(|label| Attribute::Label(label.into()));
    let id = uri.id().map(|id| Attribute::Id(id.into()));
    let mut found = object::private_keys(session, label.into_iter().chain(id))?;
    if found.len() == 1
        && let Some(only) = found.pop()
    {
        return Ok(only);
    }
    if found.is_empty() {
        found = object::private_keys(session, None)?;
    }
    Err(HsmError::KeySelection {
        wanted: Box::new(uri.clone()),
        candidates: found.iter().map(|object| object.uri(token)).collect(),
    })
}

/// A key, and what belongs to it by its id, or by its label if it has none.
fn with_key(
    session: &Session,
    token: &TokenInfo,
    uri: &Pkcs11Uri,
    scope: DeleteScope,
) -> Result<Vec<Doomed>, HsmError> {
    let key = private_key(session, token, uri)?;
    let named = match key.id() {
        [] => Attribute::Label(key.label().to_vec()),
        id => Attribute::Id(id.to_vec()),
    };
    let private = key.uri(token);
    // What carries the name of two private keys may belong to the other one.
    if object::private_keys(session, [named.clone()])?.len() > 1 {
        return Ok(vec![(private, key.handle())]);
    }
    let mut doomed = Vec::new();
    if scope == DeleteScope::KeyAndCertificates {
        for stored in certificate::stored(session, [named.clone()])? {
            doomed.push((stored.uri(Some(&token.label)), stored.handle));
        }
    }
    let public = [Attribute::Class(ObjectClass::PUBLIC_KEY), named];
    for handle in session.find_objects(&public)? {
        doomed.push((private.clone().with_object_type(ObjectType::Public), handle));
    }
    doomed.push((private, key.handle()));
    Ok(doomed)
}

fn one_certificate(
    session: &Session,
    token: &TokenInfo,
    uri: &Pkcs11Uri,
) -> Result<Vec<Doomed>, HsmError> {
    let all: Vec<_> = certificate::stored(session, None)?
        .into_iter()
        .map(|stored| {
            (
                stored.fits(uri),
                stored.uri(Some(&token.label)),
                stored.handle,
            )
        })
        .collect();
    let fitting: Vec<_> = all.iter().filter(|(fits, ..)| *fits).collect();
    if let [(_, uri, handle)] = fitting[..] {
        return Ok(vec![(uri.clone(), *handle)]);
    }
    let several = fitting.len() > 1;
    let candidates = all.iter().filter(|(fits, ..)| *fits || !several);
    Err(HsmError::ObjectSelection {
        what: "certificate",
        wanted: Box::new(uri.clone()),
        candidates: candidates.map(|(_, uri, _)| uri.clone()).collect(),
    })
}
