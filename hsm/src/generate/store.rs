//! Certificates into the token, beside their keys, so that a token is all a gateway needs.

use cryptoki::object::{Attribute, CertificateType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Writer;
use crate::error::HsmError;
use crate::key::certificate::{self, Fields};
use crate::key::object;
use crate::slots::TokenInfo;
use crate::token::Token;
use crate::uri::Pkcs11Uri;

/// What happens to an older certificate of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// There must be none.
    Refuse,
    /// It is removed after the new one was stored.
    Replace,
}

/// What became of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChain {
    /// The URI of the leaf: what names the whole chain.
    pub leaf: Pkcs11Uri,
    /// The certificates that were stored now.
    pub stored: Vec<Pkcs11Uri>,
    /// How many were in the token already.
    pub present: usize,
    /// Older certificates of the key that were removed.
    pub replaced: usize,
}

/// Stores a PEM chain, leaf first (`C_CreateObject`). The leaf gets label and id of its key: the one that
/// `key` names, or the one of the token with its public key. Issuers get their common name as label and the
/// SHA-1 of their public key as id. What is there already is not stored twice, and a self-signed issuer is
/// left out, for a server does not send it.
///
/// # Errors
/// [`HsmError::CertificateMismatch`] when the key has another public key;
/// [`HsmError::CertificateUnreadable`]; or when a PKCS#11 call fails.
pub fn import_certificate(
    token: &Token,
    chain_pem: &[u8],
    key: Option<&Pkcs11Uri>,
    renewal: Renewal,
) -> Result<StoredChain, HsmError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| HsmError::CertificateUnreadable(error.to_string()))?;
    let Some(leaf) = chain.first() else {
        return Err(unreadable("there is no CERTIFICATE block"));
    };
    // All are read before one is stored.
    let fields: Option<Vec<_>> = chain.iter().map(|der| Fields::read(der)).collect();
    let fields = fields.ok_or_else(|| unreadable("a certificate of the chain is not X.509"))?;
    let Some((leaf_fields, issuers)) = fields.split_first() else {
        return Err(unreadable("there is no CERTIFICATE block"));
    };
    let writer = Writer::open(token)?;
    let owner = owner(&writer.session, token.info(), leaf_fields.spki, key)?;
    let older = older(&writer.session, &owner, leaf, leaf_fields.spki)?;
    if !older.is_empty() && renewal == Renewal::Refuse {
        return Err(HsmError::Generate(format!(
            "key `{}` has another certificate in the token already: replace it by name",
            owner.uri(token.info())
        )));
    }
    let mut store = Store {
        writer: &writer,
        token: &token.info().label,
        made: Vec::new(),
        present: 0,
    };
    let stored = store
        .add(leaf, leaf_fields, owner.label(), owner.id())
        .and_then(|uri| {
            for (der, fields) in chain.iter().skip(1).zip(issuers) {
                if !fields.self_signed() {
                    let label = fields.common_name().unwrap_or_else(|| "issuer".to_owned());
                    let id = certificate::key_id(fields.spki).unwrap_or_default();
                    store.add(der, fields, label.as_bytes(), &id)?;
                }
            }
            Ok(uri)
        });
    let made: Vec<_> = store.made.iter().map(|(_, handle)| *handle).collect();
    // Half a chain beside an older one would hide both.
    let leaf = stored.inspect_err(|_| writer.remove(&made))?;
    for handle in &older {
        writer.session.destroy_object(*handle)?;
    }
    Ok(StoredChain {
        leaf,
        stored: store.made.into_iter().map(|(uri, _)| uri).collect(),
        present: store.present,
        replaced: older.len(),
    })
}

/// The chain, leaf first, of the certificate in the token that `uri` names (`C_FindObjects`).
///
/// # Errors
/// [`HsmError::ObjectSelection`] when not exactly one certificate fits, or when a PKCS#11 call fails.
pub fn stored_chain(
    token: &Token,
    uri: &Pkcs11Uri,
) -> Result<Vec<CertificateDer<'static>>, HsmError> {
    if !token.info().fits(uri) {
        return Err(HsmError::TokenSelection {
            wanted: format!("the attributes of {uri}"),
            candidates: vec![token.info().uri()],
        });
    }
    certificate::chain(&token.source()?.open()?, uri)
}

/// The private key with this public key.
fn owner(
    session: &Session,
    token: &TokenInfo,
    spki: &[u8],
    key: Option<&Pkcs11Uri>,
) -> Result<object::KeyObject, HsmError> {
    if let Some(uri) = key {
        let (info, found, object) = object::find_one(session, uri, token)?;
        if found[..] == *spki {
            return Ok(object);
        }
        return Err(HsmError::CertificateMismatch { key: info.uri });
    }
    for object in object::private_keys(session, None)? {
        // A key that cannot serve TLS has no certificate of TLS.
        match object::find_one(session, &object.uri(token), token) {
            Ok((_, found, object)) if found[..] == *spki => return Ok(object),
            _ => {}
        }
    }
    Err(HsmError::Generate(format!(
        "no private key of token `{}` has the public key of this certificate",
        token.label
    )))
}

/// Other certificates of the same key.
fn older(
    session: &Session,
    owner: &object::KeyObject,
    leaf: &CertificateDer<'_>,
    spki: &[u8],
) -> Result<Vec<ObjectHandle>, HsmError> {
    let named = match owner.id() {
        [] => Attribute::Label(owner.label().to_vec()),
        id => Attribute::Id(id.to_vec()),
    };
    let others = certificate::stored(session, [named])?
        .into_iter()
        .filter(|stored| {
            stored.der != *leaf && Fields::read(&stored.der).is_some_and(|f| f.spki == spki)
        });
    Ok(others.map(|stored| stored.handle).collect())
}

/// Certificates on their way into a token.
struct Store<'a> {
    writer: &'a Writer,
    token: &'a str,
    made: Vec<(Pkcs11Uri, ObjectHandle)>,
    present: usize,
}

impl Store<'_> {
    /// Stores one certificate unless it is there (`C_CreateObject`), and tells its URI.
    fn add(
        &mut self,
        der: &CertificateDer<'_>,
        fields: &Fields<'_>,
        label: &[u8],
        id: &[u8],
    ) -> Result<Pkcs11Uri, HsmError> {
        let session = &self.writer.session;
        let same = certificate::stored(session, [Attribute::Value(der.to_vec())])?;
        // Of a leaf, another name would hide it from whoever looks for the certificate of the key.
        if let Some(stored) = same.iter().find(|stored| stored.id == id) {
            self.present += 1;
            return Ok(stored.uri(Some(self.token)));
        }
        let handle = session.create_object(&[
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Label(label.to_vec()),
            Attribute::Id(id.to_vec()),
            Attribute::Subject(fields.subject.to_vec()),
            Attribute::Issuer(fields.issuer.to_vec()),
            Attribute::SerialNumber(fields.serial.to_vec()),
            Attribute::Value(der.to_vec()),
        ])?;
        let stored = certificate::Stored {
            handle,
            label: label.to_vec(),
            id: id.to_vec(),
            der: der.clone().into_owned(),
        };
        let uri = stored.uri(Some(self.token));
        self.made.push((uri.clone(), handle));
        Ok(uri)
    }
}

fn unreadable(reason: &str) -> HsmError {
    HsmError::CertificateUnreadable(reason.to_owned())
}
