//! Sessions that are kept here instead of being sealed into tickets: TLS 1.2 session ids, and TLS 1.3 sessions that are
//! good for one use.
//!
//! Sharded, with two bounds that both hold: entries and bytes. What is least likely to come back is evicted
//! (S3-FIFO, so that a flood of strangers does not push out the callers that return). Ids are random or checked by
//! their owner's binding, so that nobody finds a session of another site.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use crate::ticket_keys::Binding;

/// What an entry costs beside the bytes of its state: the id, the slot in a table that grows by doubling, the ids of the
/// evicted, what the allocator rounds up (measured: see docs/BENCHMARKS.md).
const ENTRY: u64 = 352;
/// Longest id: TLS 1.2 session ids and the ids of rustls' own TLS 1.3 sessions have 32 bytes.
const ID: usize = 32;

/// A session that is kept.
pub struct Stored {
    /// What it is bound to.
    pub(super) binding: Binding,
    /// [`crate::ticket_keys::TicketKeys::era`] when its handshake began.
    pub(super) era: u64,
    /// Seconds since the Unix epoch after which it is worth nothing.
    pub(super) until: i64,
    /// As it would be sealed.
    pub(super) state: Zeroizing<Box<[u8]>>,
    /// What it counts for, fixed when it is put in.
    weight: u64,
}

impl Stored {
    /// A session to be kept until `until`, seconds since the Unix epoch.
    pub fn new((binding, era): (Binding, u64), until: i64, state: Zeroizing<Vec<u8>>) -> Self {
        // A copy of the right size: the vector has room to spare.
        let state = Zeroizing::new(Box::from(state.as_slice()));
        Self {
            binding,
            era,
            until,
            state,
            weight: 0,
        }
    }
}

/// The sessions of this process.
pub struct SessionCache {
    sessions: Cache<Id, Arc<Stored>, Weigh>,
    /// The least an entry weighs, so that the bound on bytes is one on entries too.
    least: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    stored: AtomicU64,
    removed: AtomicU64,
}

/// How full the cache is, and how useful.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionStats {
    /// Sessions that are kept.
    pub entries: u64,
    /// What they take, in bytes.
    pub bytes: u64,
    /// The bound on that.
    pub capacity: u64,
    /// Sessions that were asked for and there.
    pub hits: u64,
    /// Sessions that were asked for and not there.
    pub misses: u64,
    /// Sessions that gave way to others.
    pub evicted: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Id([u8; ID]);

impl Id {
    fn of(id: &[u8]) -> Option<Self> {
        let mut fixed = [0; ID];
        fixed.get_mut(..id.len())?.copy_from_slice(id);
        // Shorter ids are not ours.
        (id.len() == ID).then_some(Self(fixed))
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Id, Arc<Stored>> for Weigh {
    fn weight(&self, _: &Id, stored: &Arc<Stored>) -> u64 {
        stored.weight
    }
}

impl SessionCache {
    /// A cache of at most `entries` sessions that take at most `bytes`.
    pub fn new(entries: usize, bytes: u64) -> Self {
        // Room is made for that many at once; more find theirs as they come.
        let usual = usize::try_from(bytes / (2 * ENTRY)).unwrap_or(usize::MAX);
        Self {
            sessions: Cache::with_weighter(entries.min(usual), bytes, Weigh),
            least: AtomicU64::new(least(entries, bytes)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        }
    }

    /// Other bounds from now on.
    pub fn set_limits(&self, entries: usize, bytes: u64) {
        self.least.store(least(entries, bytes), Ordering::Relaxed);
        if self.sessions.capacity() != bytes {
            self.sessions.set_capacity(bytes);
        }
    }

    /// Forgets what has expired, secrets and all. `now` is seconds since the Unix epoch.
    pub fn sweep(&self, now: i64) {
        self.sessions.retain(|_, stored| {
            let keep = stored.until > now;
            self.removed.fetch_add((!keep).into(), Ordering::Relaxed);
            keep
        });
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let entries = self.sessions.len() as u64;
        self.sessions.clear();
        self.removed.fetch_add(entries, Ordering::Relaxed);
    }

    /// How full it is, and how useful.
    pub fn stats(&self) -> SessionStats {
        let entries = self.sessions.len() as u64;
        let gone = entries + self.removed.load(Ordering::Relaxed);
        SessionStats {
            entries,
            bytes: self.sessions.weight(),
            capacity: self.sessions.capacity(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evicted: self.stored.load(Ordering::Relaxed).saturating_sub(gone),
        }
    }

    /// Keeps a session under an id of 32 bytes; others are not kept.
    pub fn put(&self, id: &[u8], mut stored: Stored) -> bool {
        let Some(id) = Id::of(id) else { return false };
        let bytes = ENTRY + stored.state.len() as u64;
        stored.weight = bytes.max(self.least.load(Ordering::Relaxed));
        self.stored.fetch_add(1, Ordering::Relaxed);
        self.sessions.insert(id, Arc::new(stored));
        true
    }

    /// A session that is kept.
    pub fn get(&self, id: &[u8]) -> Option<Arc<Stored>> {
        let found = Id::of(id).and_then(|id| self.sessions.get(&id));
        let counter = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Whether a session is here; counts as no use of it.
    pub(super) fn has(&self, id: &[u8]) -> bool {
        Id::of(id).is_some_and(|id| self.sessions.contains_key(&id))
    }

    /// Forgets a session. True for exactly one of several that ask at a time.
    pub(super) fn remove(&self, id: &[u8]) -> bool {
        let removed = Id::of(id)
            .and_then(|id| self.sessions.remove(&id))
            .is_some();
        self.removed
            .fetch_add(u64::from(removed), Ordering::Relaxed);
        removed
    }
}

fn least(entries: usize, bytes: u64) -> u64 {
    bytes.div_ceil(entries.max(1) as u64)
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionCache").field(&self.stats()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> [u8; ID] {
        let mut id = [0; ID];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn stored(len: usize, until: i64) -> Stored {
        Stored::new(([0; 32], 0), until, Zeroizing::new(vec![1; len]))
    }

    #[test]
    fn both_bounds_hold_under_a_flood() {
        for (entries, bytes) in [(100, 1 << 20), (100_000, 64 << 10)] {
            let cache = SessionCache::new(entries, bytes);
            for number in 0..10_000 {
                assert!(cache.put(&id(number), stored(200, 10)));
                let stats = cache.stats();
                assert!(stats.entries <= entries as u64 && stats.bytes <= bytes);
            }
            let stats = cache.stats();
            assert!(stats.entries > 0);
            assert_eq!(stats.entries + stats.evicted, 10_000);
        }
    }

    #[test]
    fn a_session_is_removed_once() {
        let cache = SessionCache::new(10_000, 1 << 24);
        cache.put(&id(1), stored(10, 10));
        assert!(cache.get(&id(1)).is_some() && cache.get(&id(2)).is_none());
        assert!(cache.remove(&id(1)) && !cache.remove(&id(1)));
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.evicted), (1, 1, 0));
    }

    #[test]
    fn what_has_expired_is_swept_out() {
        let cache = SessionCache::new(10_000, 1 << 24);
        cache.put(&id(1), stored(10, 10));
        cache.put(&id(2), stored(10, 20));
        cache.sweep(10);
        assert!(cache.get(&id(1)).is_none() && cache.get(&id(2)).is_some());
    }

    #[test]
    fn an_id_of_another_length_is_nobodys() {
        let cache = SessionCache::new(10, 1 << 20);
        assert!(!cache.put(&[1; 16], stored(10, 10)));
        assert!(cache.get(&[1; 16]).is_none() && cache.get(&[]).is_none());
    }
}
