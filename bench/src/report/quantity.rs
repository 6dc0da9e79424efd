//! Quantities as people read them: three digits that matter, and a unit that fits.
//!
//! What programs read is the JSON, which rounds nothing.

use std::fmt;

/// A duration in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Micros(pub f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(us) = *self;
        match us {
            _ if us < 999.5 => write!(f, "{} µs", Digits(us)),
            _ if us < 999_500.0 => write!(f, "{} ms", Digits(us / 1e3)),
            _ => write!(f, "{} s", Digits(us / 1e6)),
        }
    }
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kibibytes(pub f64);

impl fmt::Display for Kibibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kib) = *self;
        match kib {
            _ if kib < 1024.0 => write!(f, "{} KiB", Digits(kib)),
            _ if kib < 1024.0 * 1024.0 => write!(f, "{} MiB", Digits(kib / 1024.0)),
            _ => write!(f, "{} GiB", Digits(kib / (1024.0 * 1024.0))),
        }
    }
}

/// A share between 0 and 1, as a percentage. Only all is 100 %, only nothing is 0 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        match percent {
            _ if percent > 99.9 && percent < 100.0 => f.write_str("> 99.9 %"),
            _ if percent > 0.0 && percent < 0.1 => f.write_str("< 0.1 %"),
            _ if percent.fract().abs() < 0.05 => write!(f, "{percent:.0} %"),
            _ => write!(f, "{percent:.1} %"),
        }
    }
}

/// A number with three digits that matter; thousands are kept whole, and told apart by commas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Digits(pub f64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = *self;
        match value.abs() {
            size if size >= 99.95 => write!(f, "{}", Count(value.round().max(0.0) as u64)),
            size if size >= 9.995 => write!(f, "{value:.1}"),
            0.0 => f.write_str("0"),
            size if size < 0.1 => write!(f, "{value:.3}"),
            _ => write!(f, "{value:.2}"),
        }
    }
}

/// A count, its thousands told apart by commas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut told = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                told.push(',');
            }
            told.push(digit);
        }
        f.pad(&told)
    }
}

/// The name of more than one of a unit: `handshakes`, but `GB`.
pub fn plural(unit: &str) -> String {
    match unit {
        "GB" => unit.to_owned(),
        "connection+request" => "connections+requests".to_owned(),
        _ => format!("{unit}s"),
    }
}

/// The middle of some values; none of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => values.get(middle).copied(),
        _ => Some((values.get(middle - 1)? + values.get(middle)?) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_three_digits_and_the_unit_that_fits() {
        let told = [
            0.05, 0.4, 7.25, 45.25, 183.4, 999.7, 5_230.0, 999_600.0, 12e6,
        ];
        let told = told.map(|us| Micros(us).to_string()).join(", ");
        assert_eq!(
            told,
            "0.050 µs, 0.40 µs, 7.25 µs, 45.2 µs, 183 µs, 1.00 ms, 5.23 ms, 1.00 s, 12.0 s"
        );
    }

    #[test]
    fn only_all_is_a_hundred_percent_and_only_nothing_is_none() {
        let told = [0.0, 0.0001, 0.25, 0.4567, 0.9996, 1.0].map(|share| Share(share).to_string());
        assert_eq!(
            told,
            ["0 %", "< 0.1 %", "25 %", "45.7 %", "> 99.9 %", "100 %"]
        );
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(Count(7).to_string(), "7");
        assert_eq!(Count(1_000).to_string(), "1,000");
        assert_eq!(Count(12_345_678).to_string(), "12,345,678");
        assert_eq!(Kibibytes(11.2 * 1024.0).to_string(), "11.2 MiB");
    }

    #[test]
    fn the_middle_of_an_even_number_is_between_the_two() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
