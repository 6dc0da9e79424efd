//! `portcullis tickets`: the keys of session tickets, of a running gateway and of its fleet.

mod rotate;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use portcullis_hsm::generate::Raise;
use serde_json::Value;

use super::socket::Socket;
use super::{Exit, complain, say};
use crate::ticket_keys::generate_line;

/// What to do with the keys of session tickets.
#[derive(Subcommand)]
pub(super) enum TicketsCommand {
    /// How a running gateway seals tickets, and what became of those that were offered.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Have another key seal from now on. Nobody loses a session, unless with --revoke.
    Rotate {
        /// End every session: older tickets do not open any more, and kept sessions are forgotten.
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Make a key for `keys = { file = ... }` or `wrap = "file:..."`.
    GenerateKey {
        /// The file to make, readable by its owner alone; `-` is standard output.
        file: PathBuf,
    },
}

impl TicketsCommand {
    pub(super) fn run(self) -> Exit {
        match self {
            Self::Status { json, socket } => match socket.call("tickets status") {
                Ok(answer) if json => say(answer),
                Ok(answer) => status(&answer),
                Err(exit) => exit,
            },
            Self::Rotate { revoke, socket } => {
                let raise = match revoke {
                    true => Raise::Revoke,
                    false => Raise::Rotate,
                };
                rotate::rotate(raise, socket)
            }
            Self::GenerateKey { file } => generate_key(&file),
        }
    }
}

fn status(answer: &str) -> Exit {
    match serde_json::from_str::<Value>(answer) {
        Ok(status) => say(text(&status).trim_end()),
        Err(_) => complain(
            "the gateway's answer is not what this program understands",
            Exit::Failed,
        ),
    }
}

/// The status for people.
fn text(status: &Value) -> String {
    let mut text = String::new();
    let word = |key: &str| status[key].as_str().unwrap_or_default();
    let mut line = |name: &str, told: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12}{}", told.trim_end());
    };
    line("source", format!("{} {}", word("source"), word("place")));
    match status["error"].as_str() {
        Some(error) => line("", format!("FAILS: {error}")),
        None => line("", "is well".to_owned()),
    }
    if let (Some(current), Some(floor)) = (
        status["generation"].as_u64(),
        status["accepted_from"].as_u64(),
    ) {
        let told = format!("{current}, tickets open from {floor} on");
        line("generation", told);
    }
    match &status["seals"] {
        Value::Null => line("seals", "no key: no tickets are given out".to_owned()),
        key => line("seals", key_text(key)),
    }
    for (at, key) in status["opens"].as_array().into_iter().flatten().enumerate() {
        line(if at == 0 { "opens" } else { "" }, key_text(key));
    }
    let sessions = &status["sessions"];
    let told = format!(
        "{} kept in {} of {} bytes; {} found, {} not found, {} evicted",
        sessions["entries"],
        sessions["bytes"],
        sessions["capacity"],
        sessions["hits"],
        sessions["misses"],
        sessions["evicted"]
    );
    line("sessions", told);
    line("given out", status["issued"].to_string());
    for (name, key) in [
        ("not given", "not_issued"),
        ("declined", "declined"),
        ("early data", "early_data"),
    ] {
        line(name, counts(&status[key]));
    }
    for redis in status["redis"].as_array().into_iter().flatten() {
        let state = match redis["error"].as_str() {
            Some(error) => format!("away: {error}"),
            None => "up".to_owned(),
        };
        let name = redis["name"].as_str().unwrap_or_default();
        let told = format!("{name} {state}, {} failures", redis["failures"]);
        line("redis", told);
    }
    text
}

fn key_text(key: &Value) -> String {
    let text = |name: &str| key[name].as_str().unwrap_or_default();
    let versions = match key["tls12"].as_bool() {
        Some(true) => "TLS 1.2 and 1.3",
        _ => "TLS 1.3",
    };
    let until = match time(&key["seals_until"]) {
        Some(until) => format!(" to {until}"),
        None => String::new(),
    };
    format!(
        "{}  {}, {versions}, seals from {}{until}",
        text("id"),
        text("name"),
        time(&key["seals_from"]).unwrap_or_default()
    )
}

/// Those that are not 0.
fn counts(counts: &Value) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let counts = counts.filter(|(_, count)| count.as_u64() != Some(0));
    let counts: Vec<_> = counts
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    match counts.is_empty() {
        true => "none".to_owned(),
        false => counts.join(", "),
    }
}

fn time(seconds: &Value) -> Option<String> {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::from_unix_timestamp(seconds.as_i64()?).ok()?;
    time.format(format).ok()
}

fn generate_key(file: &Path) -> Exit {
    let line = match generate_line() {
        Ok(line) => line,
        Err(error) => return complain(error, Exit::Failed),
    };
    if file == Path::new("-") {
        if io::stdout().is_terminal() {
            let advice =
                "a key does not belong on a screen: name a file, or pipe it to where it is kept";
            return complain(advice, Exit::Usage);
        }
        return match writeln!(io::stdout(), "{}", *line) {
            Ok(()) => Exit::Done,
            Err(error) => complain(error, Exit::Failed),
        };
    }
    let mut options = File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut file| {
        writeln!(file, "{}", *line)?;
        file.sync_all()
    });
    let shown = file.display();
    match written {
        Ok(()) => say(format_args!(
            "made {shown}: give it to every gateway of the fleet"
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => complain(
            format_args!(
                "{shown} is there already; `portcullis tickets rotate` puts another key in it"
            ),
            Exit::Failed,
        ),
        Err(error) => complain(format_args!("{shown}: {error}"), Exit::Failed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_source_that_fails_and_seals_nothing_is_told_so() {
        let status = json!({
            "source": "redis", "place": "main", "error": "it is away", "seals": null, "opens": [],
            "declined": { "expired": 2, "lineage": 0 },
            "redis": [{ "name": "main", "up": false, "failures": 3, "error": "no answer" }],
        });
        let text = text(&status);
        for told in [
            "source      redis main\n",
            "FAILS: it is away\n",
            "seals       no key: no tickets are given out\n",
            "declined    2 expired\n",
            "redis       main away: no answer, 3 failures\n",
        ] {
            assert!(text.contains(told), "{told:?} in {text}");
        }
    }

    #[test]
    fn a_key_is_told_with_its_time_and_versions() {
        let key = json!({
            "id": "00ff", "name": "epoch 7", "seals_from": 0, "seals_until": 3600, "tls12": false,
        });
        let told =
            "00ff  epoch 7, TLS 1.3, seals from 1970-01-01T00:00:00Z to 1970-01-01T01:00:00Z";
        assert_eq!(key_text(&key), told);
    }

    #[test]
    fn a_key_file_is_made_for_its_owner_alone_and_never_over_another() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tickets.keys");
        assert_eq!(generate_key(&file), Exit::Done);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let first = std::fs::read_to_string(&file).unwrap();
        assert_eq!(generate_key(&file), Exit::Failed);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    }
}
