//! All revocation lists of one trust bundle: opened at start, asked in every handshake, renewed in between.
//!
//! Asking takes no lock and never waits: the index is swapped whole. What replaces a list is at least as good:
//! readable, signed by the issuer as far as the issuer is known, and not older.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use portcullis_config::{CrlScope, CrlSettings};
use rustls_pki_types::{TrustAnchor, UnixTime};
use tokio::sync::Notify;

use super::certificate::PathCert;
use super::error::RevocationError;
use super::files::Files;
use super::index::{Index, List, Passage, Status};
use super::stats::Counters;
use super::{Finding, Refused};
use crate::reason::Reason;

/// Addresses that are learned from certificates.
const LEARNED_MAX: usize = 256;

/// Lists kept of one address: a complete one, a delta, and those of a scope that was given up.
pub(super) const LISTS_OF_ADDRESS_MAX: usize = 4;

/// The revocation lists of a trust bundle.
#[derive(Debug)]
pub struct CrlStore {
    pub(super) settings: CrlSettings,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// Copies of what was fetched.
    pub(super) folder: PathBuf,
    pub(super) index: ArcSwap<Index>,
    /// Only who changes the index takes it.
    held: Mutex<Held>,
    pub(super) learned: ArcSwap<BTreeSet<String>>,
    pub(super) wake: Arc<Notify>,
    pub(super) kept_fresh: AtomicBool,
    pub(super) epoch: AtomicU64,
    pub(super) counters: Counters,
}

/// What the index is made of.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) files: Files,
    pub(super) fetched: BTreeMap<String, Vec<Arc<List>>>,
}

impl CrlStore {
    /// Reads every file, and the copies of what was fetched earlier. Blocks. A store whose settings and
    /// anchors are those of `old` is `old`, with its files read again.
    ///
    /// # Errors
    /// Every file that cannot be used; nothing has changed then.
    pub fn open(
        settings: &CrlSettings,
        anchors: &[TrustAnchor<'static>],
        state_dir: &Path,
        old: Option<&Arc<CrlStore>>,
    ) -> Result<Arc<CrlStore>, Vec<RevocationError>> {
        let same = old.filter(|old| old.settings == *settings && old.anchors == anchors);
        let store = match same {
            Some(same) => Arc::clone(same),
            None => Arc::new(Self::empty(settings, anchors, state_dir)),
        };
        let known = old.map(|old| old.index.load_full()).unwrap_or_default();
        let files = Files::read(settings, &|list| store.prove(list, &known))?;
        if same.is_none() {
            store.inherit(old.map(|old| &**old));
        }
        store.held().files = files;
        store.rebuild();
        Ok(store)
    }

    fn empty(settings: &CrlSettings, anchors: &[TrustAnchor<'static>], state_dir: &Path) -> Self {
        Self {
            settings: settings.clone(),
            anchors: anchors.to_vec(),
            folder: state_dir.join("crl"),
            index: ArcSwap::default(),
            held: Mutex::default(),
            learned: ArcSwap::default(),
            wake: Arc::default(),
            kept_fresh: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing in between leaves it half changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts up whenever the lists change: who passed before may not pass now.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether the lists let a verified path pass.
    ///
    /// # Errors
    /// The first certificate, from the client's own upwards, that does not pass.
    pub fn check(&self, path: &[PathCert<'_>], now: UnixTime) -> Result<(), Refused> {
        self.learn(path);
        self.weigh(path, now, |status| self.counters.lenient(status))
    }

    /// [`Self::check`] for people: learns and counts nothing.
    ///
    /// # Errors
    /// As there.
    pub fn would_pass(&self, path: &[PathCert<'_>], now: UnixTime) -> Result<(), Refused> {
        self.weigh(path, now, |_| {})
    }

    fn weigh(
        &self,
        path: &[PathCert<'_>],
        now: UnixTime,
        lenient: impl Fn(&Status),
    ) -> Result<(), Refused> {
        let now = seconds(now);
        let index = self.index.load();
        for certificate in self.in_scope(path) {
            let status = index.status(certificate, now);
            match status.under(self.settings.stale, now) {
                Passage::Pass => {}
                Passage::Lenient => lenient(&status),
                Passage::Refused => return Err(refused(certificate, &status)),
            }
        }
        Ok(())
    }

    /// What each list says about each certificate, for people. Decides and counts nothing.
    pub fn findings(&self, path: &[PathCert<'_>], now: UnixTime) -> Vec<Finding> {
        let index = self.index.load();
        let policy = self.settings.stale;
        let found = self.in_scope(path).iter();
        found
            .map(|certificate| Finding::new(&index, certificate, policy, seconds(now)))
            .collect()
    }

    fn in_scope<'p, 'a>(&self, path: &'p [PathCert<'a>]) -> &'p [PathCert<'a>] {
        match self.settings.scope {
            CrlScope::Chain => path,
            CrlScope::Leaf => &path[..path.len().min(1)],
        }
    }

    /// Remembers the addresses that verified certificates name.
    fn learn(&self, path: &[PathCert<'_>]) {
        if !self.settings.cdp {
            return;
        }
        let known = self.learned.load();
        let addresses = self
            .in_scope(path)
            .iter()
            .flat_map(|certificate| certificate.list_addresses().take(LISTS_OF_ADDRESS_MAX));
        for address in addresses {
            if known.len() < LEARNED_MAX && !known.contains(address) {
                self.learned.rcu(|known| {
                    let mut known = BTreeSet::clone(known);
                    known.insert(address.to_owned());
                    known
                });
                self.wake.notify_one();
            }
        }
    }

    /// Every address to fetch from: configured, learned, and of the deltas of fetched lists that are proven.
    pub(super) fn addresses(&self) -> BTreeSet<String> {
        let mut addresses: BTreeSet<String> = self.settings.urls.iter().cloned().collect();
        addresses.extend(self.learned.load().iter().cloned());
        let held = self.held();
        for list in held.fetched.values().flatten() {
            let points = list.crl.freshest().filter(|_| list.crl.is_proven());
            let points = points.and_then(|points| super::names::read_points(points).ok());
            let points = points.unwrap_or_default();
            let found = super::names::http_addresses(&points).map(str::to_owned);
            addresses.extend(found.take(LISTS_OF_ADDRESS_MAX));
        }
        addresses
    }

    /// When the lists of an address were made, and when the first of them ends.
    pub(super) fn validity(&self, address: &str) -> Option<(i64, i64)> {
        let held = self.held();
        let lists = held.fetched.get(address)?.iter();
        lists
            .map(|list| (list.crl.this_update, list.crl.next_update))
            .min_by_key(|(_, next)| *next)
    }

    /// Whether an address brought this very list already.
    pub(super) fn has(&self, address: &str, digest: [u8; 32]) -> bool {
        let held = self.held();
        let lists = held.fetched.get(address);
        lists.is_some_and(|lists| lists.iter().any(|list| list.crl.digest() == digest))
    }

    /// The lists in use.
    pub(super) fn lists(&self) -> Vec<Arc<List>> {
        self.index.load().lists().cloned().collect()
    }
}

fn refused(certificate: &PathCert<'_>, status: &Status) -> Refused {
    let serial = crate::identity::hex(certificate.serial());
    let (reason, detail) = match status {
        Status::Revoked { list, reason, .. } => {
            let word = super::reason_word(*reason);
            let origin = &list.origin;
            (
                Reason::ClientCertRevokedCrl,
                format!("serial {serial} is revoked ({word}) by {origin}"),
            )
        }
        Status::Stale { since } => (
            Reason::ClientCertCrlStale,
            format!("serial {serial}: nextUpdate was {}", super::date(*since)),
        ),
        Status::Missing | Status::Good => (
            Reason::ClientCertCrlMissing,
            format!("serial {serial}: no list of its issuer covers it"),
        ),
    };
    Refused { reason, detail }
}

pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
