//! Certificate objects of a token: finding the leaf that a URI names and the chain above it.
//!
//! A chain is put together by names: the issuer of one is the subject of the next, and where both tell a
//! key identifier, these must agree. Nothing is verified here: a leaf is matched with its key when it is
//! certified, and clients verify the chain.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use rustls::pki_types::CertificateDer;

use crate::der::{self, Reader};
use crate::error::HsmError;
use crate::uri::{ObjectType, Pkcs11Uri};

/// A leaf and more issuers than anybody has; it also ends a circle.
const MAX_CHAIN: usize = 8;

/// OID 2.5.29.14, subjectKeyIdentifier (RFC 5280 section 4.2.1.2).
const SUBJECT_KEY_ID: &[u8] = b"\x55\x1d\x0e";

/// OID 2.5.29.35, authorityKeyIdentifier (RFC 5280 section 4.2.1.1).
const AUTHORITY_KEY_ID: &[u8] = b"\x55\x1d\x23";

/// OID 2.5.4.3, commonName.
const COMMON_NAME: &[u8] = b"\x55\x04\x03";

/// What PKCS#11 and the search for issuers want of a certificate, as it is encoded.
pub(crate) struct Fields<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    subject_key_id: Option<&'a [u8]>,
    authority_key_id: Option<&'a [u8]>,
}

/// A certificate object.
pub(crate) struct Stored {
    pub(crate) handle: ObjectHandle,
    pub(crate) label: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) der: CertificateDer<'static>,
}

/// The chain, leaf first, of the certificate that `uri` names (`type=cert` or none): exactly one after those
/// are left out that issued another which fits. Its issuers are looked for among all certificates of the
/// token; the search ends at a self-signed one, which is not part of the chain unless it is the leaf.
/// That `uri` means the token of `session` is the caller's to know.
pub(crate) fn chain(
    session: &Session,
    uri: &Pkcs11Uri,
) -> Result<Vec<CertificateDer<'static>>, HsmError> {
    let selection = |candidates: &[&Stored]| HsmError::ObjectSelection {
        what: "certificate",
        wanted: Box::new(uri.clone()),
        candidates: candidates
            .iter()
            .map(|stored| stored.uri(uri.token()))
            .collect(),
    };
    let all = stored(session, None)?;
    let every: Vec<&Stored> = all.iter().collect();
    if !matches!(uri.object_type(), None | Some(ObjectType::Certificate)) {
        return Err(selection(&every));
    }
    let fitting: Vec<&Stored> = all.iter().filter(|stored| stored.fits(uri)).collect();
    match leaves(&fitting)[..] {
        [leaf] => Ok(above(leaf, &all)),
        [] => Err(selection(&every)),
        ref several => Err(selection(several)),
    }
}

/// All certificate objects that fit `template` and are readable X.509 (`C_FindObjects`).
pub(crate) fn stored(
    session: &Session,
    template: impl IntoIterator<Item = Attribute>,
) -> Result<Vec<Stored>, HsmError> {
    let mut wanted = vec![Attribute::Class(ObjectClass::CERTIFICATE)];
    wanted.extend(template);
    let mut found = Vec::new();
    for handle in session.find_objects(&wanted)? {
        let attributes = [
            AttributeType::Label,
            AttributeType::Id,
            AttributeType::Value,
        ];
        let (mut label, mut id, mut der) = (Vec::new(), Vec::new(), Vec::new());
        for attribute in session.get_attributes(handle, &attributes)? {
            match attribute {
                Attribute::Label(value) => label = value,
                Attribute::Id(value) => id = value,
                Attribute::Value(value) => der = value,
                _ => {}
            }
        }
        if Fields::read(&der).is_some() {
            let der = der.into();
            found.push(Stored {
                handle,
                label,
                id,
                der,
            });
        }
    }
    Ok(found)
}

/// `CKA_ID` of a certificate without a key in the token: the SHA-1 of its public key (RFC 5280 section
/// 4.2.1.2, method 1), as NSS, p11-kit and OpenSC choose it. A name, not a proof.
pub(crate) fn key_id(spki: &[u8]) -> Option<Vec<u8>> {
    let key = der::public_key_bits(spki)?;
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key);
    Some(hash.as_ref().to_vec())
}

impl<'a> Fields<'a> {
    /// The fields of a certificate (RFC 5280 section 4.1); `None` if it is none.
    pub(crate) fn read(certificate: &'a [u8]) -> Option<Self> {
        let mut body = Reader::new(certificate).sequence()?.sequence()?;
        body.value(0xa0); // The version is optional.
        let serial = body.element(0x02)?;
        body.value(0x30)?; // signature
        let issuer = body.element(0x30)?;
        body.value(0x30)?; // validity
        let subject = body.element(0x30)?;
        let spki = body.element(0x30)?;
        body.value(0x81); // issuerUniqueID
        body.value(0x82); // subjectUniqueID
        let extensions = body.value(0xa3);
        let extension = |oid| extensions.and_then(|value| extension(value, oid));
        let subject_key_id =
            extension(SUBJECT_KEY_ID).and_then(|value| Reader::new(value).value(0x04));
        let authority_key_id = extension(AUTHORITY_KEY_ID)
            .and_then(|value| Reader::new(value).sequence()?.value(0x80));
        Some(Fields {
            serial,
            issuer,
            subject,
            spki,
            subject_key_id,
            authority_key_id,
        })
    }

    /// Whether the names say that `issuer` issued this certificate.
    fn issued_by(&self, issuer: &Fields<'_>) -> bool {
        let ids = self.authority_key_id.zip(issuer.subject_key_id);
        self.issuer == issuer.subject && ids.is_none_or(|(authority, subject)| authority == subject)
    }

    pub(crate) fn self_signed(&self) -> bool {
        self.issued_by(self)
    }

    /// The last common name of the subject.
    pub(crate) fn common_name(&self) -> Option<String> {
        let mut names = Reader::new(self.subject).sequence()?;
        let mut found = None;
        while let Some(set) = names.value(0x31) {
            let mut pair = Reader::new(set).sequence()?;
            let is_name = pair.value(0x06)? == COMMON_NAME;
            // UTF8String, PrintableString, and what is left of TeletexString and IA5String in old roots.
            let text = [0x0c, 0x13, 0x14, 0x16]
                .iter()
                .find_map(|tag| pair.value(*tag));
            if let (true, Some(text)) = (is_name, text) {
                found = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
        found
    }
}

impl Stored {
    /// Its URI, as [`chain`] takes it, with the label of its token.
    pub(crate) fn uri(&self, token: Option<&str>) -> Pkcs11Uri {
        let uri = Pkcs11Uri::default().with_object_type(ObjectType::Certificate);
        let uri = token.into_iter().fold(uri, Pkcs11Uri::with_token_label);
        let uri = match std::str::from_utf8(&self.label) {
            Ok(label) if !label.is_empty() => uri.with_object(label),
            _ => uri,
        };
        if self.id.is_empty() {
            uri
        } else {
            uri.with_id(&self.id)
        }
    }

    pub(crate) fn fits(&self, uri: &Pkcs11Uri) -> bool {
        uri.object()
            .is_none_or(|label| label.as_bytes() == self.label)
            && uri.id().is_none_or(|id| id == self.id)
    }

    fn issued_by(&self, issuer: &Stored) -> bool {
        match (Fields::read(&self.der), Fields::read(&issuer.der)) {
            (Some(fields), Some(issuer)) => fields.issued_by(&issuer),
            _ => false,
        }
    }
}

/// Those of `fitting` that issued none of the others: a chain is often stored under one label.
fn leaves<'a>(fitting: &[&'a Stored]) -> Vec<&'a Stored> {
    let issued_another = |issuer: &Stored| {
        fitting
            .iter()
            .any(|other| other.der != issuer.der && other.issued_by(issuer))
    };
    let mut seen = BTreeSet::new();
    let leaves = fitting.iter().filter(|stored| !issued_another(stored));
    leaves
        .copied()
        .filter(|stored| seen.insert(stored.der.as_ref()))
        .collect()
}

/// The leaf and its issuers.
fn above(leaf: &Stored, all: &[Stored]) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![leaf];
    while let Some(last) = chain.last().copied()
        && chain.len() < MAX_CHAIN
        && !last.issued_by(last)
    {
        let next = all.iter().find(|stored| {
            !stored.issued_by(stored)
                && last.issued_by(stored)
                && chain.iter().all(|known| known.der != stored.der)
        });
        match next {
            Some(issuer) => chain.push(issuer),
            None => break,
        }
    }
    chain.into_iter().map(|stored| stored.der.clone()).collect()
}

/// The value of an extension (RFC 5280 section 4.2).
fn extension<'a>(extensions: &'a [u8], oid: &[u8]) -> Option<&'a [u8]> {
    let mut extensions = Reader::new(extensions).sequence()?;
    while let Some(mut extension) = extensions.sequence() {
        let name = extension.value(0x06)?;
        extension.value(0x01); // critical
        let value = extension.value(0x04)?;
        if name == oid {
            return Some(value);
        }
    }
    None
}
