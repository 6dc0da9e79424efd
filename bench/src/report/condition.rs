//! `--fail-if`: what must not be, for a pipeline that has to stop when it is.
//!
//! A value that was not measured never passes for a good one.

use std::fmt;
use std::str::FromStr;

use super::model::{Latency, Run};
use super::quantity::{Digits, Kibibytes, Micros, Share};

/// What may stand in an expression; told to whoever writes another.
const POSSIBLE: &str = "write METRIC OPERATOR NUMBER UNIT, such as 'p99>5ms': \
    p50 p90 p99 p999 max mean cpu bystander.p50 bystander.p99 take us, ms or s; rate takes /s; \
    errors a number or %; resumed %; rss KiB or MiB; operators are < <= > >=";

/// An expression that cannot be read, with what would be possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCondition {
    text: String,
    why: String,
}

impl fmt::Display for BadCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}; {POSSIBLE}", self.text, self.why)
    }
}

impl std::error::Error for BadCondition {}

/// One expression: a run for which it holds has failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    metric: Metric,
    comparison: Comparison,
    bound: f64,
    text: String,
}

/// What a condition says of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It does not hold.
    Passed,
    /// It holds; the sentence says by how much.
    Failed(String),
    /// What it asks for was not measured, which fails as well.
    Unmeasured(String),
}

impl Condition {
    /// Whether it holds for this run.
    pub fn judge(&self, run: &Run) -> Verdict {
        let Some(value) = self.metric.of(run) else {
            let how = self.metric.how_to_measure();
            return Verdict::Unmeasured(format!(
                "{}: '{}' cannot be told: {how}",
                run.name, self.text
            ));
        };
        if !self.comparison.holds(value, self.bound) {
            return Verdict::Passed;
        }
        let value = self.metric.show(value);
        Verdict::Failed(format!("{}: '{}' holds: {value}", run.name, self.text))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Condition {
    type Err = BadCondition;

    fn from_str(text: &str) -> Result<Self, BadCondition> {
        let refuse = |why: String| BadCondition {
            text: text.to_owned(),
            why,
        };
        let at = text.find(['<', '>']);
        let at = at.ok_or_else(|| refuse("there is no < or >".to_owned()))?;
        let (name, rest) = text.split_at(at);
        let (comparison, rest) = Comparison::split(rest);
        let rest = rest.trim();
        let letters = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = rest.split_at(letters.unwrap_or(rest.len()));
        let number: f64 = number
            .parse()
            .map_err(|_| refuse(format!("'{rest}' does not begin with a number")))?;
        let (metric, factor) = Metric::parse(name.trim(), unit.trim()).map_err(refuse)?;
        Ok(Self {
            metric,
            comparison,
            bound: number * factor,
            text: text.to_owned(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Cuts the operator off; the text begins with `<` or `>`.
    fn split(text: &str) -> (Self, &str) {
        let operators = [
            ("<=", Self::LessOrEqual),
            (">=", Self::GreaterOrEqual),
            ("<", Self::Less),
        ];
        for (operator, comparison) in operators {
            if let Some(rest) = text.strip_prefix(operator) {
                return (comparison, rest);
            }
        }
        (Self::Greater, text.strip_prefix('>').unwrap_or(text))
    }

    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }
}

/// What is looked at, in microseconds, KiB, units a second, or shares.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    Quantile(f64),
    Max,
    Mean,
    Rate,
    Failures,
    FailureShare,
    Resumed,
    Cpu,
    Rss,
    Bystander(f64),
}

impl Metric {
    /// The metric, and what a number with this unit is multiplied with.
    fn parse(name: &str, unit: &str) -> Result<(Self, f64), String> {
        let metric = match name {
            "p50" => Self::Quantile(0.5),
            "p90" => Self::Quantile(0.9),
            "p99" => Self::Quantile(0.99),
            "p999" => Self::Quantile(0.999),
            "max" => Self::Max,
            "mean" => Self::Mean,
            "rate" => Self::Rate,
            "errors" if unit == "%" => Self::FailureShare,
            "errors" => Self::Failures,
            "resumed" => Self::Resumed,
            "cpu" => Self::Cpu,
            "rss" => Self::Rss,
            "bystander.p50" => Self::Bystander(0.5),
            "bystander.p99" => Self::Bystander(0.99),
            _ => return Err(format!("there is no metric '{name}'")),
        };
        let units = metric.units();
        let factor = units.iter().find(|(known, _)| *known == unit);
        let Some((_, factor)) = factor else {
            let known: Vec<&str> = units.iter().map(|(unit, _)| *unit).collect();
            let known = known.join(" or ");
            return Err(match unit {
                "" => format!("{name} needs a unit: {known}"),
                _ => format!("'{unit}' is no unit of {name}"),
            });
        };
        Ok((metric, *factor))
    }

    fn units(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Quantile(_) | Self::Max | Self::Mean | Self::Cpu | Self::Bystander(_) => {
                &[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)]
            }
            Self::Rate => &[("/s", 1.0), ("", 1.0)],
            Self::Failures => &[("", 1.0)],
            Self::FailureShare | Self::Resumed => &[("%", 0.01)],
            Self::Rss => &[("KiB", 1.0), ("MiB", 1024.0)],
        }
    }

    fn of(self, run: &Run) -> Option<f64> {
        let failures = run.failures() as f64;
        let measured = |latency: &Latency, value: f64| (latency.count > 0).then_some(value);
        match self {
            Self::Quantile(quantile) => run.latency.quantile(quantile),
            Self::Max => measured(&run.latency, run.latency.max_us),
            Self::Mean => measured(&run.latency, run.latency.mean_us),
            Self::Rate => Some(run.rate),
            Self::Failures => Some(failures),
            // Of nothing tried nothing failed, and nothing is told by it.
            Self::FailureShare => {
                let tried = run.done as f64 + failures;
                (tried > 0.0).then(|| failures / tried)
            }
            Self::Resumed => run.resumed_share(),
            Self::Cpu => run.server.map(|server| server.cpu_us_per_unit),
            Self::Rss => run.server.map(|server| server.rss_kib as f64),
            Self::Bystander(quantile) => run.bystander.as_ref()?.quantile(quantile),
        }
    }

    fn how_to_measure(self) -> &'static str {
        match self {
            Self::Cpu | Self::Rss => "name the server with --server",
            Self::Bystander(_) => "only mode mixed has a bystander",
            _ => "nothing was done",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{}/s", Digits(value)),
            Self::Failures => Digits(value).to_string(),
            Self::FailureShare | Self::Resumed => Share(value).to_string(),
            Self::Rss => Kibibytes(value).to_string(),
            _ => Micros(value).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::ServerCost;

    fn run() -> Run {
        Run {
            name: "handshake".to_owned(),
            done: 990,
            rate: 99.0,
            resumed: 495,
            errors: [("timeout".to_owned(), 10)].into(),
            latency: Latency {
                count: 990,
                max_us: 9_000.0,
                mean_us: 2_000.0,
                quantiles: vec![(0.5, 1_000.0), (0.9, 3_000.0), (0.99, 5_000.0)],
                ..Latency::default()
            },
            server: Some(ServerCost {
                cpu_us_per_unit: 150.0,
                rss_kib: 4_096,
                ..ServerCost::default()
            }),
            ..Run::default()
        }
    }

    fn verdict(text: &str) -> Verdict {
        text.parse::<Condition>().unwrap().judge(&run())
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_told_what_is_possible() {
        let cases = [
            ("p99", "there is no < or >"),
            ("p98>5ms", "there is no metric 'p98'"),
            ("p99>fast", "'fast' does not begin with a number"),
            ("p99>5", "p99 needs a unit: us or µs or ms or s"),
            ("p99>5MiB", "'MiB' is no unit of p99"),
            ("p99==5ms", "there is no < or >"),
            ("p99>=>5ms", "'>5ms' does not begin with a number"),
            ("rate<5ms", "'ms' is no unit of rate"),
            ("resumed<0.95", "resumed needs a unit: %"),
            ("rss>5", "rss needs a unit: KiB or MiB"),
            ("errors>1.2.3", "'1.2.3' does not begin with a number"),
        ];
        for (text, why) in cases {
            let told = text.parse::<Condition>().unwrap_err().to_string();
            assert!(told.starts_with(&format!("'{text}': {why}; ")), "{told}");
            assert!(told.contains("such as 'p99>5ms'"), "{told}");
        }
    }

    #[test]
    fn what_holds_fails_the_run() {
        for text in [
            "p50>=1ms",
            "p50 > 999us",
            "p90>0.0029s",
            "p99>4.9ms",
            "max>=9ms",
            "mean<=2ms",
            "rate<100/s",
            "rate<100",
            "errors>9",
            "errors>=1%",
            "resumed<=50%",
            "cpu>149µs",
            "rss>=4MiB",
            "rss>4095KiB",
        ] {
            assert!(matches!(verdict(text), Verdict::Failed(_)), "{text}");
        }
    }

    #[test]
    fn what_does_not_hold_passes_it() {
        for text in [
            "p50>1ms",
            "p99>5ms",
            "p99<5ms",
            "max>9ms",
            "rate<99/s",
            "errors>10",
            "errors>1%",
            "resumed<50%",
            "cpu>150us",
            "rss>4MiB",
        ] {
            assert_eq!(verdict(text), Verdict::Passed, "{text}");
        }
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        let told = |run: &Run, text: &str| match text.parse::<Condition>().unwrap().judge(run) {
            Verdict::Unmeasured(told) => told,
            other => panic!("{text}: {other:?}"),
        };
        assert!(told(&run(), "bystander.p99>1ms").contains("only mode mixed"));
        assert!(told(&run(), "p999>1ms").contains("nothing was done"));
        let nothing = Run::default();
        assert!(told(&nothing, "cpu>1us").contains("--server"));
        for text in ["p50<1us", "max<1us", "mean<1us", "errors>1%", "resumed<1%"] {
            told(&nothing, text);
        }
    }

    #[test]
    fn a_failure_says_the_value() {
        assert_eq!(
            verdict("p99>4ms"),
            Verdict::Failed("handshake: 'p99>4ms' holds: 5.00 ms".to_owned())
        );
    }
}
