//! Why a client is served or refused, told step by step with the lines of the configuration.
//!
//! Plain functions: the time comes in, nothing is asked over a network, nothing is counted or learned. There is no
//! second opinion here: names, bundles, the deny list, routes and rules are asked as a connection asks them, and
//! what they answer is told. `snapshot` knows nothing of tokens in [`crate::snapshot::Rules`], so a file is enough.

mod bundle;
mod connection;
mod cures;
mod handshake;
mod question;
mod report;
mod request;

use crate::identity::Identity;
use crate::revocation::date;
use crate::snapshot::Rules;

use self::report::Story;

pub use cures::{Advice, advice};
pub use question::{Asked, AskedRequest, Question, QuestionError};
pub use report::{Decision, Report, Step, StepOutcome, Verdict};

/// Walks a client through the rules.
///
/// # Errors
/// The question names what is not there, or leaves open what must be known.
pub fn explain(rules: &Rules, question: &Question) -> Result<Report, QuestionError> {
    let mut story = Story::new(&rules.places);
    let verdict = match connection::passed_through(&mut story, rules, question)? {
        Some(verdict) => verdict,
        None => ends_here(&mut story, rules, question)?,
    };
    Ok(Report {
        client: client(question),
        at: date(i64::try_from(question.at.as_secs()).unwrap_or(i64::MAX)),
        steps: story.steps,
        verdict,
    })
}

/// Walks a client through a handshake, and what follows it.
fn ends_here(
    story: &mut Story<'_>,
    rules: &Rules,
    question: &Question,
) -> Result<Verdict, QuestionError> {
    Ok(
        match (handshake::tell(story, rules, question)?, &question.request) {
            (Err(reason), _) => handshake::refused(reason),
            (Ok(connection), _) if connection::carries_no_http(&connection) => {
                connection::tell(story, rules, (&connection, question))
            }
            (Ok(connection), Some(asked)) => {
                request::tell(story, rules, (&connection, question, asked))?
            }
            (Ok(connection), None) => {
                let mut detail = "the handshake succeeds".to_owned();
                if connection
                    .shown
                    .proof()
                    .is_some_and(|proof| proof.is_pending())
                {
                    detail.push_str(", and OCSP is asked before the first request");
                }
                Verdict::served(detail, "a finished handshake")
            }
        },
    )
}

/// Who the client says it is.
fn client(question: &Question) -> String {
    match question.chain.first().map(Identity::read) {
        None => "without certificate".to_owned(),
        Some(Err(_)) => "with something that is no certificate".to_owned(),
        Some(Ok(identity)) => named(&identity),
    }
}

/// The name a person would use.
fn named(identity: &Identity) -> String {
    let name = identity.spiffe.as_ref();
    let name = name.or(identity.uris.first()).or(identity.dns.first());
    let name = name.unwrap_or(&identity.subject);
    match name.is_empty() {
        true => format!("serial {}", identity.serial),
        false => name.clone(),
    }
}
