//! Asking a module for its tokens in a process of its own: a vendor's library may crash, hang, or fork.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use portcullis_hsm::generate::free_slots;
use portcullis_hsm::tokens;
use serde_json::{Value, json};

use super::Report;
use super::describe::token_json;

/// How long a module may take to tell its tokens.
const LIMIT: Duration = Duration::from_secs(5);

/// More than any honest answer.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// How often it is looked whether a process that closed its output has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What a module answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its tokens.
    pub(super) tokens: Vec<Value>,
    /// How many slots are free for another.
    pub(super) free_slots: u64,
}

/// An answer, or what went wrong.
pub(super) type Probed = Result<Answer, String>;

#[derive(Args)]
pub(super) struct Probe {
    /// The PKCS#11 library.
    #[arg(long)]
    module: PathBuf,
}

/// A module that is being asked.
pub(super) struct Probing {
    child: Result<Child, String>,
    /// What it prints, once it has printed all: answer and complaints.
    output: Receiver<(String, String)>,
    end: Instant,
}

impl Probe {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let tokens = tokens(&self.module)?;
        let tokens: Vec<_> = tokens.iter().map(token_json).collect();
        let value = json!({ "tokens": tokens, "free_slots": free_slots(&self.module)? });
        Ok(Report::new(value.to_string(), value))
    }
}

impl Probing {
    /// Starts this program again as `hsm probe`.
    pub(super) fn start(module: &Path) -> Self {
        let (sender, output) = channel();
        let child = std::env::current_exe().and_then(|program| {
            let mut child = Command::new(program)
                .args(["hsm", "probe", "--output", "json", "--module"])
                .arg(module)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let pipes = (child.stdout.take(), child.stderr.take());
            thread::Builder::new().spawn(move || {
                // Nobody waits any more after the limit.
                let _ = sender.send(read(pipes));
            })?;
            Ok(child)
        });
        Probing {
            child: child.map_err(|error| format!("it cannot be probed: {error}")),
            output,
            end: Instant::now() + LIMIT,
        }
    }

    /// Waits for the answer, until the limit.
    pub(super) fn finish(self) -> Probed {
        let mut child = self.child?;
        let left = self.end.saturating_duration_since(Instant::now());
        let output = self.output.recv_timeout(left);
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < self.end => thread::park_timeout(LOOK),
                _ => break None,
            }
        };
        let (Some(status), Ok((answer, complaint))) = (status, output) else {
            // It may have ended by itself just now.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("no answer within {} s", LIMIT.as_secs()));
        };
        if !status.success() {
            let last = complaint
                .lines()
                .map(str::trim)
                .rfind(|line| !line.is_empty());
            return Err(match (status.code(), last) {
                (Some(_), Some(last)) => last.to_owned(),
                _ => format!("it ended the process: {status}"),
            });
        }
        answer_of(&answer).ok_or_else(|| "its answer is not readable".to_owned())
    }
}

/// A module may print something of its own before the answer.
fn answer_of(printed: &str) -> Option<Answer> {
    let printed = &printed[printed.find('{')?..];
    let value: Value = serde_json::from_str(printed).ok()?;
    Some(Answer {
        tokens: value.get("tokens")?.as_array()?.clone(),
        free_slots: value.get("free_slots")?.as_u64()?,
    })
}

fn read((stdout, stderr): (Option<ChildStdout>, Option<ChildStderr>)) -> (String, String) {
    let complaints = thread::spawn(move || text(stderr));
    let answer = text(stdout);
    (answer, complaints.join().unwrap_or_default())
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What came before an error is all there is.
        let _ = pipe.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::answer_of;

    #[test]
    fn the_answer_is_found_behind_chatter_and_nothing_else_is_an_answer() {
        let printed = "vendor v1.2\n{\"tokens\": [{\"slot\": 1}], \"free_slots\": 2}\n";
        let answer = answer_of(printed).unwrap();
        assert_eq!((answer.tokens.len(), answer.free_slots), (1, 2));
        for printed in ["", "tokens", "{}", "{\"tokens\": []}"] {
            assert!(answer_of(printed).is_none(), "{printed}");
        }
    }
}
