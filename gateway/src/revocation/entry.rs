//! The entries of a list, found by serial number.
//!
//! The index has eight bytes an entry: a hash, and where the entry begins in the DER, where it is read again
//! when it is asked for.

use super::crl::range_within;
use super::der::{self, Malformed, Reader, read_extension};
use super::error::Problem;

const REASON_CODE: &[u8] = &[0x55, 0x1d, 0x15];
const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 0x18];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 0x1d];

/// Hash of a serial number, and where its entry begins.
pub(super) type Place = (u32, u32);

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Revoked since, with the CRLReason (0 when none is given).
    Revoked { since: i64, reason: u8 },
    /// Only in deltas: the hold of the base is over.
    Removed,
}

/// Reads every entry.
pub(super) fn index(raw: &[u8], mut entries: Reader<'_>) -> Result<Box<[Place]>, Problem> {
    let mut index = Vec::new();
    while !entries.is_at_end() {
        let at = range_within(raw, entries.rest()).start;
        let at = u32::try_from(at).map_err(|_| Malformed("list of more than 4 GiB"))?;
        let (serial, _) = read_entry(&mut entries)?;
        index.push((hash(serial), at));
    }
    index.sort_unstable();
    Ok(index.into_boxed_slice())
}

/// What a list says about a serial number (without leading zeros). A number that is listed twice is revoked if
/// one entry says so.
pub(super) fn find(raw: &[u8], places: &[Place], serial: &[u8]) -> Option<Entry> {
    let hash = hash(serial);
    let first = places.partition_point(|(other, _)| *other < hash);
    let same = places[first..]
        .iter()
        .take_while(|(other, _)| *other == hash);
    let mut found = None;
    for (_, at) in same {
        let at = usize::try_from(*at).unwrap_or(usize::MAX);
        let mut entries = Reader::new(raw.get(at..).unwrap_or_default(), "entry");
        // Entries have been read once when the list was.
        let Ok((listed, entry)) = read_entry(&mut entries) else {
            continue;
        };
        if listed == serial && !matches!(found, Some(Entry::Revoked { .. })) {
            found = Some(entry);
        }
    }
    found
}

/// Serial number and content of the next entry.
fn read_entry<'a>(entries: &mut Reader<'a>) -> Result<(&'a [u8], Entry), Problem> {
    let mut entry = entries.inside(der::SEQUENCE)?;
    let serial = entry.value(der::INTEGER)?;
    let since = entry.time()?;
    let mut reason = 0;
    if let Some(mut list) = entry.optional_inside(der::SEQUENCE)? {
        while !list.is_at_end() {
            match read_extension(&mut list)? {
                (REASON_CODE, _, content) => reason = read_reason(content)?,
                (INVALIDITY_DATE, ..) => {}
                (CERTIFICATE_ISSUER, ..) => return Err(Problem::Indirect),
                (oid, true, _) => return Err(Problem::UnknownCritical(der::dotted(oid))),
                _ => {}
            }
        }
    }
    entry.end()?;
    let said = match reason {
        8 => Entry::Removed,
        reason => Entry::Revoked { since, reason },
    };
    Ok((der::unsigned(serial), said))
}

fn read_reason(content: &[u8]) -> Result<u8, Malformed> {
    let mut reader = Reader::new(content, "reason code");
    match (reader.value(der::ENUMERATED)?, reader.end()) {
        ([code @ (0..=6 | 8..=10)], Ok(())) => Ok(*code),
        _ => reader.malformed(),
    }
}

/// FNV-1a. Only the issuer chooses serial numbers; collisions cost nobody else anything.
fn hash(serial: &[u8]) -> u32 {
    serial.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
