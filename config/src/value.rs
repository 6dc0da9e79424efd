//! Small values that are text in the file: durations, sizes, names; and how they are written back.

use std::fmt::{self, Write};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// A time span: a number with unit (`500ms`, `5s`, `1m30s`, `2h`, `30d`).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("examples" = ["500ms", "5s", "1m30s", "2h"]))]
pub(crate) struct DurationText(pub(crate) String);

/// A size in bytes: a plain number, or text with unit (`64KiB`, `1MiB`, `10MB`).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("type" = ["string", "integer"], "minimum" = 0, "examples" = ["64KiB", "10MB"]))]
pub(crate) struct SizeText(pub(crate) String);

/// A number, or `auto`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("type" = ["string", "integer"], "minimum" = 0, "examples" = ["auto", 8]))]
pub(crate) struct CountText(pub(crate) String);

/// A number, not negative.
#[derive(Debug, Clone, Copy, JsonSchema)]
pub(crate) struct Number(pub(crate) u64);

// The shaper hands numbers over as text.
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Number).map_err(serde::de::Error::custom)
    }
}

/// A number with a fraction, not negative, such as `0.5`.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Decimal(pub(crate) f64);

// The shaper hands numbers over as text.
impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Decimal).map_err(serde::de::Error::custom)
    }
}

/// A part of a whole, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// A half.
    pub(crate) const HALF: Share = Share(500);
    /// A fifth.
    pub(crate) const FIFTH: Share = Share(200);

    /// In thousandths of the whole, 0 to 1000.
    pub fn thousandths(self) -> u32 {
        self.0
    }

    /// This part of so many, rounded down.
    pub fn of(self, count: usize) -> usize {
        count * self.0 as usize / 1_000
    }
}

/// As it is written in the file.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With its fraction also where that is zero: the schema says number, and so does the text.
        write!(f, "{:?}", f64::from(self.0) / 1_000.0)
    }
}

/// A part of a whole between 0 and 1, to the thousandth.
pub(crate) fn share(number: Decimal) -> Option<Share> {
    let thousandths = number.0 * 1_000.0;
    let whole =
        (0.0..=1_000.0).contains(&thousandths) && (thousandths.round() - thousandths).abs() < 1e-6;
    whole.then_some(Share(thousandths.round() as u32))
}

const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Parses `1m30s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const SHAPE: &str =
        "a duration is written like \"500ms\", \"5s\", \"1m30s\", \"2h\" or \"30d\"";
    const TOO_LONG: &str = "this duration is too long";
    if text.is_empty() {
        return Err(SHAPE);
    }
    let mut milliseconds = 0_u64;
    let mut rest = text;
    let mut units = TIME_UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(SHAPE)?;
        let (number, behind) = rest.split_at(digits);
        let end = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        // Going on in the same iterator keeps units in falling order, each once.
        let (_, scale) = units.find(|(name, _)| *name == unit).ok_or(SHAPE)?;
        if number.is_empty() {
            return Err(SHAPE);
        }
        let number: u64 = number.parse().map_err(|_| TOO_LONG)?;
        let part = number.checked_mul(*scale).ok_or(TOO_LONG)?;
        milliseconds = milliseconds.checked_add(part).ok_or(TOO_LONG)?;
        rest = behind;
    }
    Ok(Duration::from_millis(milliseconds))
}

/// Writes what [`parse_duration`] reads.
pub(crate) fn duration_text(duration: Duration) -> String {
    let mut milliseconds = duration.as_millis();
    let mut text = String::new();
    for (unit, scale) in TIME_UNITS {
        let count = milliseconds / u128::from(scale);
        // 90 s stays "1m30s", 48 h stays "2d", 0 becomes "0ms".
        if count > 0 || (unit == "ms" && text.is_empty()) {
            milliseconds %= u128::from(scale);
            // Writing to a string cannot fail.
            let _ = write!(text, "{count}{unit}");
        }
    }
    text
}

/// Parses `64KiB`, `10MB` or `4096`.
pub(crate) fn parse_size(text: &str) -> Result<u64, &'static str> {
    const SHAPE: &str = "a size is written like \"64KiB\", \"1MiB\", \"10MB\" or 4096 (bytes)";
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(SHAPE);
    }
    let unit = unit.trim_start();
    let scale = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => *scale,
        None if unit.is_empty() => 1,
        None => return Err(SHAPE),
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(scale))
        .ok_or("this size is too large")
}

/// Writes what [`parse_size`] reads.
pub(crate) fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS[..3]
        .iter()
        .find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    match unit {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

/// A value of the operator in a message: one line, not endless, no control characters.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 100;
    let mut shown = String::from("`");
    for c in text.chars().take(SHOWN_MAX) {
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown.push_str(if text.chars().count() > SHOWN_MAX {
        "…`"
    } else {
        "`"
    });
    shown
}

/// The candidate that was probably meant.
pub fn did_you_mean<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = wrong.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&folded, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_without_unit_order_or_sense_are_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-1s",
            "1.5s",
            "5s1m",
            "1s1s",
            "5sec",
            "1m30",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("999999999999999999d").is_err());
    }

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds))
            );
            assert_eq!(duration_text(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(duration_text(Duration::ZERO), "0ms");
    }

    #[test]
    fn sizes_with_strange_units_are_refused() {
        for text in [
            "",
            "KiB",
            "1kib",
            "1.5MiB",
            "-1",
            "1 TB",
            "99999999999999999999",
            "99999999999GiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("10MB", 10_000_000),
            ("7", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(parse_size(&size_text(bytes)), Ok(bytes));
        }
        assert_eq!(size_text(65_536), "64KiB");
        assert_eq!(size_text(0), "0B");
    }

    #[test]
    fn values_in_messages_are_tame() {
        assert_eq!(quoted("a\u{1b}[31m\n"), "`a\\u{1b}[31m\\n`");
        assert!(quoted(&"x".repeat(10_000)).len() < 200);
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(did_you_mean("modul", ["module", "slot"]), Some("module"));
        assert_eq!(
            did_you_mean("REQUIRE", ["ignore", "require"]),
            Some("require")
        );
        assert_eq!(did_you_mean("zebra", ["module", "slot"]), None);
    }
}
