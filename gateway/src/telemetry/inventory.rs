//! Which client certificates were seen, and who would be refused if certificates were required.
//!
//! Both are bounded tables of the process; what was seen longest ago leaves first. They hold names of clients, so
//! they are told over the control socket alone; metrics carry numbers without names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::identity::{ClientIdentity, Identity, PublicKeyKind};
use crate::reason::Reason;

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Longer than the CA/Browser Forum allows, which is what scanners complain about.
const LONG_LIFE_DAYS: i64 = 398;
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

/// A certificate as it is told.
#[derive(Debug, Serialize)]
pub struct SeenLine {
    /// Subject, as text of RFC 4514.
    pub subject: String,
    /// Issuer, as text of RFC 4514.
    pub issuer: String,
    /// Serial number in hex.
    pub serial: String,
    /// SHA-256 of the certificate.
    pub sha256: String,
    /// Its SPIFFE ID, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<String>,
    /// Its other URIs and DNS names.
    pub names: Vec<String>,
    /// Whether a trust bundle believed it.
    pub verified: bool,
    /// The site it was last seen on.
    pub site: String,
    /// Seconds since the Unix epoch.
    pub first_seen: i64,
    /// Seconds since the Unix epoch.
    pub last_seen: i64,
    /// Handshakes with it.
    pub connections: u64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Days until then; below zero after.
    pub days_left: i64,
    /// What an auditor would ask about.
    pub weak: Vec<String>,
}

/// Somebody who would be refused, as it is told.
#[derive(Debug, Serialize)]
pub struct RolloutLine {
    /// The site.
    pub site: String,
    /// The code it would be refused for.
    pub reason: &'static str,
    /// What that means.
    pub meaning: &'static str,
    /// Names, or the address of a client without a certificate.
    pub who: String,
    /// SHA-256 of the certificate, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// More words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Seconds since the Unix epoch.
    pub first_seen: i64,
    /// Seconds since the Unix epoch.
    pub last_seen: i64,
    /// Handshakes.
    pub connections: u64,
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
            ClientIdentity::Absent => return,
            ClientIdentity::Unverified(identity) => (identity, false),
            ClientIdentity::Verified(identity) => (identity, true),
        };
        let fresh = || Seen {
            identity: Arc::clone(identity),
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
            identity: identity.map(Arc::clone),
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

impl Seen {
    fn line(&self, now: i64) -> SeenLine {
        let identity = &*self.identity;
        let uris = identity
            .uris
            .iter()
            .filter(|uri| identity.spiffe.as_ref() != Some(uri));
        SeenLine {
            subject: identity.subject.clone(),
            issuer: identity.issuer.clone(),
            serial: identity.serial.clone(),
            sha256: identity.sha256_hex(),
            spiffe: identity.spiffe.clone(),
            names: uris.chain(&identity.dns).cloned().collect(),
            verified: self.verified,
            site: self.site.to_string(),
            first_seen: self.first,
            last_seen: self.last,
            connections: self.connections,
            not_after: identity.not_after,
            days_left: days_left(identity, now),
            weak: weak_points(identity, self.verified),
        }
    }
}

impl Count {
    fn line(&self, case: &Case) -> RolloutLine {
        let name = |identity: &Identity| {
            identity
                .spiffe
                .clone()
                .unwrap_or_else(|| identity.subject.clone())
        };
        let who = match (&self.identity, &case.who) {
            (Some(identity), _) => name(identity),
            (None, Who::Address(address)) => address.to_string(),
            (None, Who::Certificate(_)) => String::new(),
        };
        RolloutLine {
            site: case.site.to_string(),
            reason: case.reason.code(),
            meaning: case.reason.meaning(),
            who,
            sha256: self.identity.as_ref().map(|identity| identity.sha256_hex()),
            detail: self.detail.clone(),
            first_seen: self.first,
            last_seen: self.last,
            connections: self.connections,
        }
    }
}

fn days_left(identity: &Identity, now: i64) -> i64 {
    (identity.not_after - now).div_euclid(DAY)
}

/// Nothing here refuses anybody: checks of trust bundles do.
fn weak_points(identity: &Identity, verified: bool) -> Vec<String> {
    let mut weak = Vec::new();
    if !verified {
        weak.push("its chain was not verified".to_owned());
    }
    if identity.key.kind == PublicKeyKind::Rsa && identity.key.bits < 3072 {
        weak.push(format!("RSA key of {} bits", identity.key.bits));
    }
    let lives = (identity.not_after - identity.not_before) / DAY;
    if lives > LONG_LIFE_DAYS {
        weak.push(format!("lives {lives} days"));
    }
    if identity.uris.is_empty() && identity.dns.is_empty() {
        weak.push("named by its subject alone".to_owned());
    }
    if identity
        .uris
        .iter()
        .filter(|uri| uri.starts_with("spiffe://"))
        .count()
        > 1
    {
        weak.push("more than one SPIFFE ID: none of them counts".to_owned());
    }
    weak
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    // An entry is whole at every moment.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8, days: i64) -> ClientIdentity {
        ClientIdentity::Verified(Arc::new(Identity {
            sha256: [number; 32],
            not_after: days * DAY,
            subject: format!("CN=client {number}"),
            ..Identity::default()
        }))
    }

    #[test]
    fn a_full_table_lets_go_of_what_was_seen_longest_ago() {
        let inventory = Inventory::new(3);
        let site = Arc::from("api");
        for number in 0..3 {
            inventory.note(&client(number, 10), &site, i64::from(number));
        }
        inventory.note(&client(0, 10), &site, 10);
        inventory.note(&client(9, 10), &site, 11);
        let subjects: Vec<_> = inventory
            .seen(0)
            .into_iter()
            .map(|line| line.subject)
            .collect();
        assert_eq!(subjects, ["CN=client 0", "CN=client 2", "CN=client 9"]);
        let none = Inventory::new(0);
        none.note(&client(0, 10), &site, 0);
        assert!(none.seen(0).is_empty());
    }

    #[test]
    fn absent_clients_are_told_by_address_and_others_by_name() {
        let inventory = Inventory::new(10);
        let (site, address) = (Arc::from("api"), IpAddr::from([10, 0, 0, 1]));
        let missing = (&site, Reason::ClientCertMissing, "");
        for now in 0..3 {
            inventory.would_refuse(missing, (None, address), now);
        }
        let ClientIdentity::Verified(identity) = client(1, 1) else {
            panic!("verified");
        };
        let long = (&site, Reason::ClientCertLifetime, "it lives 400 days");
        inventory.would_refuse(long, (Some(&identity), address), 5);
        let lines = inventory.rollout();
        let told: Vec<_> = lines
            .iter()
            .map(|line| (&*line.who, line.reason, line.connections))
            .collect();
        assert_eq!(
            told,
            [
                ("10.0.0.1", "CLIENT_CERT_MISSING", 3),
                ("CN=client 1", "CLIENT_CERT_LIFETIME", 1)
            ]
        );
    }

    #[test]
    fn days_left_are_counted_below_each_bound() {
        let inventory = Inventory::new(10);
        let site = Arc::from("api");
        for (number, days) in [(0, -3), (1, 5), (2, 400)] {
            inventory.note(&client(number, days), &site, 0);
        }
        assert_eq!(inventory.days_left(0), ([1, 1, 2, 2, 2, 2, 2], 3, 402));
    }
}
