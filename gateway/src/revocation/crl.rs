//! One certificate revocation list, read once and kept as its DER with an index of the serial numbers.
//!
//! Every byte is read when the list is: a list with one entry that makes no sense is refused whole. Indirect
//! lists, and critical extensions that are not known here, are refused too, as RFC 5280 asks. Whether the
//! issuer signed it is another question ([`Crl::is_authentic`]): the key may come only with a client's chain.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;

use super::der::{self, Malformed, Reader, constructed, read_extension};
use super::entry::{self, Entry};
use super::error::Problem;
use super::names::Scope;
use super::signature::{Signed, Unsigned};

const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const ISSUER_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x12];
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
const DELTA_INDICATOR: &[u8] = &[0x55, 0x1d, 0x1b];
const ISSUING_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
const FRESHEST: &[u8] = &[0x55, 0x1d, 0x2e];

/// Keys of one list whose verdict is remembered. An issuer's name has one key, two while it changes them.
const KEYS_MAX: usize = 8;

/// A CRL number: up to twenty bytes (RFC 5280, section 5.2.3), ordered as the number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CrlNumber([u8; 20]);

impl CrlNumber {
    fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content, "CRL number");
        let digits = reader.value(der::INTEGER)?;
        reader.end()?;
        let number = der::unsigned(digits);
        let mut bytes = [0; 20];
        match bytes.len().checked_sub(number.len()) {
            Some(at) if digits.first().is_some_and(|first| *first < 0x80) => {
                bytes[at..].copy_from_slice(number);
                Ok(Self(bytes))
            }
            _ => reader.malformed(),
        }
    }
}

impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = self.0.split_at(4);
        let low: [u8; 16] = low.try_into().unwrap_or_default();
        if high.iter().all(|byte| *byte == 0) {
            return write!(f, "{}", u128::from_be_bytes(low));
        }
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A list that was read.
pub(super) struct Crl {
    raw: Box<[u8]>,
    tbs: Range<usize>,
    algorithm: Range<usize>,
    signature: Range<usize>,
    issuer: Range<usize>,
    /// The extension's content; what it says has been read once.
    scope: Option<Range<usize>>,
    freshest: Option<Range<usize>>,
    pub(super) this_update: i64,
    pub(super) next_update: i64,
    pub(super) number: Option<CrlNumber>,
    /// Of a delta: the number of the list that it builds on.
    pub(super) base: Option<CrlNumber>,
    /// Sorted.
    entries: Box<[entry::Place]>,
    digest: [u8; 32],
    /// The keys that were tried, and whether the list is theirs.
    keys: ArcSwap<Vec<(Box<[u8]>, bool)>>,
}

/// The fields in front of and behind the entries.
struct Outline<'a> {
    issuer: &'a [u8],
    this_update: i64,
    next_update: i64,
    entries: Option<Reader<'a>>,
    extensions: Extensions<'a>,
}

#[derive(Default)]
struct Extensions<'a> {
    number: Option<CrlNumber>,
    base: Option<CrlNumber>,
    scope: Option<&'a [u8]>,
    freshest: Option<&'a [u8]>,
}

impl Crl {
    /// Reads a list in DER.
    pub(super) fn read(raw: Box<[u8]>) -> Result<Self, Problem> {
        let mut outer = Reader::new(&raw, "certificate list");
        let mut list = outer.inside(der::SEQUENCE)?;
        outer.end()?;
        let tbs = list.raw(der::SEQUENCE)?;
        let algorithm = list.raw(der::SEQUENCE)?;
        let signature = list.bits()?;
        list.end()?;
        let outline = read_tbs(tbs.content, algorithm.raw)?;
        let within = |part: &[u8]| range_within(&raw, part);
        let entries = match outline.entries {
            Some(entries) => entry::index(&raw, entries)?,
            None => Box::default(),
        };
        Ok(Self {
            tbs: within(tbs.raw),
            algorithm: within(algorithm.content),
            signature: within(signature),
            issuer: within(outline.issuer),
            scope: outline.extensions.scope.map(within),
            freshest: outline.extensions.freshest.map(within),
            this_update: outline.this_update,
            next_update: outline.next_update,
            number: outline.extensions.number,
            base: outline.extensions.base,
            entries,
            digest: digest::digest(&digest::SHA256, &raw)
                .as_ref()
                .try_into()
                .unwrap_or_default(),
            keys: ArcSwap::default(),
            raw,
        })
    }

    /// The issuer's name: the content of the SEQUENCE.
    pub(super) fn issuer(&self) -> &[u8] {
        &self.raw[self.issuer.clone()]
    }

    /// Tells lists apart.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// As it was read, for the copy on disk.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// How many serial numbers are listed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// For which certificates the list speaks.
    pub(super) fn scope(&self) -> Scope<'_> {
        let read = self.scope_bytes().and_then(|bytes| Scope::read(bytes).ok());
        read.unwrap_or(Scope::EVERYTHING)
    }

    fn scope_bytes(&self) -> Option<&[u8]> {
        self.scope.clone().map(|range| &self.raw[range])
    }

    /// Where its deltas are: the content of `FreshestCRL`.
    pub(super) fn freshest(&self) -> Option<&[u8]> {
        self.freshest.clone().map(|range| &self.raw[range])
    }

    /// Whether both speak for the same certificates.
    pub(super) fn has_scope_of(&self, other: &Self) -> bool {
        self.issuer() == other.issuer() && self.scope_bytes() == other.scope_bytes()
    }

    /// Whether this delta tells what happened after `older` was made: RFC 5280, section 5.2.4 (c) and (d).
    pub(super) fn continues(&self, older: &Self) -> bool {
        match (self.base, self.number, older.number) {
            (Some(base), Some(number), Some(older_number)) => {
                base <= older_number && older_number < number && self.has_scope_of(older)
            }
            _ => false,
        }
    }

    /// What the list says about a serial number (the content of its INTEGER). A number that is listed twice
    /// is revoked if one entry says so.
    pub(super) fn find(&self, serial: &[u8]) -> Option<Entry> {
        entry::find(&self.raw, &self.entries, der::unsigned(serial))
    }

    /// Whether this key signed the list. Costs a hash of the whole list for a key that was not asked before;
    /// the answer is remembered.
    pub(super) fn is_authentic(&self, spki: &[u8]) -> bool {
        let known = self.keys.load();
        if let Some((_, authentic)) = known.iter().find(|(key, _)| **key == *spki) {
            return *authentic;
        }
        let authentic = self.verify(spki).is_ok();
        self.keys.rcu(|keys| {
            // Several clients may bring the same new key at once.
            let mut keys = Vec::clone(keys);
            keys.retain(|(key, _)| **key != *spki);
            let surplus = (keys.len() + 1).saturating_sub(KEYS_MAX);
            keys.drain(..surplus);
            keys.push((spki.into(), authentic));
            keys
        });
        authentic
    }

    /// Whether a key is known to have signed the list.
    pub(super) fn is_proven(&self) -> bool {
        self.keys.load().iter().any(|(_, authentic)| *authentic)
    }

    /// The keys that the list was tried with.
    pub(super) fn tried_keys(&self) -> Vec<Box<[u8]>> {
        let keys = self.keys.load();
        keys.iter().map(|(key, _)| key.clone()).collect()
    }

    fn verify(&self, spki: &[u8]) -> Result<(), Unsigned> {
        let signed = Signed {
            message: &self.raw[self.tbs.clone()],
            algorithm: &self.raw[self.algorithm.clone()],
            signature: &self.raw[self.signature.clone()],
        };
        signed.verify(spki)
    }

    /// Whether one of these keys signed the list, and if none, why.
    pub(super) fn prove(&self, keys: &[Box<[u8]>]) -> Result<(), Problem> {
        // All of them, so that none has to be tried while a client waits.
        let tried: Vec<bool> = keys.iter().map(|key| self.is_authentic(key)).collect();
        if tried.contains(&true) {
            return Ok(());
        }
        let mut refusals = keys.iter().map(|key| self.verify(key));
        if refusals.any(|refusal| refusal == Err(Unsigned::Wrong)) {
            return Err(Problem::BadSignature);
        }
        Err(Problem::WeakSignature)
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl")
            .field("number", &self.number)
            .field("base", &self.base)
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// A shared list.
pub(super) type SharedCrl = Arc<Crl>;

fn read_tbs<'a>(content: &'a [u8], algorithm: &[u8]) -> Result<Outline<'a>, Problem> {
    let mut tbs = Reader::new(content, "TBSCertList");
    // A list of version 1 says nothing; one with extensions has to be of version 2.
    let version2 = match tbs.optional(der::INTEGER)? {
        Some([1]) => true,
        None => false,
        Some(_) => return Err(Malformed("version").into()),
    };
    // RFC 5280, section 5.1.1.2: both fields are the same.
    if tbs.raw(der::SEQUENCE)?.raw != algorithm {
        return Err(Malformed("signature algorithm").into());
    }
    let issuer = tbs.value(der::SEQUENCE)?;
    let this_update = tbs.time()?;
    let dated = tbs.is_next(der::UTC_TIME) || tbs.is_next(der::GENERALIZED_TIME);
    let next_update = dated.then(|| tbs.time()).transpose()?;
    let entries = tbs.optional_inside(der::SEQUENCE)?;
    let extensions = match tbs.optional_inside(constructed(0))? {
        Some(mut outer) if version2 => {
            let list = outer.inside(der::SEQUENCE)?;
            outer.end()?;
            read_extensions(list)?
        }
        Some(_) => return Err(Malformed("version").into()),
        None => Extensions::default(),
    };
    tbs.end()?;
    // RFC 5280, section 5.1.2.5 demands it; a list without would be good for ever.
    let next_update = next_update.ok_or(Problem::NoNextUpdate)?;
    if extensions.base.is_some() && extensions.number.is_none() {
        return Err(Malformed("delta without CRL number").into());
    }
    Ok(Outline {
        issuer,
        this_update,
        next_update,
        entries,
        extensions,
    })
}

fn read_extensions(mut list: Reader<'_>) -> Result<Extensions<'_>, Problem> {
    let mut found = Extensions::default();
    let mut seen = Vec::new();
    while !list.is_at_end() {
        let (oid, critical, content) = read_extension(&mut list)?;
        if seen.contains(&oid) {
            return Err(Malformed("an extension twice").into());
        }
        seen.push(oid);
        match oid {
            CRL_NUMBER => found.number = Some(CrlNumber::read(content)?),
            DELTA_INDICATOR => found.base = Some(CrlNumber::read(content)?),
            ISSUING_POINT => {
                if Scope::read(content)?.indirect {
                    return Err(Problem::Indirect);
                }
                found.scope = Some(content);
            }
            FRESHEST => {
                super::names::read_points(content)?;
                found.freshest = Some(content);
            }
            // Names and hints that the signature makes superfluous.
            AUTHORITY_KEY | ISSUER_ALT_NAME => {}
            _ if critical => return Err(Problem::UnknownCritical(der::dotted(oid))),
            _ => {}
        }
    }
    Ok(found)
}

/// Where `part`, which was cut out of `whole`, lies in it.
pub(super) fn range_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}
