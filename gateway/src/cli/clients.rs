//! `portcullis clients` and `portcullis rollout`: who was seen, and who would be refused.

use serde_json::Value;

use super::socket::Socket;
use super::{Exit, complain, say};

/// A report of a running gateway.
#[derive(clap::Args)]
pub(super) struct Report {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Report {
    /// The client certificates that were seen, those that end first in front.
    pub(super) fn clients(self) -> Exit {
        self.show("clients", "no client certificate was seen yet", |entry| {
            let weak: Vec<_> = entry["weak"].as_array().into_iter().flatten().collect();
            let weak: Vec<_> = weak.iter().filter_map(|point| point.as_str()).collect();
            format!(
                "{:>5} days  {}  issuer {}  serial {}  {} handshakes, last {}{}{}",
                entry["days_left"],
                name(entry),
                text(entry, "issuer"),
                text(entry, "serial"),
                entry["connections"],
                time(entry, "last_seen"),
                if weak.is_empty() { "" } else { "  weak: " },
                weak.join(", ")
            )
        })
    }

    /// Who would be refused if certificates were required, and why.
    pub(super) fn rollout(self) -> Exit {
        self.show(
            "rollout",
            "nobody that was seen would be refused",
            |entry| {
                let detail = text(entry, "detail");
                let more = if detail.is_empty() {
                    String::new()
                } else {
                    format!(" ({detail})")
                };
                format!(
                    "{}  site {}  {}{more}  {} handshakes, last {}",
                    text(entry, "who"),
                    text(entry, "site"),
                    text(entry, "reason"),
                    entry["connections"],
                    time(entry, "last_seen"),
                )
            },
        )
    }

    fn show(self, word: &str, nobody: &str, line: impl Fn(&Value) -> String) -> Exit {
        let answer = match self.socket.call(word) {
            Ok(answer) => answer,
            Err(exit) => return exit,
        };
        if self.json {
            return say(answer);
        }
        match serde_json::from_str::<Vec<Value>>(&answer) {
            Ok(entries) if entries.is_empty() => say(nobody),
            Ok(entries) => {
                for entry in &entries {
                    say(line(entry));
                }
                Exit::Done
            }
            Err(_) => complain(
                "the gateway's answer is not what this program understands",
                Exit::Failed,
            ),
        }
    }
}

fn name(entry: &Value) -> String {
    match entry["spiffe"].as_str() {
        Some(id) => id.to_owned(),
        None => text(entry, "subject").to_owned(),
    }
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_default()
}

fn time(entry: &Value, key: &str) -> String {
    let seconds = entry[key].as_i64().unwrap_or_default();
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(format).ok())
        .unwrap_or_default()
}
