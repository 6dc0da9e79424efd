//! What the control socket answers from the running gateway: the deny list, who is inside, and why somebody is
//! served or refused.

use rustls_pki_types::UnixTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::probes::{State, unix_seconds};
use crate::explain::{Asked, explain};
use crate::trust::DenyEntry;

/// Answers a request that changes nothing but the deny list.
pub(super) fn answer(word: &str, argument: &str, state: &State) -> Result<String, String> {
    let answer = match word {
        "deny" => deny(argument, state)?,
        "clients" => json!(state.shared.inventory.seen(unix_seconds())),
        "explain" => explanation(argument, state)?,
        "rollout" => json!(state.shared.inventory.rollout()),
        _ => {
            return Err(format!(
                "unknown command {word:?}; is the gateway older than this program?"
            ));
        }
    };
    Ok(answer.to_string())
}

/// Walks a client through the rules in force.
fn explanation(argument: &str, state: &State) -> Result<Value, String> {
    let asked: Asked = serde_json::from_str(argument).map_err(|error| error.to_string())?;
    let question = asked.check(UnixTime::now());
    let question = question.map_err(|error| error.to_string())?;
    let snapshot = state.shared.snapshot.load();
    let report = explain(&snapshot.rules, &question).map_err(|error| error.to_string())?;
    Ok(json!({ "generation": snapshot.generation, "report": report }))
}

/// `deny` on the wire.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Deny {
    Add {
        value: String,
        /// Seconds from now.
        #[serde(default)]
        seconds: Option<u64>,
    },
    Remove {
        value: String,
    },
    List {},
}

fn deny(argument: &str, state: &State) -> Result<Value, String> {
    let wanted: Deny = serde_json::from_str(argument).map_err(|error| error.to_string())?;
    let snapshot = state.shared.snapshot.load();
    let list = &snapshot.rules.deny;
    match wanted {
        Deny::Add { value, seconds } => {
            let now = u64::try_from(unix_seconds()).unwrap_or(0);
            let until = seconds.map(|seconds| now.saturating_add(seconds));
            let entry = DenyEntry::parse(&value, until).map_err(|error| error.to_string())?;
            list.add(entry.clone(), now)
                .map_err(|error| error.to_string())?;
            tracing::warn!(value = %entry.value, "added to the deny list");
            Ok(json!(entry))
        }
        Deny::Remove { value } => {
            let entry = DenyEntry::parse(&value, None).map_err(|error| error.to_string())?;
            match list.remove(&entry).map_err(|error| error.to_string())? {
                true => {
                    tracing::warn!(value = %entry.value, "removed from the deny list");
                    Ok(json!(entry))
                }
                false => Err(format!(
                    "{} was not added here; what the configuration denies is changed there",
                    entry.value
                )),
            }
        }
        Deny::List {} => Ok(json!({ "added": list.added(), "entries": list.len() })),
    }
}
