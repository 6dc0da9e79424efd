//! Answers of an OCSP responder (RFC 6960), also those a good one would not give: out of date, or signed by
//! somebody else. The right ones come from the `openssl` program.

use anyhow::Context as _;

use super::der::{
    ENUMERATED, INTEGER, OCTET_STRING, OID, SEQUENCE, constructed, context, signed, split, time,
    wrap,
};
use super::{Ca, seconds_from_now};

/// id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];

/// What a responder says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not revoked.
    Good,
    /// It is.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// An answer to be, current for an hour before and after now.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    standing: Standing,
    /// Seconds from now.
    made: i64,
    ends: i64,
}

impl Answer {
    /// An answer that says this.
    pub fn new(standing: Standing) -> Self {
        Self {
            standing,
            made: -3600,
            ends: 3600,
        }
    }

    /// Its thisUpdate and nextUpdate, in seconds from now.
    #[must_use]
    pub fn valid(mut self, made: i64, ends: i64) -> Self {
        (self.made, self.ends) = (made, ends);
        self
    }

    /// The answer to this question, signed by a CA.
    pub fn signed_by(&self, ca: &Ca, question: &[u8]) -> anyhow::Result<Vec<u8>> {
        let asked = certificate_id(question).context("the question names no certificate")?;
        let (made, ends) = (seconds_from_now(self.made), seconds_from_now(self.ends));
        let standing = match self.standing {
            Standing::Good => wrap(context(0), &[]),
            Standing::Revoked => wrap(constructed(1), &[&time(made)]),
            Standing::Unknown => wrap(context(2), &[]),
        };
        let ends = wrap(constructed(0), &[&time(ends)]);
        let single = wrap(SEQUENCE, &[asked, &standing, &time(made), &ends]);
        let responder = wrap(constructed(1), &[&ca.name()?]);
        let list = wrap(SEQUENCE, &[&single]);
        let data = wrap(SEQUENCE, &[&responder, &time(made), &list]);
        let basic = signed(&data, &ca.sign_bytes(&data)?, &[]);
        let kind = wrap(OID, &[BASIC]);
        let bytes = wrap(SEQUENCE, &[&kind, &wrap(OCTET_STRING, &[&basic])]);
        let successful = wrap(ENUMERATED, &[&[0]]);
        let bytes = wrap(constructed(0), &[&bytes]);
        Ok(wrap(SEQUENCE, &[&successful, &bytes]))
    }
}

/// The serial number an OCSP request asks about; `None` where it is none, or larger than the tests' own.
pub fn serial_asked(question: &[u8]) -> Option<u64> {
    let (id, _) = split(certificate_id(question)?, SEQUENCE)?;
    let (_, rest) = split(id, SEQUENCE)?;
    let (_, rest) = split(rest, OCTET_STRING)?;
    let (_, rest) = split(rest, OCTET_STRING)?;
    let (serial, _) = split(rest, INTEGER)?;
    let mut bytes = serial.iter();
    bytes.try_fold(0_u64, |sum, byte| {
        Some(sum.checked_mul(256)? | u64::from(*byte))
    })
}

/// The CertID of the first certificate that is asked about: OCSPRequest, TBSRequest, requestList, Request,
/// CertID.
fn certificate_id(question: &[u8]) -> Option<&[u8]> {
    let mut inside = question;
    for _ in 0..4 {
        (inside, _) = split(inside, SEQUENCE)?;
    }
    let (_, rest) = split(inside, SEQUENCE)?;
    inside.get(..inside.len() - rest.len())
}
