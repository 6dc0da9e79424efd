//! The command line of `portcullis-bench`.
//!
//! Each command is a file or shares one with its like: its options as `clap::Args`, and a function that takes them
//! and answers with `anyhow::Result<ExitCode>`.

mod compare;
mod load;
mod options;
mod origin;
mod peers;

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;

use crate::load::Mode;

/// How a command ends that was asked for something that is not possible.
const USAGE: u8 = 2;
/// How a command ends that has nothing to tell.
const NOTHING_MEASURED: u8 = 3;

/// Load for TLS servers, what it costs them, and reports of both.
///
/// Ends with 0; with 1 where a --fail-if holds; with 2 where the command line is wrong; with 3 where nothing could be
/// measured.
#[derive(Debug, Parser)]
#[command(name = "portcullis-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// handshakes: connect, handshake, close
    Handshake(load::Plain),
    /// a new connection and one request on it
    Request(load::Plain),
    /// requests on connections that stay, over HTTP/1.1, 2 or 3
    Keepalive(load::Lasting),
    /// bytes of large answers
    Bulk(load::Lasting),
    /// connections that stay open and do nothing: memory for each
    Idle(load::Plain),
    /// handshakes, and what they do to requests on an unrelated connection
    Mixed(load::Beside),
    /// the highest rate at which latency stays within a bound
    Ramp(load::Search),
    Compare(compare::Options),
    Peers(peers::Options),
    Origin(origin::Options),
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Handshake(options) => load::plain(&options, Mode::Handshake),
            Self::Request(options) => load::plain(&options, Mode::Request),
            Self::Keepalive(options) => load::lasting(&options, Mode::Keepalive),
            Self::Bulk(options) => load::lasting(&options, Mode::Bulk),
            Self::Idle(options) => load::plain(&options, Mode::Idle),
            Self::Mixed(options) => load::beside(&options),
            Self::Ramp(options) => load::search(&options),
            Self::Compare(options) => compare::run(options),
            Self::Peers(options) => peers::run(options),
            Self::Origin(options) => origin::run(options),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    Arguments::parse().command.run().unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::from(USAGE)
    })
}

#[expect(clippy::print_stdout, reason = "the command line talks to people")]
fn say(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "the command line talks to people")]
fn complain(what: &(impl Display + ?Sized)) {
    eprintln!("portcullis-bench: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        let words = line.split(' ');
        let words = std::iter::once("portcullis-bench").chain(words);
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_not_possible_is_refused_and_says_what_is() {
        for (line, expected) in [
            ("handshake localhost:1", "--ca"),
            (
                "handshake localhost:1 --insecure --ca x",
                "cannot be used with",
            ),
            (
                "handshake localhost:1 --insecure --client-cert x",
                "--client-key",
            ),
            ("handshake localhost:1 --insecure --group p521", "mlkem"),
            (
                "handshake localhost:1 --insecure --seconds soon",
                "us, ms, s or m",
            ),
            ("handshake localhost:1 --insecure --fail-if p98>1ms", "p99"),
            (
                "handshake localhost:1 --insecure --protocol h2",
                "--protocol",
            ),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(expected), "{line}: {told}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_before_anything_runs() {
        for line in [
            "keepalive localhost:1 --insecure --streams 2",
            "keepalive localhost:1 --insecure --protocol h3 --tls 1.2",
            "bulk localhost:1 --insecure --rate 5",
            "ramp localhost:1 --insecure --rate 5",
            "handshake localhost:1 --insecure --rate 0",
            "handshake localhost:1 --insecure --resume=1.5",
            "handshake localhost:1 --insecure --concurrency 0",
            "handshake localhost:1 --insecure --group p256 --force-hello-retry=p256",
            "handshake localhost:1 --insecure --tls 1.2 --force-hello-retry",
            "handshake localhost:1 --insecure --server name=no-such-process",
            "handshake localhost:1 --insecure --client-certs /nowhere",
            "handshake http://localhost:1 --insecure",
        ] {
            let command = read(line).unwrap().command;
            assert!(command.run().is_err(), "{line}");
        }
    }
}
