//! What became of offered sessions and of new ones, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::reason::Reason;

/// Why a session that was offered was not resumed. The handshake goes on as a full one, with its own refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declined {
    /// Resumption is off at this site, or for this version.
    Off,
    /// Sealed by a key that is not, or no longer, in the ring.
    UnknownKey,
    /// Not a ticket of ours, or of an older release.
    Malformed,
    /// Sealed for another site, client certificate mode or generation.
    Scope,
    /// Older than `lifetime`, or from the future.
    Expired,
    /// The full handshake it goes back to is older than `max_lineage`.
    Lineage,
    /// For another server name.
    ServerName,
    /// Version or cipher suite are not those of now.
    Parameters,
    /// Not in the store: evicted, used, or of another gateway.
    StoreMiss,
    /// It refers to an intermediate that is not configured here.
    UnknownIntermediate,
    /// The client would not be let in now.
    ClientCert(Reason),
}

/// Why a session was not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIssued {
    /// No key seals now.
    NoKey,
    /// The keys are not for this version.
    Version,
    /// It would be larger than `tickets.max_size`.
    TooLarge,
    /// Certificate or lineage end now.
    Over,
    /// rustls wrote something unexpected.
    NotUnderstood,
}

impl Declined {
    /// The words, for the label of the metric.
    pub const KINDS: [&'static str; 11] = [
        "off",
        "unknown_key",
        "malformed",
        "scope",
        "expired",
        "lineage",
        "server_name",
        "parameters",
        "store_miss",
        "unknown_intermediate",
        "client_cert",
    ];

    fn index(self) -> usize {
        match self {
            Self::Off => 0,
            Self::UnknownKey => 1,
            Self::Malformed => 2,
            Self::Scope => 3,
            Self::Expired => 4,
            Self::Lineage => 5,
            Self::ServerName => 6,
            Self::Parameters => 7,
            Self::StoreMiss => 8,
            Self::UnknownIntermediate => 9,
            Self::ClientCert(_) => 10,
        }
    }

    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        Self::KINDS[self.index()]
    }
}

impl NotIssued {
    /// The words, for the label of the metric.
    pub const KINDS: [&'static str; 5] =
        ["no_key", "version", "too_large", "over", "not_understood"];

    fn index(self) -> usize {
        match self {
            Self::NoKey => 0,
            Self::Version => 1,
            Self::TooLarge => 2,
            Self::Over => 3,
            Self::NotUnderstood => 4,
        }
    }
}

/// What became of early data that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyOutcome {
    /// Its session was used up for it.
    Accepted,
    /// Its session is unknown or used: a replay, among others.
    Used,
    /// The fleet was not reached in time.
    Unreachable,
    /// There is no early data at this site.
    Off,
}

impl EarlyOutcome {
    const KINDS: [&'static str; 4] = ["accepted", "used", "unreachable", "off"];
}

/// Counters of this process.
#[derive(Debug, Default)]
pub struct ResumptionStats {
    declined: [AtomicU64; 11],
    issued: AtomicU64,
    not_issued: [AtomicU64; 5],
    early_data: [AtomicU64; 4],
}

impl ResumptionStats {
    /// An offered session was declined.
    pub(super) fn declined(&self, declined: Declined) {
        self.declined[declined.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// A session was given out, or not.
    pub(super) fn issued(&self, not: Option<NotIssued>) {
        let counter = match not {
            None => &self.issued,
            Some(not) => &self.not_issued[not.index()],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn early_data(&self, outcome: EarlyOutcome) {
        self.early_data[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Early data that clients sent, by what became of it.
    pub fn all_early_data(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&EarlyOutcome::KINDS, &self.early_data)
    }

    /// Declined sessions, by [`Declined::KINDS`].
    pub fn all_declined(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&Declined::KINDS, &self.declined)
    }

    /// Tickets and sessions that were given out.
    pub fn all_issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// Tickets and sessions that were not, by [`NotIssued::KINDS`].
    pub fn all_not_issued(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&NotIssued::KINDS, &self.not_issued)
    }
}

fn named<'a>(
    kinds: &'a [&'static str],
    counters: &'a [AtomicU64],
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    let counters = counters.iter().map(|it| it.load(Ordering::Relaxed));
    kinds.iter().copied().zip(counters)
}
