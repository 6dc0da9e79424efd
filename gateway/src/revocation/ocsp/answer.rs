//! An OCSP response: read strictly, and believed only when the issuer, or a responder that the issuer named,
//! signed it now for the certificate that was asked about.

use std::time::Duration;

use super::question::{NONCE_OID, Question, names_same};
use super::signer::{Responder, is_signed};
use crate::revocation::der::{self, Malformed, Reader, constructed, context, read_extension};
use crate::revocation::index::SKEW;
use crate::revocation::signature::Signed;

const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];

/// What the responder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Good,
    Revoked { since: i64, reason: u8 },
    Unknown,
}

/// An answer that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) said: Said,
    pub(super) this_update: i64,
    /// Without one the responder always has news; then as long as an answer is kept at most.
    pub(super) next_update: i64,
}

/// What an answer is checked with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) question: &'a Question,
    pub(super) nonce: Option<&'a [u8]>,
    pub(super) now: i64,
    pub(super) kept: Duration,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disbelief {
    Malformed(Malformed),
    /// The responder's own error (OCSPResponseStatus).
    Status(u8),
    /// About another certificate.
    Other,
    /// Before its thisUpdate or past its nextUpdate.
    Time,
    Nonce,
    /// Nobody signed it who may.
    Signer,
    /// A critical extension that is not known here.
    Critical,
}

impl Disbelief {
    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Malformed(_) => "the answer is broken",
            Self::Status(1) => "the responder says: malformed request",
            Self::Status(2) => "the responder says: internal error",
            Self::Status(3) => "the responder says: try later",
            Self::Status(5) => "the responder says: sign the request",
            Self::Status(6) => "the responder says: unauthorized (it does not know the issuer)",
            Self::Status(_) => "the responder says: error",
            Self::Other => "the answer is about another certificate",
            Self::Time => "the answer is out of date, or from the future",
            Self::Nonce => "the answer lacks the nonce that was sent",
            Self::Signer => {
                "the answer is not signed by the issuer, nor by a responder of the issuer's"
            }
            Self::Critical => "the answer has a critical extension that is not known",
        }
    }
}

impl From<Malformed> for Disbelief {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// A BasicOCSPResponse.
pub(super) struct Basic<'a> {
    pub(super) signed: Signed<'a>,
    pub(super) data: Data<'a>,
    pub(super) certificates: Vec<&'a [u8]>,
}

/// The part that is signed.
pub(super) struct Data<'a> {
    pub(super) responder: Responder<'a>,
    singles: Reader<'a>,
    nonce: Option<&'a [u8]>,
}

/// Reads and checks an answer.
pub(super) fn read(bytes: &[u8], expected: &Expected<'_>) -> Result<Answer, Disbelief> {
    let basic = read_basic(read_response(bytes)?)?;
    if !is_signed(&basic, expected.question, expected.now) {
        return Err(Disbelief::Signer);
    }
    if expected.nonce.is_some() && basic.data.nonce != expected.nonce {
        return Err(Disbelief::Nonce);
    }
    let mut singles = basic.data.singles;
    let mut found = Err(Disbelief::Other);
    while !singles.is_at_end() {
        let Some(answer) = read_single(&mut singles, expected)? else {
            continue;
        };
        if !is_in_time(&answer, expected.now) {
            found = found.or(Err(Disbelief::Time));
            continue;
        }
        // One that says "revoked" outweighs the others.
        if found.is_err() || matches!(answer.said, Said::Revoked { .. }) {
            found = Ok(answer);
        }
    }
    found
}

fn is_in_time(answer: &Answer, now: i64) -> bool {
    answer.this_update <= now + SKEW && now - SKEW <= answer.next_update
}

/// The BasicOCSPResponse.
fn read_response(bytes: &[u8]) -> Result<&[u8], Disbelief> {
    let mut outer = Reader::new(bytes, "OCSP response");
    let mut response = outer.inside(der::SEQUENCE)?;
    outer.end()?;
    match response.value(der::ENUMERATED)? {
        [0] => {}
        [status] => return Err(Disbelief::Status(*status)),
        _ => return Ok(response.malformed()?),
    }
    let mut explicit = response.inside(constructed(0))?;
    response.end()?;
    let mut bytes = explicit.inside(der::SEQUENCE)?;
    explicit.end()?;
    let kind = bytes.value(der::OID)?;
    let content = bytes.value(der::OCTET_STRING)?;
    bytes.end()?;
    if kind != BASIC {
        return Ok(response.malformed()?);
    }
    Ok(content)
}

fn read_basic(bytes: &[u8]) -> Result<Basic<'_>, Disbelief> {
    let mut outer = Reader::new(bytes, "basic OCSP response");
    let mut basic = outer.inside(der::SEQUENCE)?;
    outer.end()?;
    let data = basic.raw(der::SEQUENCE)?;
    let algorithm = basic.value(der::SEQUENCE)?;
    let signature = basic.bits()?;
    let mut certificates = Vec::new();
    if let Some(mut explicit) = basic.optional_inside(constructed(0))? {
        let mut list = explicit.inside(der::SEQUENCE)?;
        explicit.end()?;
        while !list.is_at_end() {
            certificates.push(list.raw(der::SEQUENCE)?.raw);
        }
    }
    basic.end()?;
    Ok(Basic {
        signed: Signed {
            message: data.raw,
            algorithm,
            signature,
        },
        data: read_data(data.content)?,
        certificates,
    })
}

fn read_data(content: &[u8]) -> Result<Data<'_>, Disbelief> {
    let mut data = Reader::new(content, "OCSP response data");
    // Version 1 is the default and the only one.
    if let Some(mut version) = data.optional_inside(constructed(0))?
        && version.value(der::INTEGER)? != [0]
    {
        return Ok(data.malformed()?);
    }
    let responder = if data.is_next(constructed(1)) {
        let mut explicit = data.inside(constructed(1))?;
        Responder::Name(explicit.value(der::SEQUENCE)?)
    } else {
        let mut explicit = data.inside(constructed(2))?;
        Responder::KeyHash(explicit.value(der::OCTET_STRING)?)
    };
    data.time()?; // producedAt
    let singles = data.inside(der::SEQUENCE)?;
    let mut nonce = None;
    if let Some(mut explicit) = data.optional_inside(constructed(1))? {
        let mut list = explicit.inside(der::SEQUENCE)?;
        explicit.end()?;
        while !list.is_at_end() {
            match read_extension(&mut list)? {
                (NONCE_OID, _, content) => {
                    nonce = Some(Reader::new(content, "nonce").value(der::OCTET_STRING)?);
                }
                (_, true, _) => return Err(Disbelief::Critical),
                _ => {}
            }
        }
    }
    data.end()?;
    Ok(Data {
        responder,
        singles,
        nonce,
    })
}

/// The next single response; `None` when it is about another certificate.
fn read_single(
    singles: &mut Reader<'_>,
    expected: &Expected<'_>,
) -> Result<Option<Answer>, Disbelief> {
    let mut single = singles.inside(der::SEQUENCE)?;
    let id = single.raw(der::SEQUENCE)?.raw;
    let status = single.any()?;
    let said = match status.tag {
        tag if tag == context(0) => Said::Good,
        tag if tag == constructed(1) => read_revoked(status.content)?,
        tag if tag == context(2) => Said::Unknown,
        _ => return Ok(single.malformed()?),
    };
    let this_update = single.time()?;
    let next_update = match single.optional_inside(constructed(0))? {
        Some(mut explicit) => Some(explicit.time()?),
        None => None,
    };
    if let Some(mut explicit) = single.optional_inside(constructed(1))? {
        let mut list = explicit.inside(der::SEQUENCE)?;
        while !list.is_at_end() {
            if let (_, true, _) = read_extension(&mut list)? {
                return Err(Disbelief::Critical);
            }
        }
    }
    single.end()?;
    if !names_same(&expected.question.id, id)? {
        return Ok(None);
    }
    let kept = i64::try_from(expected.kept.as_secs()).unwrap_or(i64::MAX);
    Ok(Some(Answer {
        said,
        this_update,
        next_update: next_update.unwrap_or(this_update.saturating_add(kept)),
    }))
}

fn read_revoked(content: &[u8]) -> Result<Said, Malformed> {
    let mut info = Reader::new(content, "revoked info");
    let since = info.time()?;
    let reason = match info.optional_inside(constructed(0))? {
        Some(mut explicit) => match explicit.value(der::ENUMERATED)? {
            [reason] => *reason,
            _ => return info.malformed(),
        },
        None => 0,
    };
    info.end()?;
    Ok(Said::Revoked { since, reason })
}
