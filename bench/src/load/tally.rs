//! What one thread counts, a quarter of a second at a time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustls::HandshakeKind;

use super::failure::Failure;

/// The longest latency that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(600);

/// Bytes of answers, counted as they come.
#[derive(Debug, Default)]
pub(super) struct Bytes(Cell<u64>);

impl Bytes {
    pub(super) fn add(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes as u64);
    }

    /// What was counted since this was asked last.
    pub(super) fn take(&self) -> u64 {
        self.0.take()
    }
}

/// Counts of some time.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Nanoseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) done: u64,
    pub(super) bytes: u64,
    pub(super) resumed: u64,
    pub(super) retried: u64,
    pub(super) errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            latency: histogram(),
            done: 0,
            bytes: 0,
            resumed: 0,
            retried: 0,
            errors: BTreeMap::new(),
        }
    }

    /// A unit that was done.
    pub(super) fn done(&mut self, handshake: Option<HandshakeKind>) {
        self.done += 1;
        match handshake {
            Some(HandshakeKind::Resumed) => self.resumed += 1,
            Some(HandshakeKind::FullWithHelloRetryRequest) => self.retried += 1,
            _ => {}
        }
    }

    /// How long a unit took.
    pub(super) fn took(&mut self, latency: Duration) {
        let nanoseconds = latency.min(LONGEST).as_nanos();
        let nanoseconds = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanoseconds);
    }

    /// A unit that failed.
    pub(super) fn failed(&mut self, failure: &Failure) {
        *self.errors.entry(failure.kind()).or_default() += 1;
    }

    /// The counts until now; starts anew.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    /// Adds those of another thread or time.
    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.done += other.done;
        self.bytes += other.bytes;
        self.resumed += other.resumed;
        self.retried += other.retried;
        self.add_errors(other);
    }

    pub(super) fn add_errors(&mut self, other: &Self) {
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
    }

    pub(super) fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Three digits, from a tenth of a microsecond to [`LONGEST`].
fn histogram() -> Histogram<u64> {
    let longest = LONGEST.as_nanos() as u64;
    Histogram::new_with_bounds(100, longest, 3).expect("100 is less than half of ten minutes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_threads_add_up_and_start_anew() {
        let mut one = Tally::new();
        one.done(Some(HandshakeKind::Resumed));
        one.took(Duration::from_millis(2));
        one.failed(&Failure::Timeout);
        let mut all = one.take();
        assert_eq!((one.done, one.latency.len(), one.failures()), (0, 0, 0));
        one.done(Some(HandshakeKind::FullWithHelloRetryRequest));
        one.took(Duration::from_secs(100_000));
        one.failed(&Failure::Timeout);
        all.add(&one);
        assert_eq!((all.done, all.resumed, all.retried), (2, 1, 1));
        assert_eq!(all.errors["timeout"], 2);
        assert_eq!(all.latency.len(), 2);
        assert!(all.latency.max() >= LONGEST.as_nanos() as u64);
    }
}
