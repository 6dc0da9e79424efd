//! The figures: as a table, as JSON, and beside those of another run.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

/// Of the JSON file; another meaning gets another number.
pub(super) const FORMAT: u64 = 1;

/// A run's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Version of the JSON file.
    pub format: u64,
    /// What the gateway found the CPU to have.
    pub cpu: String,
    /// In the order they were counted.
    pub figures: Vec<Figure>,
}

/// Instructions for one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What a unit is.
    pub name: String,
    /// Median of the rounds.
    pub median: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

/// Why a baseline cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoBaseline(&'static str);

impl fmt::Display for NoBaseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a file that `portcullis-count` wrote: {}", self.0)
    }
}

impl std::error::Error for NoBaseline {}

impl Figure {
    pub(super) fn of(name: &str, mut counts: Vec<u64>) -> Self {
        counts.sort_unstable();
        let at = |index: usize| counts.get(index).copied().unwrap_or_default();
        Self {
            name: name.to_owned(),
            median: at(counts.len() / 2),
            min: at(0),
            max: at(counts.len().saturating_sub(1)),
        }
    }

    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            median: value["median"].as_u64()?,
            min: value["min"].as_u64()?,
            max: value["max"].as_u64()?,
        })
    }

    /// How far the rounds lie apart, in percent of the median.
    fn spread(&self) -> f64 {
        100.0 * (self.max - self.min) as f64 / self.median.max(1) as f64
    }
}

impl Counted {
    /// For a file.
    pub fn to_json(&self) -> String {
        let figure = |figure: &Figure| {
            json!({
                "name": figure.name, "median": figure.median, "min": figure.min, "max": figure.max,
            })
        };
        let figures: Vec<_> = self.figures.iter().map(figure).collect();
        let value = json!({ "format": self.format, "cpu": self.cpu, "figures": figures });
        format!("{value:#}\n")
    }

    /// From a file.
    ///
    /// # Errors
    /// It is another kind of file.
    pub fn from_json(text: &str) -> Result<Self, NoBaseline> {
        let value: Value = serde_json::from_str(text).map_err(|_| NoBaseline("no JSON"))?;
        if value["format"].as_u64() != Some(FORMAT) {
            return Err(NoBaseline("another format"));
        }
        let figures = value["figures"].as_array().map(|figures| {
            let read = figures.iter().map(Figure::read);
            read.collect::<Option<Vec<_>>>()
        });
        Ok(Self {
            format: FORMAT,
            cpu: value["cpu"].as_str().unwrap_or("unknown").to_owned(),
            figures: figures.flatten().ok_or(NoBaseline("no figures"))?,
        })
    }

    /// For people; with the change against a baseline.
    pub fn table(&self, baseline: Option<&Self>) -> String {
        let mut text = format!(
            "{:<14} {:>13} {:>27} {:>7}",
            "unit", "instructions", "min-max", "spread"
        );
        if baseline.is_some() {
            text.push_str("   baseline   change");
        }
        text.push('\n');
        for figure in &self.figures {
            let Figure { name, median, .. } = figure;
            let range = format!("{}-{}", figure.min, figure.max);
            let spread = figure.spread();
            // A String takes everything.
            let _ = write!(text, "{name:<14} {median:>13} {range:>27} {spread:>6.2}%");
            let before =
                baseline.and_then(|before| before.figures.iter().find(|it| it.name == *name));
            if let Some(before) = before {
                let change = 100.0 * (*median as f64 / before.median.max(1) as f64 - 1.0);
                let _ = write!(text, " {:>10} {change:>+7.2}%", before.median);
            }
            text.push('\n');
        }
        let _ = writeln!(text, "CPU as the gateway saw it: {}", self.cpu);
        if let Some(before) = baseline.filter(|before| before.cpu != self.cpu) {
            let _ = writeln!(text, "not comparable, the baseline's was: {}", before.cpu);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(counts: Vec<u64>, cpu: &str) -> Counted {
        Counted {
            format: FORMAT,
            cpu: cpu.to_owned(),
            figures: vec![Figure::of("full", counts)],
        }
    }

    #[test]
    fn another_file_is_no_baseline() {
        for text in [
            "",
            "[]",
            "{}",
            "{\"format\": 2}",
            "{\"format\": 1}",
            "{\"format\": 1, \"figures\": [{}]}",
        ] {
            assert!(Counted::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let counted = counted(vec![3, 1, 2], "aes");
        assert_eq!(Counted::from_json(&counted.to_json()), Ok(counted));
    }

    #[test]
    fn a_change_is_told_with_its_sign_and_another_cpu_too() {
        let (now, before) = (
            counted(vec![1100, 1090, 1120], "aes"),
            counted(vec![1000], "aes"),
        );
        let table = now.table(Some(&before));
        assert!(
            table.contains("1090-1120") && table.contains("+10.00%"),
            "{table}"
        );
        assert!(!table.contains("not comparable"));
        let other = counted(vec![1000], "aes sha");
        assert!(now.table(Some(&other)).contains("not comparable"));
    }
}
