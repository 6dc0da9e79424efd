//! Reports as text for people: a block for each run, and a table for peers side by side.
//!
//! What is told here is a selection; the JSON has all of it.

use std::fmt::Write as _;

use super::model::{Latency, Report, Run, ServerCost};
use super::quantity::{Count, Digits, Kibibytes, Micros, Share, plural};
use super::rounds::{Rounds, value};
use super::standing::Standings;

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for rounds in Rounds::of(report) {
        if rounds.scenario_and_peer().is_none() {
            for run in &rounds.runs {
                block(&mut text, run);
            }
        }
    }
    for standings in Standings::of(report) {
        side_by_side(&mut text, &standings);
    }
    text
}

/// One run.
fn block(text: &mut String, run: &Run) {
    let mut line = |name: &str, content: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {name:10} {content}");
    };
    let units = plural(&run.unit);
    line(&run.name, settings(run));
    let done = if run.unit == "GB" {
        Digits(run.bytes as f64 / 1e9).to_string()
    } else {
        Count(run.done).to_string()
    };
    line(
        "done",
        format!(
            "{done} {units} in {} s: {}/s",
            Digits(run.seconds),
            Digits(run.rate)
        ),
    );
    if let Some(share) = run.resumed_share().filter(|_| run.resumed > 0) {
        line("resumed", Share(share).to_string());
    }
    if run.retried_hello > 0 {
        let retried = Count(run.retried_hello);
        line("retried", format!("{retried} hellos, as the server asked"));
    }
    line("latency", latency(&run.latency));
    if let Some(bystander) = &run.bystander {
        line("bystander", latency(bystander));
    }
    line("errors", errors(run));
    match &run.server {
        Some(cost) => line("server", server(cost, &run.unit)),
        None => line("server", "not measured: name it with --server".to_owned()),
    }
    for step in &run.steps {
        let kept = if step.kept { "kept" } else { "missed" };
        let (offered, achieved) = (Digits(step.offered), Digits(step.achieved));
        let p99 = Micros(step.p99_us);
        let errors = step.errors;
        line(
            "step",
            format!("{offered}/s offered, {achieved}/s done, p99 {p99}, {errors} errors: {kept}"),
        );
    }
    line("load", load(run));
    text.push('\n');
}

fn settings(run: &Run) -> String {
    let settings = run.settings.iter();
    let settings = settings.map(|(name, value)| format!("{name} {value}"));
    settings.collect::<Vec<_>>().join(", ")
}

fn latency(latency: &Latency) -> String {
    if latency.count == 0 {
        return "nothing measured".to_owned();
    }
    let named = latency.quantiles.iter().map(|(quantile, us)| {
        let name = format!("{:.2}", quantile * 100.0);
        let name = name.trim_end_matches('0').trim_end_matches('.');
        format!("p{name} {}", Micros(*us))
    });
    let named = named.collect::<Vec<_>>().join("  ");
    let (mean, max) = (Micros(latency.mean_us), Micros(latency.max_us));
    format!("{named}  max {max}  mean {mean}")
}

/// Failures by kind, the most frequent first.
pub fn errors(run: &Run) -> String {
    let mut kinds: Vec<(&String, &u64)> = run.errors.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let kinds = kinds.into_iter();
    let kinds = kinds.map(|(kind, count)| format!("{} {kind}", Count(*count)));
    match kinds.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    }
}

fn server(cost: &ServerCost, unit: &str) -> String {
    let mut told = format!(
        "{} CPU per {unit} ({} of it in the kernel), {} of one core, {} resident",
        Micros(cost.cpu_us_per_unit),
        Share(cost.kernel_share),
        Share(cost.utilization),
        Kibibytes(cost.rss_kib as f64),
    );
    if let Some(memory) = cost.rss_kib_per_connection {
        let _ = write!(told, ", {} per connection", Kibibytes(memory));
    }
    if let Some(calls) = cost.hsm_calls_per_unit {
        let _ = write!(told, ", {} HSM calls per {unit}", Digits(calls));
    }
    told
}

fn load(run: &Run) -> String {
    let load = &run.load;
    let mut told = format!(
        "{} s CPU, {} threads, the busiest {}",
        Digits(load.cpu_seconds),
        load.threads,
        Share(load.busiest)
    );
    if load.was_the_bottleneck() {
        told.push_str(": the load generator was the bottleneck; give it more --threads");
    }
    told
}

/// One scenario: a row for each peer, the best first.
fn side_by_side(text: &mut String, standings: &Standings<'_>) {
    let _ = writeln!(
        text,
        "{}: {}; {}",
        standings.scenario,
        standings.figure.title(&standings.unit),
        standings.what_is_compared()
    );
    let _ = writeln!(
        text,
        "  {:18} {:>10} {:>7} {:>7}  {:>21} {:>10} {:>9} {:>9} {:>6} {:>6}  errors",
        "peer", "median", "× best", "× ref", "min … max", "rate", "p50", "p99", "kernel", "core"
    );
    for place in &standings.places {
        let rounds = &place.rounds;
        let duration = |of: fn(&Run) -> Option<f64>| {
            let median = rounds.median(of);
            median.map_or("–".to_owned(), |us| Micros(us).to_string())
        };
        let cost = |of: fn(&ServerCost) -> f64| {
            let median = rounds.median(|run| run.server.as_ref().map(of));
            median.map_or("–".to_owned(), |share| Share(share).to_string())
        };
        let show = |figure: f64| standings.figure.show(figure);
        let spread = &place.spread;
        let _ = writeln!(
            text,
            "  {:18} {:>10} {:>7} {:>7}  {:>21} {:>10} {:>9} {:>9} {:>6} {:>6}  {}",
            place.peer,
            show(spread.median),
            ratio(Some(place.to_best)),
            ratio(place.to_reference),
            format!("{} … {}", show(spread.min), show(spread.max)),
            rate(rounds),
            duration(standings.p50()),
            duration(standings.p99()),
            cost(|cost| cost.kernel_share),
            cost(|cost| cost.utilization),
            place.failures,
        );
    }
    for (peer, why) in &standings.absent {
        let _ = writeln!(text, "  {peer:18} {why}");
    }
    text.push('\n');
}

fn rate(rounds: &Rounds<'_>) -> String {
    let rate = rounds.median(value::rate);
    rate.map_or("–".to_owned(), |rate| format!("{}/s", Digits(rate)))
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_run_without_anything_says_so() {
        let report = Report::here(vec![Run::default()]);
        let told = text(&report);
        assert!(told.contains("nothing measured"), "{told}");
        assert!(told.contains("name it with --server"), "{told}");
    }

    #[test]
    fn a_generator_that_was_the_bottleneck_says_so() {
        let mut report = sample::single();
        assert!(!text(&report).contains("bottleneck"));
        report.runs[0].load.busiest = 0.97;
        assert!(text(&report).contains("the load generator was the bottleneck"));
    }

    #[test]
    fn a_run_tells_latency_errors_and_cost() {
        let told = text(&sample::single());
        for part in [
            "p99.99 ",
            "1 reset",
            "180 µs CPU per handshake",
            "25 %",
            "20,000 handshakes",
        ] {
            assert!(told.contains(part), "no {part} in {told}");
        }
    }

    #[test]
    fn steps_and_bystander_are_told() {
        let told = text(&sample::ramp_and_mixed());
        assert!(told.contains("5,000/s offered"), "{told}");
        assert!(told.contains("missed") && told.contains("kept"), "{told}");
        assert!(told.contains("bystander  p50"), "{told}");
    }

    #[test]
    fn peers_stand_in_a_row_the_best_first_and_the_absent_are_named() {
        let told = text(&sample::peers());
        let at = |part: &str| {
            told.find(part)
                .unwrap_or_else(|| panic!("no {part} in {told}"))
        };
        assert!(at("portcullis ") < at("envoy "));
        assert!(at("envoy ") < at("nginx "));
        assert!(told.contains("not installed"), "{told}");
    }
}
