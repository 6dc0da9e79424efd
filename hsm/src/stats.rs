//! What a token was asked and how long it took, as plain numbers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets in microseconds; one more bucket holds what is slower.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000,
];

/// The state of a token's queue and the counts since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenStats {
    /// Signatures that wait for a session.
    pub waiting: usize,
    /// Signatures that a session is making.
    pub in_flight: usize,
    /// Sessions that are open; fewer than configured while failed ones are replaced.
    pub sessions: usize,
    /// Signatures made, also those that came after their deadline.
    pub signatures: u64,
    /// Signatures that the token failed to make (`C_SignInit` or `C_Sign` returned an error).
    pub errors: u64,
    /// Signatures that were not there at their deadline.
    pub timeouts: u64,
    /// Signatures refused at once because the queue was full.
    pub rejected: u64,
    /// Signatures made, by latency from queueing to the answer: one count per bound of
    /// [`LATENCY_BOUNDS_US`] and one for what is slower. Not cumulative.
    pub latency: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of those latencies in microseconds.
    pub latency_sum_us: u64,
    /// Calls that hang: their sessions were written off and replaced.
    pub hung: usize,
    /// Signatures that may wait.
    pub queue_bound: usize,
    /// Signatures a second that the token makes with its sessions; 0 before it made one.
    pub capacity_per_second: u64,
    /// Sessions opened, those included that replace others.
    pub sessions_opened: u64,
    /// Signatures asked for again on a fresh session.
    pub retries: u64,
    /// New starts of the module, or of its signer process.
    pub restarts: u64,
}

/// The counts, as the session threads write them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    signatures: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    rejected: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    latency_sum_us: AtomicU64,
    sessions_opened: AtomicU64,
    retries: AtomicU64,
    restarts: AtomicU64,
    /// Failures since the last success.
    strikes: AtomicU32,
    /// Moving average of the time a session needs for a signature.
    service_ns: AtomicU64,
}

/// How much of the moving average one signature is.
const SERVICE_WEIGHT: u64 = 16;

impl Counters {
    /// A signature was made: `latency` after it was queued, `service` after its session took it.
    pub(crate) fn signed(&self, latency: Duration, service: Duration) {
        // Read first: a write that changes nothing would still take the cache line from others.
        if self.strikes.load(Ordering::Relaxed) > 0 {
            self.forgive();
        }
        let ns = u64::try_from(service.as_nanos()).unwrap_or(u64::MAX);
        // Two sessions at once lose one of two measurements; the average does not mind.
        let average = self.service_ns.load(Ordering::Relaxed);
        let next = match average {
            0 => ns,
            _ => average - average / SERVICE_WEIGHT + ns / SERVICE_WEIGHT,
        };
        self.service_ns.store(next, Ordering::Relaxed);
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.signatures.fetch_add(1, Ordering::Relaxed);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// A call failed; how many did since the last success.
    pub(crate) fn strike(&self) -> u32 {
        self.strikes.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn forgive(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.sessions_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// How long a session needs for a signature; 0 before there was one.
    pub(crate) fn service(&self) -> Duration {
        Duration::from_nanos(self.service_ns.load(Ordering::Relaxed))
    }

    /// Signatures made.
    pub(crate) fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }

    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now; the gauges are left to the queue.
    pub(crate) fn read(&self) -> TokenStats {
        TokenStats {
            signatures: self.signatures.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            latency: std::array::from_fn(|i| self.latency[i].load(Ordering::Relaxed)),
            latency_sum_us: self.latency_sum_us.load(Ordering::Relaxed),
            sessions_opened: self.sessions_opened.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            ..TokenStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counters, LATENCY_BOUNDS_US};

    #[test]
    fn latencies_fall_into_their_buckets() {
        let counters = Counters::default();
        for us in [0, 50, 51, 1_000_000, 1_000_001] {
            counters.signed(Duration::from_micros(us), Duration::from_micros(us));
        }
        let stats = counters.read();
        assert_eq!(stats.signatures, 5);
        assert_eq!((stats.latency[0], stats.latency[1]), (2, 1));
        assert_eq!(stats.latency[LATENCY_BOUNDS_US.len() - 1], 1);
        assert_eq!(stats.latency[LATENCY_BOUNDS_US.len()], 1);
        assert_eq!(stats.latency_sum_us, 2_000_102);
    }
}
