//! Which client certificates were seen, and who would be refused if certificates were required.
//!
//! Both are bounded tables of the process; what was seen longest ago leaves first. They hold names of clients, so
//! they are told over the control socket alone; metrics carry numbers without names.

mod lines;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::lines::{RolloutLine, SeenLine};
use self::lines::{brief, days_left};
use crate::identity::{ClientIdentity, Identity};
use crate::reason::Reason;

/// Upper bounds of the histogram of days left.
pub const DAYS_LEFT: [i64; 7] = [0, 1, 7, 14, 30, 90, 365];

/// The tables.
#[derive(Debug)]
pub struct Inventory {
    limit: AtomicUsize,
    seen: Mutex<HashMap<[u8; 32], Seen>>,
    rollout: Mutex<HashMap<Case, Count>>,
}

/// One certificate.
#[derive(Debug, Clone)]
struct Seen {
    identity: Arc<Identity>,
    verified: bool,
    site: Arc<str>,
    first: i64,
    last: i64,
    connections: u64,
}

/// Who would be refused, where, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Case {
    site: Arc<str>,
    who: Who,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    /// Without a certificate all there is.
    Address(IpAddr),
    Certificate([u8; 32]),
}

#[derive(Debug, Clone)]
struct Count {
    identity: Option<Arc<Identity>>,
    detail: String,
    first: i64,
    last: i64,
    connections: u64,
}

impl Inventory {
    /// Empty tables of at most `limit` entries each.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            seen: Mutex::default(),
            rollout: Mutex::default(),
        }
    }

    /// Changes the bound, at the next entry.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A handshake with a certificate. Without one nothing is noted.
    pub fn note(&self, client: &ClientIdentity, site: &Arc<str>, now: i64) {
        let (identity, verified) = match client {
            ClientIdentity::Absent | ClientIdentity::Unterminated | ClientIdentity::Local => return,
            ClientIdentity::Unverified(identity) => (identity, false),
            ClientIdentity::Verified(identity) => (identity, true),
        };
        let fresh = || Seen {
            identity: brief(identity),
            verified,
            site: Arc::clone(site),
            first: now,
            last: now,
            connections: 0,
        };
        let mut seen = lock(&self.seen);
        self.update(&mut seen, identity.sha256, fresh, |entry| {
            entry.last = now;
            entry.verified = verified;
            entry.connections += 1;
            if *entry.site != **site {
                entry.site = Arc::clone(site);
            }
        });
    }

    /// A handshake that a stricter configuration would refuse. `address` tells clients without certificate apart.
    pub fn would_refuse(
        &self,
        (site, reason, detail): (&Arc<str>, Reason, &str),
        (identity, address): (Option<&Arc<Identity>>, IpAddr),
        now: i64,
    ) {
        let who = match identity {
            Some(identity) => Who::Certificate(identity.sha256),
            None => Who::Address(address),
        };
        let case = Case {
            site: Arc::clone(site),
            who,
            reason,
        };
        let fresh = || Count {
            identity: identity.map(|identity| brief(identity)),
            detail: detail.to_owned(),
            first: now,
            last: now,
            connections: 0,
        };
        let mut rollout = lock(&self.rollout);
        self.update(&mut rollout, case, fresh, |count| {
            count.last = now;
            count.connections += 1;
        });
    }

    /// The certificates, those that end first in front.
    pub fn seen(&self, now: i64) -> Vec<SeenLine> {
        let seen: Vec<Seen> = lock(&self.seen).values().cloned().collect();
        let mut lines: Vec<_> = seen.iter().map(|entry| entry.line(now)).collect();
        lines.sort_by(|a, b| (a.not_after, &a.sha256).cmp(&(b.not_after, &b.sha256)));
        lines
    }

    /// Who would be refused, those seen most in front.
    pub fn rollout(&self) -> Vec<RolloutLine> {
        let rollout: Vec<(Case, Count)> = {
            let rollout = lock(&self.rollout);
            let copies = rollout
                .iter()
                .map(|(case, count)| (case.clone(), count.clone()));
            copies.collect()
        };
        let mut lines: Vec<_> = rollout
            .iter()
            .map(|(case, count)| count.line(case))
            .collect();
        lines.sort_by(|a, b| {
            b.connections
                .cmp(&a.connections)
                .then_with(|| a.who.cmp(&b.who))
        });
        lines
    }

    /// For each bound of [`DAYS_LEFT`] how many certificates have at most so many days left; then how many there are,
    /// and the sum of their days.
    pub fn days_left(&self, now: i64) -> ([u64; DAYS_LEFT.len()], u64, i64) {
        let (mut buckets, mut sum) = ([0; DAYS_LEFT.len()], 0);
        let seen = lock(&self.seen);
        for entry in seen.values() {
            let days = days_left(&entry.identity, now);
            sum += days;
            for (bucket, bound) in buckets.iter_mut().zip(DAYS_LEFT) {
                *bucket += u64::from(days <= bound);
            }
        }
        (buckets, seen.len() as u64, sum)
    }

    /// Changes an entry, made first where it is not there; the oldest sixteenth makes room in a full table.
    fn update<K: Eq + Hash + Clone, V: Aged>(
        &self,
        table: &mut HashMap<K, V>,
        key: K,
        fresh: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == 0 {
            return;
        }
        if table.len() >= limit && !table.contains_key(&key) {
            let mut ages: Vec<i64> = table.values().map(Aged::last).collect();
            let leaving = (table.len() - limit + 1).max(limit / 16).min(table.len());
            let (_, &mut bound, _) = ages.select_nth_unstable(leaving - 1);
            let mut left = leaving;
            table.retain(|_, entry| {
                let goes = left > 0 && entry.last() <= bound;
                left -= usize::from(goes);
                !goes
            });
        }
        match table.entry(key) {
            Entry::Occupied(mut entry) => change(entry.get_mut()),
            Entry::Vacant(entry) => change(entry.insert(fresh())),
        }
    }
}

/// An entry that was last touched at some time.
trait Aged {
    fn last(&self) -> i64;
}

impl Aged for Seen {
    fn last(&self) -> i64 {
        self.last
    }
}

impl Aged for Count {
    fn last(&self) -> i64 {
        self.last
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    // An entry is whole at every moment.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
