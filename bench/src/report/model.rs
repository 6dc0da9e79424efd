//! What a measurement is: the shape of the JSON, and of everything that is made from it.
//!
//! Durations are microseconds, memory is KiB, shares are between 0 and 1. A value that could not be
//! measured is absent, never zero.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The version of the JSON this program writes.
pub const FORMAT: u32 = 1;

/// The quantiles that are kept of every distribution.
pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// Steps of the plotted distribution between its shortest and its longest value.
const PLOTTED: usize = 160;

/// One or more measurements of one sitting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Where it was measured.
    pub machine: Machine,
    /// What was measured, in order.
    pub runs: Vec<Run>,
}

/// The machine of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: String,
    /// How many of them this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub os: String,
    /// Name and version of the load generator.
    pub load_tool: String,
}

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What it is called: the mode, or scenario and peer.
    pub name: String,
    /// The kind of load.
    pub mode: String,
    /// What is counted.
    pub unit: String,
    /// Everything that another run must share to be comparable.
    pub settings: BTreeMap<String, String>,
    /// When it began, RFC 3339.
    pub started: String,
    /// Measured wall time, without the warm-up.
    pub seconds: f64,
    /// How many units were done; of `bulk`, whose unit is a GB of `bytes`, how many answers.
    pub done: u64,
    /// How many bytes of answers came.
    pub bytes: u64,
    /// Units in a second.
    pub rate: f64,
    /// Of the handshakes: how many resumed a session.
    pub resumed: u64,
    /// Of the handshakes: in how many the server asked for another hello.
    pub retried_hello: u64,
    /// How long a unit took.
    pub latency: Latency,
    /// How long an unrelated request took meanwhile.
    pub bystander: Option<Latency>,
    /// What failed, by kind.
    pub errors: BTreeMap<String, u64>,
    /// How it went over time.
    pub series: Vec<Point>,
    /// What the server paid.
    pub server: Option<ServerCost>,
    /// What the load generator paid.
    pub load: LoadCost,
    /// The steps of a search for the highest rate.
    pub steps: Vec<RampStep>,
}

impl Run {
    /// All failures together.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The share of what was done that resumed a session.
    pub fn resumed_share(&self) -> Option<f64> {
        (self.done > 0).then(|| self.resumed as f64 / self.done as f64)
    }
}

/// A distribution of durations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// The shortest.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Quantile and value, for each of [`QUANTILES`].
    pub quantiles: Vec<(f64, f64)>,
    /// Upper bound and number of values, for plots: steps of equal ratio, empty ones left out.
    pub buckets: Vec<(f64, u64)>,
}

impl Latency {
    /// The distribution of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1_000.0;
        let quantiles = QUANTILES
            .map(|quantile| {
                let value = histogram.value_at_quantile(quantile);
                (quantile, microseconds(value))
            })
            .to_vec();
        Self {
            count: histogram.len(),
            min_us: microseconds(histogram.min()),
            mean_us: histogram.mean().round() / 1_000.0,
            max_us: microseconds(histogram.max()),
            quantiles,
            buckets: plotted(histogram),
        }
    }

    /// The value at one of [`QUANTILES`]; none where nothing was measured.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let kept = self.quantiles.iter();
        kept.copied()
            .find(|(kept, _)| (kept - quantile).abs() < 1e-9)
            .map(|(_, value)| value)
    }
}

/// Steps of equal ratio from the shortest to the longest value.
fn plotted(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let low = histogram.min().max(1) as f64;
    let high = (histogram.max() as f64).max(low * 1.001);
    let ratio = (high / low).powf(1.0 / PLOTTED as f64);
    let mut counts = [0_u64; PLOTTED];
    for recorded in histogram.iter_recorded() {
        let value = recorded.value_iterated_to().max(1) as f64;
        let step = (value / low).ln() / ratio.ln();
        let step = (step.max(0.0) as usize).min(PLOTTED - 1);
        counts[step] += recorded.count_since_last_iteration();
    }
    // Whole nanoseconds: more digits would only make the file larger.
    let bounds = (1..=PLOTTED as i32).map(|step| (low * ratio.powi(step)).round() / 1_000.0);
    bounds.zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// A quarter of a second of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its end, since the begin of the run.
    pub second: f64,
    /// Units done in it.
    pub done: u64,
    /// Failures in it.
    pub errors: u64,
    /// Median of its latencies.
    pub p50_us: f64,
    /// 99 % of its latencies were shorter.
    pub p99_us: f64,
}

/// What the server paid for a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// CPU time of its whole process tree.
    pub cpu_seconds: f64,
    /// The kernel's share of it.
    pub kernel_share: f64,
    /// CPU time for one unit.
    pub cpu_us_per_unit: f64,
    /// CPU time by wall time: 1 is one core.
    pub utilization: f64,
    /// Resident memory at the end.
    pub rss_kib: u64,
    /// How much of it one connection added.
    pub rss_kib_per_connection: Option<f64>,
    /// Calls to the HSM for one unit.
    pub hsm_calls_per_unit: Option<f64>,
}

/// What the load generator paid for a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadCost {
    /// Its CPU time.
    pub cpu_seconds: f64,
    /// How many threads made load.
    pub threads: usize,
    /// How busy the busiest of them was, 0 to 1: near 1 the load generator was the bottleneck.
    pub busiest: f64,
}

impl LoadCost {
    /// Whether the figures are the load generator's rather than the server's.
    pub fn was_the_bottleneck(&self) -> bool {
        self.busiest > 0.95
    }
}

/// One step of a search for the highest rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RampStep {
    /// Units a second that were to be started.
    pub offered: f64,
    /// Units a second that were done.
    pub achieved: f64,
    /// 99 % of the latencies were shorter.
    pub p99_us: f64,
    /// Failures.
    pub errors: u64,
    /// Whether the bound held.
    pub kept: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram() -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        for microsecond in 1..=10_000_u64 {
            histogram.record(microsecond * 1_000).unwrap();
        }
        histogram
    }

    #[test]
    fn nothing_measured_has_no_quantile() {
        let nothing = Latency::of(&Histogram::new(3).unwrap());
        assert_eq!(nothing, Latency::default());
        assert_eq!(nothing.quantile(0.5), None);
    }

    #[test]
    fn a_quantile_that_was_not_kept_is_none() {
        assert_eq!(Latency::of(&histogram()).quantile(0.42), None);
    }

    #[test]
    fn a_histogram_of_nanoseconds_becomes_microseconds() {
        let latency = Latency::of(&histogram());
        assert_eq!(latency.count, 10_000);
        let p50 = latency.quantile(0.5).unwrap();
        assert!((4_990.0..5_010.0).contains(&p50), "{p50}");
        let p99 = latency.quantile(0.99).unwrap();
        assert!((9_890.0..9_910.0).contains(&p99), "{p99}");
        assert!(latency.min_us <= 1.0 && latency.max_us >= 9_990.0);
    }

    #[test]
    fn the_plotted_distribution_is_bounded_and_loses_nothing() {
        let latency = Latency::of(&histogram());
        assert!(latency.buckets.len() <= 300);
        let plotted: u64 = latency.buckets.iter().map(|(_, count)| count).sum();
        assert_eq!(plotted, latency.count);
        assert!(latency.buckets.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}
