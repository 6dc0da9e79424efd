//! Two reports side by side: what became better, what worse, and by how much.
//!
//! Only what was measured in the same way is compared, unless the caller insists.

use std::fmt::{self, Write as _};

use super::model::{Report, Run};
use super::quantity::{Digits, Micros};
use super::rounds::{Rounds, Spread, value};

/// Below this a single measurement tells nothing.
const NOISE: f64 = 0.02;

/// Settings that say which server it was, not how it was measured.
const WHICH: [&str; 8] = [
    "target",
    "server",
    "metrics",
    "round",
    "version",
    "binary",
    "on",
    "alpn chosen",
];

/// Whether runs must have been made in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Different settings are refused.
    SameSettings,
    /// They are compared all the same.
    Anyway,
}

/// Why two reports are not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompareError {
    /// No run has the same name in both.
    NothingInCommon,
    /// What differs, one sentence each.
    DifferentSettings(Vec<String>),
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingInCommon => f.write_str("no run has the same name in both reports"),
            Self::DifferentSettings(differences) => {
                let differences = differences.join("; ");
                write!(
                    f,
                    "the runs were made differently: {differences}; compare them with --anyway"
                )
            }
        }
    }
}

impl std::error::Error for CompareError {}

/// One figure of one run, before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The run.
    pub run: String,
    /// The figure: `rate`, `p50`, `p99`, `cpu`, `memory`, `bystander p99`.
    pub figure: &'static str,
    /// In the first report.
    pub before: Spread,
    /// In the second.
    pub after: Spread,
    /// What it means.
    pub word: Word,
}

impl Change {
    /// After by before.
    pub fn ratio(&self) -> f64 {
        self.after.median / self.before.median
    }
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The second report is better.
    Better,
    /// The second report is worse.
    Worse,
    /// The two cannot be told apart: the rounds overlap, or it is under 2 %.
    Same,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    More,
    Less,
}

type Value = fn(&Run) -> Option<f64>;

const FIGURES: [(&str, Wanted, Value); 6] = [
    ("rate", Wanted::More, value::rate),
    ("p50", Wanted::Less, value::p50),
    ("p99", Wanted::Less, value::p99),
    ("cpu", Wanted::Less, value::cpu),
    ("memory", Wanted::Less, value::memory),
    ("bystander p99", Wanted::Less, value::bystander_p99),
];

/// Compares every run that both reports have.
pub fn compare(
    before: &Report,
    after: &Report,
    strictness: Strictness,
) -> Result<Vec<Change>, CompareError> {
    let (before, after) = (Rounds::of(before), Rounds::of(after));
    let pairs: Vec<_> = before
        .iter()
        .filter_map(|a| Some((a, after.iter().find(|b| b.name == a.name)?)))
        .collect();
    if pairs.is_empty() {
        return Err(CompareError::NothingInCommon);
    }
    if strictness == Strictness::SameSettings {
        let differences: Vec<String> = pairs.iter().flat_map(|(a, b)| differences(a, b)).collect();
        if !differences.is_empty() {
            return Err(CompareError::DifferentSettings(differences));
        }
    }
    let changes = pairs.iter().flat_map(|(a, b)| changes(a, b)).collect();
    Ok(changes)
}

fn changes(a: &Rounds<'_>, b: &Rounds<'_>) -> Vec<Change> {
    let figures = FIGURES.iter().filter_map(|(figure, wanted, value)| {
        let (before, after) = (a.spread(value)?, b.spread(value)?);
        Some(Change {
            run: a.name.to_owned(),
            figure,
            before,
            after,
            word: word(before, after, *wanted),
        })
    });
    figures.collect()
}

fn word(before: Spread, after: Spread, wanted: Wanted) -> Word {
    let overlap =
        before.count > 1 && after.count > 1 && before.min <= after.max && after.min <= before.max;
    let change = after.median - before.median;
    if overlap || change.abs() <= NOISE * before.median.abs() {
        return Word::Same;
    }
    if (change > 0.0) == (wanted == Wanted::More) {
        Word::Better
    } else {
        Word::Worse
    }
}

/// What was set differently, in sentences.
fn differences(a: &Rounds<'_>, b: &Rounds<'_>) -> Vec<String> {
    let (Some(first), Some(second)) = (a.runs.first(), b.runs.first()) else {
        return Vec::new();
    };
    let mut names: Vec<&String> = first
        .settings
        .keys()
        .chain(second.settings.keys())
        .collect();
    names.sort();
    names.dedup();
    let matters = names
        .into_iter()
        .filter(|name| !WHICH.contains(&name.as_str()));
    let differing = matters.filter_map(|name| {
        let (before, after) = (first.settings.get(name), second.settings.get(name));
        let say = |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
        (before != after).then(|| {
            let (before, after) = (say(before), say(after));
            format!(
                "{}: {name} is {before} in one and {after} in the other",
                a.name
            )
        })
    });
    differing.collect()
}

/// The changes as a table for people.
pub fn table(changes: &[Change]) -> String {
    let width = changes.iter().map(|change| change.run.chars().count());
    let width = width.max().unwrap_or_default().max(3);
    let mut text = format!(
        "{:width$}  {:13}  {:>12}  {:>12}  {:>6}\n",
        "run", "figure", "before", "after", "ratio"
    );
    for change in changes {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{:width$}  {:13}  {:>12}  {:>12}  {:>6.2}  {}",
            change.run,
            change.figure,
            show(change.figure, change.before.median),
            show(change.figure, change.after.median),
            change.ratio(),
            change.word,
        );
    }
    text
}

fn show(figure: &str, value: f64) -> String {
    match figure {
        "rate" => format!("{}/s", Digits(value)),
        "memory" => format!("{} KiB", Digits(value)),
        _ => Micros(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn scaled(report: &Report, factor: f64) -> Report {
        let mut scaled = report.clone();
        for run in &mut scaled.runs {
            run.rate *= factor;
            for (_, value) in &mut run.latency.quantiles {
                *value /= factor;
            }
        }
        scaled
    }

    #[test]
    fn different_settings_are_refused_by_name() {
        let before = sample::single();
        let mut after = before.clone();
        let settings = &mut after.runs[0].settings;
        settings.insert("group".to_owned(), "p256".to_owned());
        settings.insert("target".to_owned(), "https://elsewhere".to_owned());
        let refused = compare(&before, &after, Strictness::SameSettings).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the runs were made differently: handshake: group is x25519 in one and p256 in the \
             other; compare them with --anyway"
        );
        assert!(compare(&before, &after, Strictness::Anyway).is_ok());
    }

    #[test]
    fn reports_of_other_runs_are_refused() {
        let refused = compare(&sample::single(), &sample::peers(), Strictness::Anyway);
        assert_eq!(refused.unwrap_err(), CompareError::NothingInCommon);
    }

    #[test]
    fn more_of_the_rate_and_less_of_the_latency_is_better() {
        let before = sample::single();
        let figures = |factor| {
            let changes =
                compare(&before, &scaled(&before, factor), Strictness::SameSettings).unwrap();
            let words = changes
                .into_iter()
                .map(|change| (change.figure, change.word));
            words.collect::<Vec<_>>()
        };
        let words = |word| {
            vec![
                ("rate", word),
                ("p50", word),
                ("p99", word),
                ("cpu", Word::Same),
            ]
        };
        assert_eq!(figures(1.5), words(Word::Better));
        assert_eq!(figures(0.5), words(Word::Worse));
        assert_eq!(figures(1.01), words(Word::Same));
    }

    #[test]
    fn rounds_that_overlap_are_the_same() {
        let spread = |min, median, max| Spread {
            median,
            min,
            max,
            count: 3,
        };
        let (a, b) = (spread(90.0, 100.0, 130.0), spread(120.0, 140.0, 150.0));
        assert_eq!(word(a, b, Wanted::Less), Word::Same);
        let c = spread(131.0, 140.0, 150.0);
        assert_eq!(word(a, c, Wanted::Less), Word::Worse);
        assert_eq!(word(c, a, Wanted::Less), Word::Better);
    }

    #[test]
    fn the_table_names_run_figure_and_ratio() {
        let before = sample::single();
        let changes = compare(&before, &scaled(&before, 2.0), Strictness::SameSettings).unwrap();
        let told = table(&changes);
        assert!(told.contains("rate"), "{told}");
        assert!(told.contains("  2.00  better"), "{told}");
        assert!(told.contains("  0.50  better"), "{told}");
    }
}
