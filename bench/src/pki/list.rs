//! Revocation lists (RFC 5280, section 5), described before they are signed: also deltas, scopes, and lists
//! that ran out.

use super::der::{
    ECDSA_SHA256, ENUMERATED, SEQUENCE, constructed, context, extension, integer, point, signed,
    time, wrap,
};
use super::{Ca, seconds_from_now};

const HOUR: i64 = 3600;

/// A certificate revocation list to be.
#[derive(Debug, Clone)]
pub struct List {
    number: u64,
    base: Option<u64>,
    /// Seconds from now.
    made: i64,
    ends: i64,
    /// Serial number and CRLReason.
    entries: Vec<(u128, u8)>,
    scope: Option<Scope>,
}

/// Which certificates a list speaks for (issuing distribution point).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of users only.
    Users,
    /// Those of CAs only.
    Cas,
    /// Those that name this address.
    Point(String),
}

impl List {
    /// A complete list with this CRL number, made an hour ago and good for an hour more, that lists nobody.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            base: None,
            made: -HOUR,
            ends: HOUR,
            entries: Vec::new(),
            scope: None,
        }
    }

    /// Lists a serial number, without a reason.
    #[must_use]
    pub fn revoke(self, serial: impl Into<u128>) -> Self {
        self.revoke_for(serial, 0)
    }

    /// Lists a serial number with a CRLReason: 6 is certificateHold, 8 is removeFromCRL.
    #[must_use]
    pub fn revoke_for(mut self, serial: impl Into<u128>, reason: u8) -> Self {
        self.entries.push((serial.into(), reason));
        self
    }

    /// Tells only what changed since the complete list of this number.
    #[must_use]
    pub fn delta_of(mut self, base: u64) -> Self {
        self.base = Some(base);
        self
    }

    /// Its nextUpdate, so many seconds from now; what ended was made an hour before.
    #[must_use]
    pub fn ending(mut self, seconds: i64) -> Self {
        self.ends = seconds;
        self.made = self.made.min(seconds - HOUR);
        self
    }

    /// Speaks for these only.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// The list in DER.
    pub fn signed_by(&self, ca: &Ca) -> anyhow::Result<Vec<u8>> {
        let tbs = self.tbs(&ca.name()?);
        Ok(signed(&tbs, &ca.sign_bytes(&tbs)?, &[]))
    }

    fn tbs(&self, issuer: &[u8]) -> Vec<u8> {
        let made = seconds_from_now(self.made);
        let entries = self.entries.iter();
        let entries: Vec<_> = entries
            .map(|(serial, reason)| entry(*serial, *reason, made))
            .collect();
        let entries = match entries.is_empty() {
            true => Vec::new(),
            false => wrap(SEQUENCE, &[&entries.concat()]),
        };
        let mut extensions = extension(&[0x55, 0x1d, 0x14], false, &integer(self.number.into()));
        if let Some(base) = self.base {
            let base = integer(base.into());
            extensions.extend(extension(&[0x55, 0x1d, 0x1b], true, &base));
        }
        if let Some(scope) = &self.scope {
            extensions.extend(extension(&[0x55, 0x1d, 0x1c], true, &scope.der()));
        }
        let extensions = wrap(constructed(0), &[&wrap(SEQUENCE, &[&extensions])]);
        let ends = time(seconds_from_now(self.ends));
        let parts: [&[u8]; 7] = [
            &integer(1), // v2
            ECDSA_SHA256,
            issuer,
            &time(made),
            &ends,
            &entries,
            &extensions,
        ];
        wrap(SEQUENCE, &parts)
    }
}

impl Scope {
    fn der(&self) -> Vec<u8> {
        let content = match self {
            Self::Users => wrap(context(1), &[&[0xff]]),
            Self::Cas => wrap(context(2), &[&[0xff]]),
            Self::Point(address) => point(address),
        };
        wrap(SEQUENCE, &[&content])
    }
}

fn entry(serial: u128, reason: u8, since: i64) -> Vec<u8> {
    let code = wrap(ENUMERATED, &[&[reason]]);
    let extensions = match reason {
        0 => Vec::new(),
        _ => wrap(SEQUENCE, &[&extension(&[0x55, 0x1d, 0x15], false, &code)]),
    };
    wrap(SEQUENCE, &[&integer(serial), &time(since), &extensions])
}
