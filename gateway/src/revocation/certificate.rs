//! What revocation asks of a certificate of a verified path.

use super::der::{self, Malformed, Reader, constructed, context, read_extension};
use super::names::{Kind, Point, Subject, http_address, http_addresses, read_points};

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
const FRESHEST: &[u8] = &[0x55, 0x1d, 0x2e];
const AUTHORITY_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1];

/// A certificate of a verified path, with the key of its issuer.
#[derive(Debug, Clone)]
pub struct PathCert<'a> {
    /// The content of the INTEGER.
    serial: &'a [u8],
    /// The issuer's name, tag and length included.
    issuer: &'a [u8],
    /// The content of the issuer's SubjectPublicKeyInfo.
    issuer_key: &'a [u8],
    kind: Kind,
    points: Vec<Point<'a>>,
    freshest: Vec<Point<'a>>,
    responder: Option<&'a str>,
}

impl<'a> PathCert<'a> {
    /// Reads a certificate. `issuer_key` is the issuer's SubjectPublicKeyInfo without the outer SEQUENCE, as
    /// trust anchors have it.
    ///
    /// # Errors
    /// The certificate is no X.509.
    pub fn new(der: &'a [u8], issuer_key: &'a [u8]) -> Result<Self, Malformed> {
        read(der, issuer_key).map(|(certificate, _)| certificate)
    }

    /// The certificates of a path below its anchor, the client's own first, each issued by the next.
    ///
    /// # Errors
    /// A certificate is no X.509.
    pub fn of_chain(ders: &[&'a [u8]], anchor_key: &'a [u8]) -> Result<Vec<Self>, Malformed> {
        let mut issuer_key = anchor_key;
        let mut certificates = Vec::with_capacity(ders.len());
        for der in ders.iter().rev() {
            let (certificate, own_key) = read(der, issuer_key)?;
            certificates.push(certificate);
            issuer_key = own_key;
        }
        certificates.reverse();
        Ok(certificates)
    }

    /// The serial number, as in the certificate.
    pub fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// The issuer's name, without tag and length, as trust anchors have it.
    pub(super) fn issuer_name(&self) -> &'a [u8] {
        let mut reader = Reader::new(self.issuer, "name");
        reader.value(der::SEQUENCE).unwrap_or_default()
    }

    /// The issuer's name, tag and length included.
    pub(super) fn issuer_der(&self) -> &'a [u8] {
        self.issuer
    }

    /// The content of the issuer's SubjectPublicKeyInfo.
    pub(super) fn issuer_key(&self) -> &'a [u8] {
        self.issuer_key
    }

    /// What scopes of lists ask.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            kind: self.kind,
            issuer: self.issuer,
            points: &self.points,
        }
    }

    /// Where lists about it are fetched: distribution points, then deltas.
    pub(super) fn list_addresses(&self) -> impl Iterator<Item = &'a str> {
        http_addresses(&self.points).chain(http_addresses(&self.freshest))
    }

    /// The OCSP responder it names.
    pub fn responder(&self) -> Option<&'a str> {
        self.responder
    }
}

/// The certificate, and the content of its own SubjectPublicKeyInfo.
fn read<'a>(der: &'a [u8], issuer_key: &'a [u8]) -> Result<(PathCert<'a>, &'a [u8]), Malformed> {
    let mut outer = Reader::new(der, "certificate");
    let mut certificate = outer.inside(der::SEQUENCE)?;
    let mut tbs = certificate.inside(der::SEQUENCE)?;
    tbs.optional(constructed(0))?;
    let serial = tbs.value(der::INTEGER)?;
    tbs.value(der::SEQUENCE)?; // signature
    let issuer = tbs.raw(der::SEQUENCE)?.raw;
    tbs.value(der::SEQUENCE)?; // validity
    tbs.value(der::SEQUENCE)?; // subject
    let own_key = tbs.value(der::SEQUENCE)?;
    tbs.optional(context(1))?;
    tbs.optional(context(2))?;
    let mut read = PathCert {
        serial,
        issuer,
        issuer_key,
        kind: Kind::User,
        points: Vec::new(),
        freshest: Vec::new(),
        responder: None,
    };
    if let Some(mut extensions) = tbs.optional_inside(constructed(3))? {
        let mut list = extensions.inside(der::SEQUENCE)?;
        while !list.is_at_end() {
            let (oid, _, content) = read_extension(&mut list)?;
            match oid {
                BASIC_CONSTRAINTS => read.kind = read_kind(content)?,
                DISTRIBUTION_POINTS => read.points = read_points(content)?,
                FRESHEST => read.freshest = read_points(content)?,
                AUTHORITY_ACCESS => read.responder = read_responder(content)?,
                _ => {}
            }
        }
    }
    Ok((read, own_key))
}

fn read_kind(content: &[u8]) -> Result<Kind, Malformed> {
    let mut constraints = Reader::new(content, "basic constraints").inside(der::SEQUENCE)?;
    match constraints.flag(der::BOOLEAN)? {
        true => Ok(Kind::Ca),
        false => Ok(Kind::User),
    }
}

/// The first `http://` responder of AuthorityInfoAccess.
fn read_responder(content: &[u8]) -> Result<Option<&str>, Malformed> {
    let mut list = Reader::new(content, "authority information access").inside(der::SEQUENCE)?;
    let mut found = None;
    while !list.is_at_end() {
        let mut description = list.inside(der::SEQUENCE)?;
        let method = description.value(der::OID)?;
        let location = description.any()?;
        if method == OCSP && found.is_none() {
            found = http_address(location.raw);
        }
    }
    Ok(found)
}
