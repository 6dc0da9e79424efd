//! How the lists are: for metrics and for people.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_config::StalePolicy;

use super::certificate::PathCert;
use super::crl::Crl;
use super::entry::Entry;
use super::index::{Index, List, Passage, SKEW, Status};
use super::store::CrlStore;
use super::{date, reason_word};
use crate::identity::hex;

/// What is counted in a store.
#[derive(Debug, Default)]
pub(super) struct Counters {
    fetches: AtomicU64,
    fetch_errors: AtomicU64,
    refused: AtomicU64,
    stale_passes: AtomicU64,
    missing_passes: AtomicU64,
}

impl Counters {
    pub(super) fn fetched(&self) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fetch_failed(&self) {
        self.fetch_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lenient(&self, status: &Status) {
        let counter = match status {
            Status::Missing => &self.missing_passes,
            _ => &self.stale_passes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A snapshot of a store's numbers.
#[derive(Debug, Clone)]
pub struct CrlStats {
    /// The lists in use, by origin.
    pub lists: Vec<ListStats>,
    /// Answers to fetches that brought a usable list.
    pub fetches: u64,
    /// Fetches that failed, or brought something unusable.
    pub fetch_errors: u64,
    /// Changed files that were not used.
    pub refused: u64,
    /// Certificates that passed with a stale list, by the policy.
    pub stale_passes: u64,
    /// Certificates that passed without a list, by the policy.
    pub missing_passes: u64,
}

/// One list in use.
#[derive(Debug, Clone)]
pub struct ListStats {
    /// File or address.
    pub origin: String,
    /// CRL number.
    pub number: Option<String>,
    /// Whether it only tells changes.
    pub delta: bool,
    /// Serial numbers listed.
    pub entries: usize,
    /// When it was made, seconds since the Unix epoch.
    pub this_update: i64,
    /// When the next one is due.
    pub next_update: i64,
    /// Whether its issuer is known and signed it.
    pub proven: bool,
}

impl ListStats {
    fn new(list: &List) -> Self {
        let crl = &list.crl;
        Self {
            origin: list.origin.clone(),
            number: crl.number.map(|number| number.to_string()),
            delta: crl.base.is_some(),
            entries: crl.len(),
            this_update: crl.this_update,
            next_update: crl.next_update,
            proven: crl.is_proven(),
        }
    }

    /// `current`, `stale` or `future`.
    pub fn state(&self, now: i64) -> &'static str {
        if self.next_update < now {
            "stale"
        } else if self.this_update > now + SKEW {
            "future"
        } else {
            "current"
        }
    }
}

impl CrlStore {
    /// The numbers of now.
    pub fn stats(&self) -> CrlStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut lists: Vec<_> = self
            .lists()
            .iter()
            .map(|list| ListStats::new(list))
            .collect();
        lists.sort_by(|a, b| a.origin.cmp(&b.origin));
        CrlStats {
            lists,
            fetches: read(&self.counters.fetches),
            fetch_errors: read(&self.counters.fetch_errors),
            refused: read(&self.counters.refused),
            stale_passes: read(&self.counters.stale_passes),
            missing_passes: read(&self.counters.missing_passes),
        }
    }
}

/// What the lists say about one certificate of a path.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The certificate's serial number, hexadecimal.
    pub serial: String,
    /// Whether it passes under the policy of the bundle.
    pub passes: bool,
    /// The conclusion in words.
    pub status: String,
    /// Every list under the issuer's name.
    pub lists: Vec<ListFinding>,
}

/// What one list says about a certificate.
#[derive(Debug, Clone)]
pub struct ListFinding {
    /// About the list.
    pub list: ListStats,
    /// What it says, in words.
    pub says: String,
}

impl Finding {
    pub(super) fn new(
        index: &Index,
        certificate: &PathCert<'_>,
        policy: StalePolicy,
        now: i64,
    ) -> Self {
        let status = index.status(certificate, now);
        let passes = status.under(policy, now) != Passage::Refused;
        let status = match status {
            Status::Revoked {
                list,
                since,
                reason,
            } => {
                let (since, word) = (date(since), reason_word(reason));
                format!("revoked since {since} ({word}) by {}", list.origin)
            }
            Status::Good => "not revoked".to_owned(),
            Status::Stale { since } => format!("nextUpdate was {}", date(since)),
            Status::Missing => "no list of its issuer covers it".to_owned(),
        };
        let lists = index.of_issuer(certificate.issuer_name()).iter();
        Self {
            serial: hex(certificate.serial()),
            passes,
            status,
            lists: lists
                .map(|list| ListFinding {
                    list: ListStats::new(list),
                    says: says(&list.crl, certificate),
                })
                .collect(),
        }
    }
}

fn says(crl: &Crl, certificate: &PathCert<'_>) -> String {
    if !crl.is_authentic(certificate.issuer_key()) {
        return "not signed by the issuer's key: ignored".to_owned();
    }
    match crl.find(certificate.serial()) {
        Some(Entry::Revoked { since, reason }) => {
            format!("revoked since {} ({})", date(since), reason_word(reason))
        }
        Some(Entry::Removed) => "no longer on hold".to_owned(),
        None if crl.scope().covers(&certificate.subject()) == super::names::Reasons::NONE => {
            "not listed; speaks for other certificates".to_owned()
        }
        None => "not listed".to_owned(),
    }
}
