//! The server before and after a run.

use std::time::Instant;

use super::{CpuTime, Metrics, Server};
use crate::report::model::ServerCost;

/// The server at the begin of a run.
#[derive(Debug)]
pub struct Meter<'a> {
    server: Option<&'a Server>,
    metrics: Option<&'a Metrics>,
    began: Instant,
    cpu: Option<CpuTime>,
    signatures: Option<f64>,
}

/// What the server spent in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Wall time.
    pub seconds: f64,
    /// CPU time; none where it is not measured.
    pub cpu: Option<CpuTime>,
    /// Resident memory at the end.
    pub rss_kib: Option<u64>,
    /// Signatures of its tokens.
    pub signatures: Option<f64>,
}

impl<'a> Meter<'a> {
    /// Looks at the server. Fails where its `/metrics` cannot be read: a figure that was asked for would be missing.
    pub fn begin(server: Option<&'a Server>, metrics: Option<&'a Metrics>) -> anyhow::Result<Self> {
        // Of the two only the CPU time must be of this moment.
        let (began, cpu) = (Instant::now(), server.and_then(Server::cpu));
        Ok(Self {
            server,
            metrics,
            began,
            cpu,
            signatures: metrics.map(Metrics::signatures).transpose()?,
        })
    }

    /// Looks again; none where nobody asked.
    pub fn end(self) -> Option<Spent> {
        let now = self.server.and_then(Server::cpu);
        let seconds = self.began.elapsed().as_secs_f64();
        let signatures = self.metrics.and_then(|metrics| metrics.signatures().ok());
        if self.server.is_none() && self.metrics.is_none() {
            return None;
        }
        Some(Spent {
            seconds,
            cpu: now.zip(self.cpu).map(|(now, before)| now.since(before)),
            rss_kib: self.server.and_then(Server::rss_kib),
            signatures: signatures
                .zip(self.signatures)
                .map(|(now, before)| now - before),
        })
    }
}

impl Spent {
    /// For so many units, which may be parts of one.
    pub fn per(self, units: f64) -> ServerCost {
        let cpu = self.cpu.unwrap_or_default();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        ServerCost {
            cpu_seconds: cpu.total(),
            kernel_share: share(cpu.kernel, cpu.total()),
            cpu_us_per_unit: share(cpu.total() * 1e6, units),
            utilization: share(cpu.total(), self.seconds),
            rss_kib: self.rss_kib.unwrap_or_default(),
            rss_kib_per_connection: None,
            hsm_calls_per_unit: self.signatures.map(|signatures| share(signatures, units)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_asked_and_nobody_there_are_told_apart_from_nothing_spent() {
        assert_eq!(Meter::begin(None, None).unwrap().end(), None);
        let nobody = Metrics::parse("http://127.0.0.1:1").unwrap();
        assert!(Meter::begin(None, Some(&nobody)).is_err());
    }

    #[test]
    fn what_was_spent_is_divided_by_units() {
        let spent = Spent {
            seconds: 2.0,
            cpu: Some(CpuTime {
                user: 0.6,
                kernel: 0.4,
            }),
            rss_kib: Some(10),
            signatures: Some(500.0),
        };
        let cost = spent.per(1_000.0);
        assert!((cost.cpu_us_per_unit - 1_000.0).abs() < 1e-6);
        assert!((cost.utilization - 0.5).abs() < 1e-9);
        assert!((cost.kernel_share - 0.4).abs() < 1e-9);
        assert_eq!(cost.hsm_calls_per_unit, Some(0.5));
        assert_eq!(spent.per(0.0).cpu_us_per_unit, 0.0);
    }
}
