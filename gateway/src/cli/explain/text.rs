//! A report for people: a line for each step, aligned within its section.

use std::fmt::Write as _;

use crate::explain::{Decision, Report, Step, StepOutcome};

/// Names are aligned up to this width; longer ones push their line out.
const NAME_WIDTH_MAX: usize = 32;

/// The whole report. The text ends without a line break.
pub(super) fn page(source: &str, report: &Report) -> String {
    let mut page = format!(
        "asked   {source}\nclient  {}\nat      {}\n",
        report.client, report.at
    );
    for steps in report.steps.chunk_by(|a, b| a.section == b.section) {
        let section = steps.first().map_or("", |step| step.section.as_str());
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n{section}");
        let width = steps.iter().map(|step| step.name.chars().count()).max();
        let width = width.unwrap_or(0).min(NAME_WIDTH_MAX);
        for step in steps {
            line(&mut page, step, width);
        }
    }
    let verdict = &report.verdict;
    let word = match verdict.decision {
        Decision::Served => "served",
        Decision::Refused => "refused",
    };
    let code = verdict.reason.as_ref();
    let code = code.map_or(String::new(), |code| format!("{code}: "));
    let _ = write!(page, "\n{word:<11}  {code}{}", verdict.detail);
    let more = [
        ("client sees", Some(&verdict.client_sees)),
        ("cause", verdict.cause.as_ref()),
        ("cure", verdict.cure.as_ref()),
    ];
    for (word, text) in more {
        if let Some(text) = text {
            let _ = write!(page, "\n{word:<11}  {text}");
        }
    }
    page
}

fn line(page: &mut String, step: &Step, width: usize) {
    let word = match step.outcome {
        StepOutcome::Pass => "pass",
        StepOutcome::Fail => "FAIL",
        StepOutcome::NotReached | StepOutcome::NotAsked => "-",
        StepOutcome::Note => "",
    };
    let mut text = format!("{word:<4}  {:<width$}  ", step.name);
    if let Some(reason) = &step.reason {
        let _ = write!(text, "{reason}: "); // A String takes everything.
    }
    text.push_str(&step.detail);
    if let Some(place) = &step.place {
        let _ = write!(text, "  ({place})"); // A String takes everything.
    }
    page.push_str(text.trim_end());
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Verdict;

    #[test]
    fn steps_are_aligned_and_the_refusal_says_what_to_do() {
        let step = |name: &str, outcome, reason: Option<&str>, place: Option<&str>| Step {
            section: "handshake".to_owned(),
            name: name.to_owned(),
            outcome,
            detail: "detail".to_owned(),
            reason: reason.map(str::to_owned),
            place: place.map(str::to_owned),
        };
        let report = Report {
            client: "c".to_owned(),
            at: "t".to_owned(),
            steps: vec![
                step("server name", StepOutcome::Pass, None, Some("a.toml:3")),
                step("key", StepOutcome::Fail, Some("CODE"), None),
                step("eku", StepOutcome::NotReached, None, None),
            ],
            verdict: Verdict {
                decision: Decision::Refused,
                detail: "meaning".to_owned(),
                client_sees: "an alert".to_owned(),
                reason: Some("CODE".to_owned()),
                cause: Some("why".to_owned()),
                cure: Some("do".to_owned()),
            },
        };
        let expected = "asked   s\nclient  c\nat      t\n\nhandshake\n\
            pass  server name  detail  (a.toml:3)\n\
            FAIL  key          CODE: detail\n\
            -     eku          detail\n\n\
            refused      CODE: meaning\nclient sees  an alert\ncause        why\ncure         do";
        assert_eq!(page("s", &report), expected);
    }
}
