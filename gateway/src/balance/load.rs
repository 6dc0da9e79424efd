//! What a worker knows of its own requests to one endpoint.

use std::cell::Cell;
use std::time::Duration;

/// How long a latency is remembered: after this time a third of it is left.
const MEMORY: Duration = Duration::from_secs(10);

/// Requests in progress and latency, as one worker sees them.
#[derive(Debug, Default)]
pub struct Load {
    open: Cell<u32>,
    /// How far it is behind its turn, in weights.
    pub(super) turn: Cell<i64>,
    /// Seconds; 0 before the first answer.
    latency: Cell<f64>,
    measured: Cell<Duration>,
}

impl Load {
    /// A request began.
    pub fn begin(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// A request ended.
    pub fn end(&self) {
        self.open.set(self.open.get().saturating_sub(1));
    }

    /// Requests in progress.
    pub fn open(&self) -> u32 {
        self.open.get()
    }

    /// An answer began after `latency`; `now` is on any clock that goes forward. What is slower than before counts
    /// at once, what is faster little by little.
    pub fn answered(&self, latency: Duration, now: Duration) {
        let (latency, before) = (latency.as_secs_f64(), self.latency.get());
        let kept = self.fading(now);
        let blended = before * kept + latency * (1.0 - kept);
        self.latency
            .set(if latency > before { latency } else { blended });
        self.measured.set(now);
    }

    /// What one more request would have to expect: latency, fading while nothing is heard, times requests in
    /// progress. Who was never heard of is tried at once, by one request.
    pub(super) fn cost(&self, now: Duration) -> f64 {
        if self.latency.get() == 0.0 {
            return match self.open.get() {
                0 => 0.0,
                _ => f64::INFINITY,
            };
        }
        self.latency.get() * self.fading(now) * f64::from(self.open.get() + 1)
    }

    fn fading(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.measured.get());
        (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_rise_counts_at_once_and_a_fall_little_by_little() {
        let load = Load::default();
        assert_eq!(load.cost(MS), 0.0);
        load.begin();
        assert_eq!(load.cost(MS), f64::INFINITY);
        load.end();
        load.answered(MS, MS);
        assert!((load.cost(MS) - 0.001).abs() < 1e-9);
        load.answered(100 * MS, 2 * MS);
        assert!((load.cost(2 * MS) - 0.1).abs() < 1e-9);
        load.answered(MS, 1_002 * MS);
        let after_a_second = load.cost(1_002 * MS);
        assert!((0.08..0.1).contains(&after_a_second), "{after_a_second}");
        // Nobody is left out for ever for what was long ago.
        assert!(load.cost(100_000 * MS) < 0.001);
    }

    #[test]
    fn each_request_in_progress_adds_to_the_cost() {
        let load = Load::default();
        load.answered(10 * MS, MS);
        let alone = load.cost(MS);
        load.begin();
        load.begin();
        assert!((load.cost(MS) - 3.0 * alone).abs() < 1e-9);
        load.end();
        load.end();
        load.end();
        assert_eq!(load.open(), 0);
    }
}
