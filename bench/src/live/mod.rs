//! How a run goes, for people who watch: a bar on a terminal, a line a second elsewhere.
//!
//! Everything goes to stderr, so that stdout holds results alone.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stderr};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::model::Point;
use crate::report::quantity::{Count, Digits, Micros, plural};
use crate::report::watch::{Nobody, Watcher};

/// Steps of the bar.
const STEPS: u64 = 1_000;

/// Points that make a line, where there is no terminal.
const POINTS_A_LINE: u64 = 4;

/// In seconds: a rate over less time would be noise.
const SHORTEST: f64 = 0.1;

/// Whether anything is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing.
    Quiet,
    /// A bar or lines.
    Watched,
}

/// Watches a run called `name` that counts `unit`.
pub fn watcher(verbosity: Verbosity, name: &str, unit: &str) -> Box<dyn Watcher> {
    match verbosity {
        Verbosity::Quiet => Box::new(Nobody),
        Verbosity::Watched if stderr().is_terminal() => Box::new(Bar::new(name, unit)),
        Verbosity::Watched => Box::new(Lines::new(name, unit)),
    }
}

/// A bar that is drawn anew with each point, and cleared at the end.
struct Bar {
    bar: ProgressBar,
    pace: Mutex<Pace>,
}

impl Bar {
    fn new(name: &str, unit: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("{prefix:.bold} {bar:24.cyan/dim} {percent:>3} %  {msg}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(name.to_owned());
        bar.set_message("warming up");
        bar.tick();
        Self {
            bar,
            pace: Mutex::new(Pace::new(unit)),
        }
    }
}

impl Watcher for Bar {
    fn point(&self, point: &Point, done_share: f64, errors: &BTreeMap<String, u64>) {
        // A watcher that panicked has shown nothing worth keeping.
        let mut pace = self
            .pace
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        if let Some(told) = pace.tell(point, errors) {
            self.bar.set_message(told);
        }
        let steps = (done_share.clamp(0.0, 1.0) * STEPS as f64) as u64;
        self.bar.set_position(steps);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line for every second.
struct Lines {
    name: String,
    pace: Mutex<Pace>,
}

impl Lines {
    fn new(name: &str, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            pace: Mutex::new(Pace::new(unit)),
        }
    }
}

impl Watcher for Lines {
    fn point(&self, point: &Point, done_share: f64, errors: &BTreeMap<String, u64>) {
        let mut pace = self
            .pace
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        let Some(told) = pace.tell(point, errors) else {
            return;
        };
        if pace.points.is_multiple_of(POINTS_A_LINE) {
            say(&format!(
                "{} {:>3.0} %  {told}",
                self.name,
                done_share * 100.0
            ));
        }
    }
}

/// Turns points into a sentence; remembers when the last one ended.
struct Pace {
    units: String,
    last_second: f64,
    points: u64,
}

impl Pace {
    fn new(unit: &str) -> Self {
        Self {
            units: plural(unit),
            last_second: 0.0,
            points: 0,
        }
    }

    /// None of a point that ends too soon after the one before to have a rate, as the last one may.
    fn tell(&mut self, point: &Point, errors: &BTreeMap<String, u64>) -> Option<String> {
        let length = point.second - self.last_second;
        if length < SHORTEST {
            return None;
        }
        self.last_second = point.second;
        self.points += 1;
        let rate = Digits(point.done as f64 / length).to_string();
        let (p50, p99) = (Micros(point.p50_us), Micros(point.p99_us));
        let mut told = format!("{rate:>7} {}/s  p50 {p50}  p99 {p99}", self.units);
        for (kind, count) in errors {
            told.push_str(&format!("  {} {kind}", Count(*count)));
        }
        Some(told)
    }
}

#[expect(clippy::print_stderr, reason = "it is what people watch")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_tells_rate_latency_and_errors_by_kind() {
        let mut pace = Pace::new("handshake");
        let point = Point {
            second: 0.25,
            done: 500,
            errors: 2,
            p50_us: 400.0,
            p99_us: 1_200.0,
        };
        let errors = [("reset".to_owned(), 1_002), ("timeout".to_owned(), 1)].into();
        assert_eq!(
            pace.tell(&point, &errors).unwrap(),
            "  2,000 handshakes/s  p50 400 µs  p99 1.20 ms  1,002 reset  1 timeout"
        );
        let later = Point {
            second: 0.75,
            ..point
        };
        let told = pace.tell(&later, &BTreeMap::new()).unwrap();
        assert!(told.starts_with("  1,000 "), "{told}");
        let at_once = Point {
            second: 0.751,
            ..point
        };
        assert_eq!(pace.tell(&at_once, &BTreeMap::new()), None);
    }
}
