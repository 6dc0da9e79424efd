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
use super::error::{Problem, RevocationError};
use super::files::Files;
use super::index::{Index, List, Passage, Status};
use super::stats::Counters;
use super::{Finding, Refused, source};
use crate::reason::Reason;

/// Addresses that are learned from certificates.
const LEARNED_MAX: usize = 256;

/// Lists kept of one address: a complete one, a delta, and those of a scope that was given up.
const LISTS_OF_ADDRESS_MAX: usize = 4;

/// The revocation lists of a trust bundle.
#[derive(Debug)]
pub struct CrlStore {
    pub(super) settings: CrlSettings,
    anchors: Vec<TrustAnchor<'static>>,
    /// Copies of what was fetched.
    pub(super) folder: PathBuf,
    index: ArcSwap<Index>,
    /// Only who changes the index takes it.
    held: Mutex<Held>,
    learned: ArcSwap<BTreeSet<String>>,
    pub(super) wake: Arc<Notify>,
    pub(super) kept_fresh: AtomicBool,
    epoch: AtomicU64,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
struct Held {
    files: Files,
    fetched: BTreeMap<String, Vec<Arc<List>>>,
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

    /// Takes over what was fetched and learned: from the store before, else from disk.
    fn inherit(&self, old: Option<&CrlStore>) {
        if let (true, Some(old)) = (self.settings.cdp, old) {
            self.learned.store(old.learned.load_full());
        }
        for address in self.addresses() {
            let known = old.and_then(|old| old.held().fetched.get(&address).cloned());
            let Some(lists) = known else {
                self.load_copy(&address);
                continue;
            };
            // Other anchors may say something else about who signed them.
            let proven = lists
                .into_iter()
                .filter(|list| self.prove(list, &Index::default()).is_ok());
            let proven = proven.collect();
            self.held().fetched.insert(address, proven);
        }
    }

    /// Uses the copy of an earlier run until the address has been asked. A copy that is broken is as good as
    /// none.
    pub(super) fn load_copy(&self, address: &str) {
        let path = source::copy_path(&self.folder, address);
        if !path.exists() {
            return;
        }
        let used = source::read_file(&path, self.settings.max_size)
            .and_then(|lists| lists.first().cloned().ok_or(Problem::Empty))
            .and_then(|list| {
                let origin = address.to_owned();
                let crl = Arc::clone(&list.crl);
                self.replace(address, Arc::new(List { crl, origin }))
            });
        if let Err(problem) = used {
            tracing::warn!(address, %problem, "the copy of a revocation list is not used");
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing in between leaves it half changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the issuer signed a list, as far as the issuer is known: from the anchors, or from chains that
    /// asked `index`. A list of an issuer that nobody has seen is neither proven nor refused.
    fn prove(&self, list: &List, index: &Index) -> Result<Proof, Problem> {
        let name = list.crl.issuer();
        let anchors = self
            .anchors
            .iter()
            .filter(|anchor| anchor.subject.as_ref() == name);
        let anchors: Vec<Box<[u8]>> = anchors
            .map(|anchor| anchor.subject_public_key_info.as_ref().into())
            .collect();
        let mut keys = index.keys(name);
        keys.extend(anchors.iter().cloned());
        match list.crl.prove(&keys) {
            Ok(()) => Ok(Proof::Issuer),
            Err(_) if keys.is_empty() => Ok(Proof::Unknown),
            // The key of an intermediate changes now and then, that of an anchor with the bundle.
            Err(_) if anchors.is_empty() => Ok(Proof::Stranger),
            Err(problem) => Err(problem),
        }
    }

    /// Takes a fetched list, unless the one in use is better.
    pub(super) fn replace(&self, address: &str, new: Arc<List>) -> Result<(), Problem> {
        let proof = self.prove(&new, &self.index.load())?;
        let mut held = self.held();
        let lists = held.fetched.entry(address.to_owned()).or_default();
        let proven = lists.iter().any(|list| list.crl.is_proven());
        if proof == Proof::Stranger || (proven && proof != Proof::Issuer) {
            return Err(Problem::Stranger);
        }
        let alike = |list: &Arc<List>| {
            list.crl.has_scope_of(&new.crl) && list.crl.base.is_some() == new.crl.base.is_some()
        };
        if let Some(same) = lists
            .iter()
            .find(|list| alike(list) && list.crl.is_proven())
        {
            let (same, new) = (&same.crl, &new.crl);
            let older = new.this_update < same.this_update || new.number < same.number;
            if older {
                return Err(Problem::Older);
            }
        }
        // What speaks for others stays until it is stale: an address that begins to answer with the list of
        // another shard must not make this one vanish.
        let begun = new.crl.this_update;
        lists.retain(|list| proven && !alike(list) && list.crl.next_update >= begun);
        if lists.len() >= LISTS_OF_ADDRESS_MAX {
            lists.remove(0);
        }
        lists.push(new);
        drop(held);
        self.rebuild();
        Ok(())
    }

    /// Reads files that changed. A broken one leaves what was read before.
    pub(super) fn look_at_files(&self) {
        let mut files = self.held().files.clone();
        let index = self.index.load_full();
        let changed = files.look(&self.settings, &self.counters, &|list| {
            self.prove(list, &index)
        });
        self.held().files = files;
        if changed {
            self.rebuild();
        }
    }

    /// Swaps the index. Counts when it says something else than before.
    fn rebuild(&self) {
        let held = self.held();
        let fetched = held.fetched.values().flatten();
        let new = Index::new(held.files.lists().chain(fetched).cloned());
        let old = self.index.swap(Arc::new(new));
        let digests = |index: &Index| -> BTreeSet<[u8; 32]> {
            index.lists().map(|list| list.crl.digest()).collect()
        };
        if digests(&old) != digests(&self.index.load()) {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
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
        let now = seconds(now);
        self.learn(path);
        let index = self.index.load();
        for certificate in self.in_scope(path) {
            let status = index.status(certificate, now);
            match status.under(self.settings.stale, now) {
                Passage::Pass => {}
                Passage::Lenient => self.counters.lenient(&status),
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

/// What is known about who signed a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Its issuer.
    Issuer,
    /// Nobody has seen a key of its issuer yet.
    Unknown,
    /// Keys of an intermediate of this name are known, and it is none of them.
    Stranger,
}

fn refused(certificate: &PathCert<'_>, status: &Status) -> Refused {
    let serial = super::hex(certificate.serial());
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
