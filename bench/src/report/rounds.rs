//! Runs of one name are rounds of one measurement: their median counts, and their spread is told.

use super::model::{Report, Run};
use super::quantity::median;

/// All runs of one name.
#[derive(Debug, Clone)]
pub struct Rounds<'a> {
    /// Their name.
    pub name: &'a str,
    /// At least one.
    pub runs: Vec<&'a Run>,
}

/// The middle of some values, and how far they are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half of them are below it.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many.
    pub count: usize,
}

impl<'a> Rounds<'a> {
    /// The runs of a report by name, in the order in which the names come first.
    pub fn of(report: &'a Report) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for run in &report.runs {
            match all.iter_mut().find(|rounds| rounds.name == run.name) {
                Some(rounds) => rounds.runs.push(run),
                None => all.push(Self {
                    name: &run.name,
                    runs: vec![run],
                }),
            }
        }
        all
    }

    /// The part of the name before the slash, and the one after it: scenario and peer.
    pub fn scenario_and_peer(&self) -> Option<(&'a str, &'a str)> {
        self.name.split_once('/')
    }

    /// The spread of a value over the rounds that have it; none if no round has.
    pub fn spread(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter_map(|run| value(run)).collect();
        Some(Spread {
            median: median(values.iter().copied())?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            count: values.len(),
        })
    }

    /// The median of a value.
    pub fn median(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        self.spread(value).map(|spread| spread.median)
    }

    /// The round whose value is nearest to the median: the one to draw.
    pub fn typical(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<&'a Run> {
        let middle = self.median(&value)?;
        let distance = |run: &Run| value(run).map_or(f64::INFINITY, |at| (at - middle).abs());
        let mut runs = self.runs.iter().copied();
        let first = runs.next()?;
        Some(runs.fold(first, |best, run| {
            if distance(run) < distance(best) {
                run
            } else {
                best
            }
        }))
    }
}

/// What is measured of a run, for [`Rounds::spread`].
pub mod value {
    use super::Run;

    /// Units a second; none where nothing was done.
    pub fn rate(run: &Run) -> Option<f64> {
        (run.done > 0).then_some(run.rate)
    }

    /// Median latency.
    pub fn p50(run: &Run) -> Option<f64> {
        run.latency.quantile(0.5)
    }

    /// 99 % of the latencies were shorter.
    pub fn p99(run: &Run) -> Option<f64> {
        run.latency.quantile(0.99)
    }

    /// CPU time of the server for one unit, in microseconds.
    pub fn cpu(run: &Run) -> Option<f64> {
        let server = run.server.as_ref()?;
        (run.done > 0).then_some(server.cpu_us_per_unit)
    }

    /// Memory one connection adds, in KiB.
    pub fn memory(run: &Run) -> Option<f64> {
        run.server.as_ref()?.rss_kib_per_connection
    }

    /// Median latency of an unrelated request.
    pub fn bystander_p50(run: &Run) -> Option<f64> {
        run.bystander.as_ref()?.quantile(0.5)
    }

    /// 99 % of the unrelated requests were shorter.
    pub fn bystander_p99(run: &Run) -> Option<f64> {
        run.bystander.as_ref()?.quantile(0.99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Machine;

    fn run(name: &str, rate: f64) -> Run {
        Run {
            name: name.to_owned(),
            done: if rate > 0.0 { 10 } else { 0 },
            rate,
            ..Run::default()
        }
    }

    #[test]
    fn a_round_that_did_nothing_does_not_move_the_median() {
        let report = Report {
            format: 1,
            machine: Machine::default(),
            runs: vec![
                run("a/x", 3.0),
                run("b", 1.0),
                run("a/x", 0.0),
                run("a/x", 5.0),
            ],
        };
        let rounds = Rounds::of(&report);
        assert_eq!(rounds.len(), 2);
        assert_eq!(rounds[0].scenario_and_peer(), Some(("a", "x")));
        assert_eq!(rounds[1].scenario_and_peer(), None);
        let spread = rounds[0].spread(value::rate).unwrap();
        let expected = Spread {
            median: 4.0,
            min: 3.0,
            max: 5.0,
            count: 2,
        };
        assert_eq!(spread, expected);
        assert_eq!(rounds[0].spread(value::p50), None);
    }

    #[test]
    fn the_round_nearest_to_the_median_is_the_typical_one() {
        let report = Report {
            format: 1,
            machine: Machine::default(),
            runs: vec![run("a", 9.0), run("a", 2.0), run("a", 3.0)],
        };
        let rounds = Rounds::of(&report);
        assert_eq!(rounds[0].typical(value::rate).unwrap().rate, 3.0);
        assert!(rounds[0].typical(value::cpu).is_none());
    }
}
