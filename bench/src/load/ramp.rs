//! The highest rate at which latency stays within a bound: doubled until it does not, then halved in between.

use std::time::Duration;

use super::{Mode, Pace, Plan, Ramp};
use crate::report::model::{Point, RampStep, Run};
use crate::report::watch::Watcher;

/// The search ends at the latest after so many steps.
const MAX_STEPS: usize = 16;
/// Rates that are closer than this are the same.
const CLOSE: f64 = 1.05;
/// Of a rate that brings fewer units in a step nothing can be said.
const FEWEST: f64 = 10.0;
/// Less than this share of what was offered is not kept up with.
const KEPT_UP: f64 = 0.98;

/// Measures step after step. The run is that of the highest rate that was kept, or of the lowest one tried.
pub(super) fn search(plan: &Plan, ramp: &Ramp, watcher: &dyn Watcher) -> anyhow::Result<Run> {
    let mut steps: Vec<RampStep> = Vec::new();
    let mut best: Option<Run> = None;
    let mut series: Vec<Point> = Vec::new();
    let least = FEWEST / ramp.step.as_secs_f64();
    while let Some(rate) = next_rate(&steps, (ramp.from, least)) {
        let run = super::run(&step_of(plan, ramp, rate), watcher)?;
        let step = judge(&run, rate, ramp.bound);
        let interrupted = run.settings.contains_key("interrupted");
        let before = series.last().map_or(0.0, |point| point.second);
        series.extend(run.series.iter().map(|point| Point {
            second: before + point.second,
            ..*point
        }));
        steps.push(step);
        let best_rate = best.as_ref().map(|best| best.rate);
        let better = step.kept && best_rate.is_none_or(|best| run.rate > best);
        let kept_before = steps.iter().filter(|step| step.kept).count() > usize::from(step.kept);
        if better || !kept_before {
            best = Some(run);
        }
        if interrupted {
            break;
        }
    }
    // There is always a first step.
    let mut run = best.unwrap_or_default();
    let mut settings = plan.settings();
    settings.extend(run.settings.remove_entry("interrupted"));
    run.settings = settings;
    run.name.clone_from(&plan.name);
    plan.mode.name().clone_into(&mut run.mode);
    run.series = series;
    run.steps = steps;
    Ok(run)
}

fn step_of(plan: &Plan, ramp: &Ramp, rate: f64) -> Plan {
    let mut step = plan.clone();
    step.mode = ramp.of.mode();
    step.pace = Pace::Open { per_second: rate };
    step.duration = ramp.step;
    step.warmup = plan.warmup.min(ramp.step / 2);
    debug_assert!(!matches!(step.mode, Mode::Ramp(_)), "a step is no search");
    step
}

fn judge(run: &Run, offered: f64, bound: Duration) -> RampStep {
    let p99_us = run.latency.quantile(0.99);
    let errors = run.failures();
    let in_time = p99_us.is_some_and(|p99| p99 <= bound.as_secs_f64() * 1e6);
    RampStep {
        offered,
        achieved: run.rate,
        p99_us: p99_us.unwrap_or_default(),
        errors,
        kept: in_time && errors == 0 && run.rate >= offered * KEPT_UP,
    }
}

/// The rate to try after these, not below `least`; none where the answer is known.
fn next_rate(steps: &[RampStep], (from, least): (f64, f64)) -> Option<f64> {
    if steps.len() >= MAX_STEPS {
        return None;
    }
    let rates = |kept| steps.iter().filter(move |step| step.kept == kept);
    let highest_kept = rates(true).map(|step| step.offered).reduce(f64::max);
    let lowest_broken = rates(false).map(|step| step.offered).reduce(f64::min);
    match (highest_kept, lowest_broken) {
        (None, None) => Some(from),
        (Some(kept), None) => Some(kept * 2.0),
        (None, Some(broken)) if broken / 2.0 < least => None,
        (None, Some(broken)) => Some(broken / 2.0),
        (Some(kept), Some(broken)) if broken <= kept * CLOSE => None,
        (Some(kept), Some(broken)) => Some((kept * broken).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the search finds where rates up to `limit` are kept.
    fn found(limit: f64, from: f64) -> (f64, usize) {
        let mut steps = Vec::new();
        while let Some(offered) = next_rate(&steps, (from, 1.0)) {
            steps.push(RampStep {
                offered,
                kept: offered <= limit,
                ..RampStep::default()
            });
        }
        let kept = steps.iter().filter(|step| step.kept);
        let highest = kept.map(|step| step.offered).fold(0.0, f64::max);
        (highest, steps.len())
    }

    #[test]
    fn a_server_that_keeps_no_rate_ends_the_search() {
        let (highest, steps) = found(0.0, 100.0);
        assert_eq!(highest, 0.0);
        assert!(steps <= MAX_STEPS);
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (limit, from) in [(7_300.0, 500.0), (7_300.0, 50_000.0), (500.0, 500.0)] {
            let (highest, steps) = found(limit, from);
            assert!(highest <= limit && highest >= limit / CLOSE, "{highest}");
            assert!(steps <= MAX_STEPS, "{steps}");
        }
    }

    #[test]
    fn a_step_with_a_failure_or_behind_its_rate_is_not_kept() {
        let run = |rate, failures: u64| {
            let mut run = Run {
                rate,
                ..Run::default()
            };
            run.latency.quantiles = vec![(0.99, 900.0)];
            run.errors
                .extend((failures > 0).then(|| ("reset".to_owned(), failures)));
            run
        };
        let bound = Duration::from_millis(1);
        assert!(judge(&run(1_000.0, 0), 1_000.0, bound).kept);
        assert!(!judge(&run(1_000.0, 1), 1_000.0, bound).kept);
        assert!(!judge(&run(900.0, 0), 1_000.0, bound).kept);
        assert!(!judge(&run(1_000.0, 0), 1_000.0, Duration::from_micros(800)).kept);
        let silent = Run {
            rate: 1_000.0,
            ..Run::default()
        };
        assert!(!judge(&silent, 1_000.0, bound).kept);
    }
}
