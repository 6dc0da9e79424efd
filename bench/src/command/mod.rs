//! The command line of `portcullis-bench`.
//!
//! Each command is a file: its options as `clap::Args`, and `fn run(Options) -> anyhow::Result<ExitCode>`.

mod compare;
mod origin;
mod peers;

use std::process::ExitCode;

use clap::Parser;

/// How a command ends that was asked for something that is not possible.
pub const USAGE: u8 = 2;

/// Load for TLS servers, what it costs them, and reports of both.
#[derive(Debug, Parser)]
#[command(name = "portcullis-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Compare(compare::Options),
    Peers(peers::Options),
    Origin(origin::Options),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome: anyhow::Result<ExitCode> = match arguments.command {
        Command::Compare(options) => compare::run(options),
        Command::Peers(options) => peers::run(options),
        Command::Origin(options) => origin::run(options),
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(USAGE)
    })
}

#[expect(clippy::print_stderr, reason = "the command line talks to people")]
fn complain(error: &anyhow::Error) {
    eprintln!("portcullis-bench: {error:#}");
}
