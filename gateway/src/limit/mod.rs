//! How many may be inside at once, and how often somebody may come, over all workers of the process.

mod rate;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use rate::{Key, Pace};

/// A process-wide bound on something that is open for a while, such as connections.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    used: AtomicUsize,
    limit: AtomicUsize,
}

/// One place, given back on drop.
#[derive(Debug)]
pub struct Slot(Slots);

impl Slots {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Counters {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }))
    }

    /// Takes a place, or `None` when all are taken.
    pub fn try_take(&self) -> Option<Slot> {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let take = |used| (used < limit).then_some(used + 1);
        self.0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, take)
            .ok()?;
        Some(Slot(self.clone()))
    }

    /// Whether three quarters of the places are taken: time to let fewer in.
    pub fn is_crowded(&self) -> bool {
        let limit = self.0.limit.load(Ordering::Relaxed);
        self.0.used.load(Ordering::Relaxed) >= limit - limit / 4
    }

    /// Changes the bound; who is inside stays inside.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// How many are inside.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_a_dropped_place_is_free_again() {
        let slots = Slots::new(2);
        let first = slots.try_take().unwrap();
        let second = slots.try_take().unwrap();
        assert!(slots.try_take().is_none());
        assert!(slots.is_crowded());
        drop(first);
        assert!(!slots.is_crowded());
        assert!(slots.try_take().is_some());
        drop(second);
        assert_eq!(slots.used(), 0);
    }
}
