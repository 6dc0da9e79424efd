//! What all lists together say about a certificate.
//!
//! Every list of the certificate's issuer counts, in whatever order they were found, and only those that the
//! issuer's key signed. A serial number on any of them is revoked, also when that list is stale or speaks for
//! another distribution point: an issuer gives a number once. It is taken off only by a delta that continues
//! that very list and says `removeFromCRL`. For "good" the lists must cover the certificate by RFC 5280,
//! section 6.3.3, for every reason.
//!
//! Names are compared byte by byte, and the key must be the one that signed the certificate: what a CA signs
//! with another key of the same name is not looked at.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_config::StalePolicy;

use super::certificate::PathCert;
use super::crl::{Crl, SharedCrl};
use super::entry::Entry;
use super::names::Reasons;

/// How far clocks may differ, in seconds.
pub(super) const SKEW: i64 = 300;

/// A list and where it came from.
#[derive(Debug)]
pub(super) struct List {
    pub(super) crl: SharedCrl,
    pub(super) origin: String,
}

/// What the lists say.
#[derive(Debug)]
pub(super) enum Status {
    /// A list names it.
    Revoked {
        list: Arc<List>,
        since: i64,
        reason: u8,
    },
    /// Covered, and the lists that cover it are in time.
    Good,
    /// Covered, but only by lists of which one is past its nextUpdate.
    Stale { since: i64 },
    /// Not covered.
    Missing,
}

/// What the policy of the bundle makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Pass,
    /// Only because the policy is lenient; counted.
    Lenient,
    Refused,
}

impl Status {
    pub(super) fn under(&self, policy: StalePolicy, now: i64) -> Passage {
        match (self, policy) {
            (Status::Revoked { .. }, _) => Passage::Refused,
            (Status::Good, _) => Passage::Pass,
            (Status::Stale { .. } | Status::Missing, StalePolicy::Soft) => Passage::Lenient,
            (Status::Stale { since }, StalePolicy::Grace(grace)) => {
                let grace = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
                if now <= since.saturating_add(grace) {
                    Passage::Lenient
                } else {
                    Passage::Refused
                }
            }
            (Status::Stale { .. } | Status::Missing, _) => Passage::Refused,
        }
    }
}

/// Lists by issuer.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_issuer: HashMap<Box<[u8]>, Vec<Arc<List>>>,
}

impl Index {
    /// Lists that are there twice, by file and by address say, count once.
    pub(super) fn new(lists: impl Iterator<Item = Arc<List>>) -> Self {
        let mut by_issuer: HashMap<Box<[u8]>, Vec<Arc<List>>> = HashMap::new();
        for list in lists {
            let same = by_issuer.entry(list.crl.issuer().into()).or_default();
            let known = |other: &Arc<List>| other.crl.digest() == list.crl.digest();
            if !same.iter().any(known) {
                same.push(list);
            }
        }
        Self { by_issuer }
    }

    /// Every list, in no particular order.
    pub(super) fn lists(&self) -> impl Iterator<Item = &Arc<List>> {
        self.by_issuer.values().flatten()
    }

    /// The lists under an issuer's name, whoever signed them.
    pub(super) fn of_issuer(&self, name: &[u8]) -> &[Arc<List>] {
        self.by_issuer.get(name).map_or(&[], Vec::as_slice)
    }

    /// The keys under an issuer's name that lists were tried with. All of them came from anchors or from
    /// verified chains.
    pub(super) fn keys(&self, name: &[u8]) -> Vec<Box<[u8]>> {
        let lists = self.of_issuer(name).iter();
        lists.flat_map(|list| list.crl.tried_keys()).collect()
    }

    /// What the lists say about a certificate.
    pub(super) fn status(&self, certificate: &PathCert<'_>, now: i64) -> Status {
        let lists = self.of_issuer(certificate.issuer_name()).iter();
        let authentic: Vec<&Arc<List>> = lists
            .filter(|list| list.crl.is_authentic(certificate.issuer_key()))
            .filter(|list| !list.crl.scope().attributes_only)
            .collect();
        for list in &authentic {
            if let Some((since, reason)) = revocation(list, &authentic, certificate, now) {
                let list = Arc::clone(list);
                return Status::Revoked {
                    list,
                    since,
                    reason,
                };
            }
        }
        match covered_until(&authentic, certificate, now) {
            Some(until) if now <= until => Status::Good,
            Some(until) => Status::Stale { since: until },
            None => Status::Missing,
        }
    }
}

/// Whether a list, as continued by the deltas among the others, says that the certificate is revoked.
fn revocation(
    list: &List,
    all: &[&Arc<List>],
    certificate: &PathCert<'_>,
    now: i64,
) -> Option<(i64, u8)> {
    let Some(Entry::Revoked { since, reason }) = list.crl.find(certificate.serial()) else {
        return None;
    };
    let removed = deltas_of(&list.crl, all, now)
        .any(|delta| delta.find(certificate.serial()) == Some(Entry::Removed));
    (!removed).then_some((since, reason))
}

/// The deltas that tell what happened after a list was made.
fn deltas_of<'a>(crl: &'a Crl, all: &'a [&Arc<List>], now: i64) -> impl Iterator<Item = &'a Crl> {
    let begun = move |delta: &Crl| delta.this_update <= now + SKEW;
    all.iter()
        .map(|list| &*list.crl)
        .filter(move |delta| begun(delta) && delta.continues(crl))
}

/// Until when the certificate is covered for every reason; `None` when it is not covered at all.
fn covered_until(all: &[&Arc<List>], certificate: &PathCert<'_>, now: i64) -> Option<i64> {
    let subject = certificate.subject();
    let complete = all
        .iter()
        .map(|list| &*list.crl)
        .filter(|crl| crl.base.is_none() && crl.this_update <= now + SKEW);
    let mut covering: Vec<(i64, Reasons)> = complete
        .map(|crl| {
            // A list and its delta are as good as a list made with the delta (section 5.2.4).
            let deltas = deltas_of(crl, all, now).map(|delta| delta.next_update);
            let until = deltas.fold(crl.next_update, i64::max);
            (until, crl.scope().covers(&subject))
        })
        .collect();
    covering.sort_unstable_by_key(|(until, _)| std::cmp::Reverse(*until));
    let mut covered = Reasons::NONE;
    for (until, reasons) in covering {
        covered = covered.or(reasons);
        if covered == Reasons::ALL {
            return Some(until);
        }
    }
    None
}
