//! The charts of a run: latency by percentile, its distribution, and how it went over time.

use super::super::model::{Latency, Point, RampStep, Run};
use super::super::quantity::{Count, Digits, Micros, Share, plural};
use super::markup::Markup;
use super::plot::{Axis, Ink, Plot};
use super::scale::{Scale, percentile, short_duration, short_number};

/// At how many places of the axis of percentiles the pointer is told something.
const TOLD: u32 = 60;

/// In seconds: a rate over less time would be noise.
const SHORTEST: f64 = 0.1;

/// Latency by percentile, a line for each distribution.
pub(super) fn percentiles(title: &str, lines: &[(Ink, &str, &Latency)]) -> Option<Markup> {
    let lines: Vec<_> = lines
        .iter()
        .filter(|(_, _, latency)| latency.count > 0)
        .collect();
    let count = lines.iter().map(|(_, _, latency)| latency.count).max()?;
    let least = lines.iter().map(|(_, _, latency)| latency.min_us);
    let most = lines.iter().map(|(_, _, latency)| latency.max_us);
    // The last value stands at the right edge: there is no percentile beyond it.
    let end = (1.0 - 1.0 / count as f64).clamp(0.9, 0.999_99);
    let x = Axis {
        scale: Scale::nines(end),
        label: percentile,
        title: "percentile",
    };
    let y = Axis {
        scale: Scale::logarithmic(
            least.fold(f64::INFINITY, f64::min),
            most.fold(0.0, f64::max),
        ),
        label: short_duration,
        title: "latency",
    };
    let mut plot = Plot::new(x, y);
    for (ink, _, latency) in &lines {
        plot.line(*ink, &cumulated(latency, end));
    }
    for step in 0..=TOLD {
        let nines = f64::from(step) / f64::from(TOLD) * -(1.0 - end).log10();
        let share = 1.0 - 10_f64.powf(-nines);
        let values = lines
            .iter()
            .map(|(_, name, latency)| format!("\n{name} {}", Micros(value_at(latency, share))));
        let head = percentile((share * 1e6).round() / 1e6);
        plot.tell(share, values.fold(head, |told, value| told + &value));
    }
    let legend: Vec<(Ink, &str)> = lines.iter().map(|(ink, name, _)| (*ink, *name)).collect();
    let legend = if legend.len() > 1 { &legend[..] } else { &[] };
    Some(plot.figure(title, "so many per cent took no longer", legend))
}

/// The distribution as points of share and latency, from its least value.
fn cumulated(latency: &Latency, end: f64) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, latency.min_us)];
    let mut below = 0;
    for (upper, count) in &latency.buckets {
        below += count;
        let share = below as f64 / latency.count as f64;
        points.push((share.min(end), upper.min(latency.max_us)));
        if share >= end {
            break;
        }
    }
    points.push((end, latency.quantile_or_max(end)));
    points
}

fn value_at(latency: &Latency, share: f64) -> f64 {
    let wanted = (share * latency.count as f64).ceil() as u64;
    let mut below = 0;
    let found = latency.buckets.iter().find(|(_, count)| {
        below += count;
        below >= wanted
    });
    found.map_or(latency.max_us, |(upper, _)| upper.min(latency.max_us))
}

impl Latency {
    fn quantile_or_max(&self, share: f64) -> f64 {
        value_at(self, share)
    }
}

/// How often which latency came.
pub(super) fn distribution(title: &str, ink: Ink, latency: &Latency) -> Option<Markup> {
    let most = latency.buckets.iter().map(|(_, count)| *count).max()?;
    let x = Axis {
        scale: Scale::logarithmic(latency.min_us, latency.max_us),
        label: short_duration,
        title: "latency",
    };
    let y = Axis {
        scale: Scale::from_zero(most as f64),
        label: short_number,
        title: "count",
    };
    let mut plot = Plot::new(x, y);
    let mut from = latency.min_us;
    // Empty steps are left out of the buckets: a bar is as wide as a step, not as the gap.
    let ratio = narrowest(latency);
    for (upper, count) in &latency.buckets {
        let lower = from.max(upper / ratio);
        plot.bar(ink, (lower, *upper), *count as f64);
        let share = Share(*count as f64 / latency.count as f64);
        plot.tell(
            (lower * upper).sqrt(),
            format!(
                "{} … {}\n{} ({share})",
                Micros(lower),
                Micros(*upper),
                Count(*count)
            ),
        );
        from = *upper;
    }
    for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
        if let Some(at) = latency.quantile(quantile) {
            plot.mark(at, name);
        }
    }
    Some(plot.figure(title, "steps of equal ratio", &[]))
}

/// The ratio of one step of the distribution.
fn narrowest(latency: &Latency) -> f64 {
    let pairs = latency.buckets.windows(2);
    let ratios = pairs.filter_map(|pair| match pair {
        [(a, _), (b, _)] if *a > 0.0 => Some(b / a),
        _ => None,
    });
    ratios.fold(f64::INFINITY, f64::min).clamp(1.001, 2.0)
}

/// Units a second, and failures, over time.
pub(super) fn rate_over_time(run: &Run) -> Option<Markup> {
    let rates = rates(&run.series);
    let most = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let mut plot = Plot::new(
        time(run)?,
        Axis {
            scale: Scale::from_zero(most * 1.05),
            label: short_number,
            title: "per second",
        },
    );
    plot.area(Ink(0), &rates).line(Ink(0), &rates);
    for (at, rate) in &rates {
        let Some(point) = run.series.iter().find(|point| point.second == *at) else {
            continue;
        };
        let mut told = format!("{:.2} s\n{} {}/s", at, Digits(*rate), plural(&run.unit));
        if point.errors > 0 {
            plot.dot("bad", *at, 0.0);
            told.push_str(&format!("\n{} errors", Count(point.errors)));
        }
        plot.tell(*at, told);
    }
    Some(plot.figure("Rate over time", "a point each quarter of a second", &[]))
}

/// Units a second at each point.
fn rates(series: &[Point]) -> Vec<(f64, f64)> {
    let mut begin = 0.0;
    let rates = series.iter().filter_map(|point| {
        let length = point.second - begin;
        begin = point.second;
        // The last point may end right behind the one before it, and has no rate.
        (length >= SHORTEST).then(|| (point.second, point.done as f64 / length))
    });
    rates.collect()
}

/// Median and 99th percentile over time.
pub(super) fn latency_over_time(run: &Run) -> Option<Markup> {
    let measured: Vec<&Point> = run
        .series
        .iter()
        .filter(|point| point.p99_us > 0.0)
        .collect();
    let least = measured.iter().map(|point| point.p50_us);
    let most = measured
        .iter()
        .map(|point| point.p99_us)
        .fold(0.0, f64::max);
    measured.first()?;
    let mut plot = Plot::new(
        time(run)?,
        Axis {
            scale: Scale::logarithmic(least.fold(f64::INFINITY, f64::min) * 0.8, most * 1.1),
            label: short_duration,
            title: "latency",
        },
    );
    let line = |value: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        measured
            .iter()
            .map(|point| (point.second, value(point)))
            .collect()
    };
    plot.line(Ink(1), &line(|point| point.p99_us));
    plot.line(Ink(0), &line(|point| point.p50_us));
    for point in &measured {
        let (p50, p99) = (Micros(point.p50_us), Micros(point.p99_us));
        plot.tell(
            point.second,
            format!("{:.2} s\np50 {p50}\np99 {p99}", point.second),
        );
    }
    let legend = [(Ink(0), "p50"), (Ink(1), "p99")];
    Some(plot.figure("Latency over time", "of each quarter of a second", &legend))
}

fn time(run: &Run) -> Option<Axis> {
    let (first, last) = (run.series.first()?, run.series.last()?);
    Some(Axis {
        scale: Scale::between(first.second.min(0.25), last.second),
        label: |second| format!("{} s", short_number(second)),
        title: "",
    })
}

/// The steps of a search: what was offered, and how long it took.
pub(super) fn ramp(steps: &[RampStep]) -> Option<Markup> {
    let mut steps = steps.to_vec();
    steps.sort_by(|a, b| a.offered.total_cmp(&b.offered));
    let (first, last) = (*steps.first()?, *steps.last()?);
    let p99s = || steps.iter().map(|step| step.p99_us.max(1.0));
    let x = Axis {
        scale: Scale::between(first.offered * 0.95, last.offered * 1.02),
        label: |rate| format!("{}/s", short_number(rate)),
        title: "offered",
    };
    let y = Axis {
        scale: Scale::logarithmic(
            p99s().fold(f64::INFINITY, f64::min) * 0.7,
            p99s().fold(0.0, f64::max) * 1.3,
        ),
        label: short_duration,
        title: "p99",
    };
    let mut plot = Plot::new(x, y);
    let line: Vec<(f64, f64)> = steps
        .iter()
        .map(|step| (step.offered, step.p99_us))
        .collect();
    plot.line(Ink(0), &line);
    for step in &steps {
        let (class, word) = if step.kept {
            ("good", "kept")
        } else {
            ("bad", "missed")
        };
        plot.dot(class, step.offered, step.p99_us);
        let (offered, achieved) = (Digits(step.offered), Digits(step.achieved));
        plot.tell(
            step.offered,
            format!(
                "{offered}/s offered\n{achieved}/s done\np99 {}\n{word}",
                Micros(step.p99_us)
            ),
        );
    }
    Some(plot.figure(
        "Search for the highest rate",
        "each step of the search: the bound was kept or missed",
        &[],
    ))
}
