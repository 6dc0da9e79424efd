//! Reason codes: what they mean, what usually is behind them, what to do.

use portcullis_config::did_you_mean;
use serde_json::{Value, json};

use super::super::{Exit, complain, say};
use crate::explain::advice;
use crate::reason::Reason;

/// One code, in whatever case it is written.
pub(super) fn one(code: &str, as_json: bool) -> Exit {
    let Some(reason) = Reason::of_code(code) else {
        let known = Reason::ALL.iter().map(|reason| reason.code());
        let help = match did_you_mean(code, known) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "`portcullis explain --list` shows all of them".to_owned(),
        };
        return complain(
            format_args!("error: no reason code is `{code}`; {help}"),
            Exit::Usage,
        );
    };
    if as_json {
        return say(value(reason));
    }
    let told = advice(reason);
    say(format_args!(
        "{}\nmeaning  {}\ncause    {}\ncure     {}",
        reason.code(),
        reason.meaning(),
        told.cause,
        told.cure
    ))
}

/// Every code with its meaning.
pub(super) fn all(as_json: bool) -> Exit {
    if as_json {
        return say(Value::from_iter(Reason::ALL.iter().copied().map(value)));
    }
    let longest = Reason::ALL.iter().map(|it| it.code().len()).max();
    let width = longest.unwrap_or(0);
    for reason in Reason::ALL {
        say(format_args!(
            "{:<width$}  {}",
            reason.code(),
            reason.meaning()
        ));
    }
    Exit::Done
}

fn value(reason: Reason) -> Value {
    let told = advice(reason);
    json!({
        "code": reason.code(),
        "meaning": reason.meaning(),
        "cause": told.cause,
        "cure": told.cure,
    })
}
