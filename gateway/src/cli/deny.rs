//! `portcullis deny`: turns clients away at once, without a reload.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::socket::Socket;
use super::{Exit, complain, say};

/// What to do with the deny list of a running gateway.
#[derive(Subcommand)]
pub(super) enum DenyCommand {
    /// Turn a client away, now and on its standing connections.
    Add {
        /// A SPIFFE ID (also with a last segment `*` or `**`), the SHA-256 of a certificate, or a serial number.
        value: String,
        /// For how long: `30m`, `24h`, `7d`. Default: for good.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        how_long: Option<Duration>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Let a client in again that was added here.
    Remove {
        /// As it was added.
        value: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Show what was added here.
    List {
        #[command(flatten)]
        socket: Socket,
    },
}

impl DenyCommand {
    pub(super) fn run(self) -> Exit {
        let (wanted, socket) = match self {
            Self::Add {
                value,
                how_long,
                socket,
            } => {
                let seconds = how_long.map(|time| time.as_secs());
                (
                    json!({ "do": "add", "value": value, "seconds": seconds }),
                    socket,
                )
            }
            Self::Remove { value, socket } => (json!({ "do": "remove", "value": value }), socket),
            Self::List { socket } => (json!({ "do": "list" }), socket),
        };
        let listing = wanted["do"] == "list";
        let answer = match socket.call(&format!("deny {wanted}")) {
            Ok(answer) => answer,
            Err(exit) => return exit,
        };
        let Ok(answer) = serde_json::from_str::<Value>(&answer) else {
            return complain(
                "the gateway's answer is not what this program understands",
                Exit::Failed,
            );
        };
        match listing {
            false => say(line(&answer)),
            true => {
                let added = answer["added"].as_array().into_iter().flatten();
                added.for_each(|entry| {
                    say(line(entry));
                });
                say(format_args!(
                    "{} entries in force, with those of the configuration",
                    answer["entries"]
                ))
            }
        }
    }
}

fn line(entry: &Value) -> String {
    let text = |key: &str| entry[key].as_str().unwrap_or_default();
    let until = entry["until"]
        .as_i64()
        .and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    match until {
        Some(until) => format!("{} {} until {until}", text("kind"), text("value")),
        None => format!("{} {}", text("kind"), text("value")),
    }
}

/// A number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds).filter(|seconds| *seconds > 0)
    });
    parsed
        .map(Duration::from_secs)
        .ok_or_else(|| "write it as \"30m\", \"24h\" or \"7d\"".to_owned())
}
