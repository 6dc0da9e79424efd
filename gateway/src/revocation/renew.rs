//! How the lists of a store change: what replaces a list is at least as good.
//!
//! Readable, signed by the issuer as far as the issuer is known, and not older. Everything here happens off the
//! path of clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::Problem;
use super::index::{Index, List};
use super::source;
use super::store::{CrlStore, LISTS_OF_ADDRESS_MAX};

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

impl CrlStore {
    /// Takes over what was fetched and learned: from the store before, else from disk.
    pub(super) fn inherit(&self, old: Option<&CrlStore>) {
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

    /// Whether the issuer signed a list, as far as the issuer is known: from the anchors, or from chains that
    /// asked `index`. A list of an issuer that nobody has seen is neither proven nor refused.
    pub(super) fn prove(&self, list: &List, index: &Index) -> Result<Proof, Problem> {
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
    pub(super) fn rebuild(&self) {
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
}
