//! Axes: where a value stands, and which values are worth a line.

use std::fmt::Display;

use super::super::quantity::{Digits, Micros};

/// No axis goes further: a value beyond it is damaged, and would make lines without end.
const MOST: f64 = 1e15;

/// No axis of equal ratios begins below it.
const LEAST: f64 = 1e-3;

/// How values spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Equal steps.
    Linear,
    /// Equal ratios.
    Logarithmic,
    /// Nines: 90 %, 99 %, 99.9 % ... The values are shares below 1.
    Nines,
}

/// One axis, from its least to its greatest value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    kind: Kind,
    from: f64,
    to: f64,
}

impl Scale {
    /// From 0 to at least this, rounded up to a line.
    pub(super) fn from_zero(most: f64) -> Self {
        let most = if most > 0.0 { most.min(MOST) } else { 1.0 };
        let step = step(most);
        Self {
            kind: Kind::Linear,
            from: 0.0,
            to: (most / step).ceil() * step,
        }
    }

    /// Just these two ends, with equal steps.
    pub(super) fn between(from: f64, to: f64) -> Self {
        let (from, to) = (bounded(from), bounded(to));
        Self {
            kind: Kind::Linear,
            from,
            to: if to > from { to } else { from + 1.0 },
        }
    }

    /// From one to another value, both above 0, with equal ratios.
    pub(super) fn logarithmic(least: f64, most: f64) -> Self {
        let least = if least > LEAST {
            least.min(MOST)
        } else {
            LEAST
        };
        Self {
            kind: Kind::Logarithmic,
            from: least,
            to: bounded(most).max(least * 1.5),
        }
    }

    /// From 0 to this share, below 1.
    pub(super) fn nines(most: f64) -> Self {
        Self {
            kind: Kind::Nines,
            from: 0.0,
            to: bounded(most).clamp(0.9, 0.999_999_9),
        }
    }

    /// Where a value stands: 0 at the begin of the axis, 1 at its end.
    pub(super) fn place(self, value: f64) -> f64 {
        let turned = |value: f64| match self.kind {
            Kind::Linear => value,
            Kind::Logarithmic => value.max(f64::MIN_POSITIVE).ln(),
            Kind::Nines => -(1.0 - value).max(1e-12).log10(),
        };
        let (from, to) = (turned(self.from), turned(self.to));
        ((turned(value) - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// The values that get a line.
    pub(super) fn lines(self) -> Vec<f64> {
        match self.kind {
            Kind::Linear => self.linear_lines(),
            Kind::Logarithmic => self.logarithmic_lines(),
            Kind::Nines => {
                let nines = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];
                nines.into_iter().filter(|nine| *nine <= self.to).collect()
            }
        }
    }

    fn linear_lines(self) -> Vec<f64> {
        let step = step(self.to - self.from);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|line| line as f64 * step).collect()
    }

    fn logarithmic_lines(self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let within: &[f64] = match decades {
            few if few < 1.3 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            some if some < 2.5 => &[1.0, 2.0, 5.0],
            more if more < 5.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let first = self.from.log10().floor() as i32;
        let last = self.to.log10().ceil() as i32;
        let all = (first..=last)
            .flat_map(|decade| within.iter().map(move |line| line * 10_f64.powi(decade)));
        all.filter(|line| *line >= self.from * 0.999 && *line <= self.to * 1.001)
            .collect()
    }
}

/// A value that an axis can hold; what is no number is 0.
fn bounded(value: f64) -> f64 {
    if value.is_nan() {
        return 0.0;
    }
    value.clamp(-MOST, MOST)
}

/// A step of 1, 2 or 5 that makes about five lines.
fn step(range: f64) -> f64 {
    let rough = (range / 5.0).max(1e-9);
    let decade = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fits = steps
        .into_iter()
        .find(|step| step * decade >= rough * 0.999);
    fits.unwrap_or(10.0) * decade
}

/// A duration for an axis: without digits that say nothing.
pub(super) fn short_duration(us: f64) -> String {
    shorten(Micros(us))
}

/// A number for an axis.
pub(super) fn short_number(value: f64) -> String {
    match value {
        thousands if thousands >= 10_000.0 => format!("{}k", shorten(Digits(thousands / 1e3))),
        few => shorten(Digits(few)),
    }
}

fn shorten(quantity: impl Display) -> String {
    let text = quantity.to_string();
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {unit}").trim_end().to_owned()
}

/// A percentile for an axis.
pub(super) fn percentile(share: f64) -> String {
    let text = format!("{:.5}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_stay_at_the_edge() {
        let scale = Scale::logarithmic(10.0, 1_000.0);
        assert_eq!(scale.place(0.0), 0.0);
        assert_eq!(scale.place(1e9), 1.0);
        assert!((scale.place(100.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn an_axis_of_nothing_or_of_damaged_values_still_has_a_length_and_few_lines() {
        for scale in [
            Scale::from_zero(0.0),
            Scale::between(3.0, 3.0),
            Scale::logarithmic(0.0, 0.0),
            Scale::nines(0.0),
            Scale::from_zero(f64::INFINITY),
            Scale::between(f64::NAN, f64::INFINITY),
            Scale::between(f64::INFINITY, f64::INFINITY),
            Scale::logarithmic(0.0, f64::INFINITY),
            Scale::logarithmic(f64::INFINITY, f64::NAN),
            Scale::nines(f64::NAN),
        ] {
            assert!(scale.place(1.0).is_finite(), "{scale:?}");
            assert!(scale.lines().len() < 40, "{scale:?}");
        }
    }

    #[test]
    fn lines_are_round_and_few() {
        assert_eq!(
            Scale::from_zero(93.0).lines(),
            [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
        );
        let lines = Scale::logarithmic(150.0, 3_200.0).lines();
        assert_eq!(lines, [200.0, 500.0, 1_000.0, 2_000.0]);
        assert_eq!(Scale::nines(0.9995).lines(), [0.0, 0.5, 0.9, 0.99, 0.999]);
    }

    #[test]
    fn labels_carry_no_idle_digits() {
        assert_eq!(short_duration(2_000.0), "2 ms");
        assert_eq!(short_duration(150.0), "150 µs");
        assert_eq!(short_number(25_000.0), "25k");
        assert_eq!(percentile(0.999), "99.9 %");
        assert_eq!(percentile(0.9), "90 %");
    }
}
