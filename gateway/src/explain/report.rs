//! The answer: steps in the order of a connection's life, and what they come to.

use std::ops::Range;

use portcullis_config::Places;
use serde::{Deserialize, Serialize};

use super::cures::advice;
use crate::reason::Reason;

/// What happens to a client, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who it says it is.
    pub client: String,
    /// The time that is looked at, RFC 3339.
    pub at: String,
    /// In the order of a connection's life.
    pub steps: Vec<Step>,
    /// What they come to.
    pub verdict: Verdict,
}

/// One thing that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `handshake`, `trust bundle NAME`, `every bundle`, `request`, `connection`.
    pub section: String,
    /// What is looked at.
    pub name: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// For people.
    pub detail: String,
    /// The code of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// File and line of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Nothing is wrong.
    Pass,
    /// The client is refused because of it.
    Fail,
    /// Something else failed first.
    NotReached,
    /// The configuration does not ask for it.
    NotAsked,
    /// Belongs to the step before.
    Note,
}

/// What the steps come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the client is served.
    pub decision: Decision,
    /// For people.
    pub detail: String,
    /// What the client sees.
    pub client_sees: String,
    /// The code of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What usually is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// Whether a client is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It is.
    Served,
    /// It is not.
    Refused,
}

impl Verdict {
    pub(super) fn served(detail: String, client_sees: &str) -> Self {
        Self {
            decision: Decision::Served,
            detail,
            client_sees: client_sees.to_owned(),
            reason: None,
            cause: None,
            cure: None,
        }
    }

    pub(super) fn refused(reason: Reason, client_sees: String) -> Self {
        let advice = advice(reason);
        Self {
            decision: Decision::Refused,
            detail: reason.meaning().to_owned(),
            client_sees,
            reason: Some(reason.code().to_owned()),
            cause: Some(advice.cause.to_owned()),
            cure: Some(advice.cure.to_owned()),
        }
    }
}

/// A report that is being written.
#[derive(Debug)]
pub(super) struct Story<'a> {
    places: &'a Places,
    section: String,
    pub(super) steps: Vec<Step>,
}

impl<'a> Story<'a> {
    pub(super) fn new(places: &'a Places) -> Self {
        Self {
            places,
            section: String::new(),
            steps: Vec::new(),
        }
    }

    /// What the steps from here on are about.
    pub(super) fn section(&mut self, name: impl Into<String>) {
        self.section = name.into();
    }

    /// What they are about now.
    pub(super) fn current(&self) -> &str {
        &self.section
    }

    pub(super) fn pass(&mut self, name: &str, detail: impl Into<String>, at: &Range<usize>) {
        self.tell((StepOutcome::Pass, None), name, detail.into(), at);
    }

    pub(super) fn fail(&mut self, name: &str, (reason, detail): (Reason, &str), at: &Range<usize>) {
        let detail = match detail {
            "" => reason.meaning().to_owned(),
            detail => detail.to_owned(),
        };
        self.tell((StepOutcome::Fail, Some(reason)), name, detail, at);
    }

    pub(super) fn not_reached(&mut self, name: &str) {
        let detail = "not reached".to_owned();
        self.tell((StepOutcome::NotReached, None), name, detail, &(0..0));
    }

    pub(super) fn not_asked(&mut self, name: &str, detail: impl Into<String>, at: &Range<usize>) {
        self.tell((StepOutcome::NotAsked, None), name, detail.into(), at);
    }

    pub(super) fn note(&mut self, name: &str, detail: impl Into<String>, at: &Range<usize>) {
        self.tell((StepOutcome::Note, None), name, detail.into(), at);
    }

    fn tell(
        &mut self,
        (outcome, reason): (StepOutcome, Option<Reason>),
        name: &str,
        detail: String,
        at: &Range<usize>,
    ) {
        self.steps.push(Step {
            section: self.section.clone(),
            name: name.to_owned(),
            outcome,
            detail,
            reason: reason.map(|reason| reason.code().to_owned()),
            place: self.places.find(at).map(|place| place.to_string()),
        });
    }
}

/// A stretch of time in its largest whole unit.
pub(super) fn stretch(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::stretch;

    #[test]
    fn time_is_told_in_the_largest_unit_that_says_enough() {
        let told = [-1, 119, 120, 7_199, 7_200, 172_799, 172_800].map(stretch);
        let expected = ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"];
        assert_eq!(told, expected);
    }
}
