//! The command line.
//!
//! Exit codes: 0 done; 1 failed while running; 2 wrong usage; 3 the configuration, or what it names, is wrong;
//! 4 a live check failed, or a client is refused; 5 a PIN is missing, wrong, refused earlier or locked (`hsm` only).

mod check;
mod clients;
mod config;
mod deny;
mod explain;
mod hsm;
mod import;
mod policy;
mod run;
mod socket;
mod tickets;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::server::ServerError;

/// A TLS termination gateway whose private keys never leave an HSM.
#[derive(Parser)]
#[command(name = "portcullis", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed while running, 2 wrong usage, \
3 the configuration or what it names is wrong, 4 a live check failed or a client is refused, 5 a PIN problem (hsm).";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway in the foreground until SIGTERM or SIGINT.
    Run(ConfigFile),
    /// Check a configuration without running it.
    Check(check::Check),
    /// Make a running gateway read its configuration again.
    Reload(Reload),
    /// Client certificates seen by a running gateway, those that end first in front.
    Clients(clients::Report),
    /// Who would be refused if client certificates were required, and why.
    Rollout(clients::Report),
    /// Turn clients away at once, or let them in again.
    #[command(subcommand)]
    Deny(deny::DenyCommand),
    /// The keys of session tickets: how they are, another one, a file of them.
    #[command(subcommand)]
    Tickets(tickets::TicketsCommand),
    /// Show the effective configuration or its JSON Schema.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Ask the policy of a configuration.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Why a client is served or refused, step by step; or what a reason code means.
    Explain(explain::Explain),
    /// Other systems' configuration in the words of this one.
    #[command(subcommand)]
    Import(import::Import),
    /// Work with tokens and the keys in them.
    Hsm(hsm::Hsm),
}

/// Which configuration.
#[derive(clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, default_value = "/etc/portcullis/portcullis.toml")]
    config: PathBuf,
}

#[derive(clap::Args)]
struct Reload {
    #[command(flatten)]
    socket: socket::Socket,
}

/// What a command ended with, beside the text it printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0.
    Done = 0,
    /// 1.
    Failed = 1,
    /// 2, which clap uses for its own errors too.
    Usage = 2,
    /// 3.
    Config = 3,
    /// 4.
    Live = 4,
    /// 5.
    Pin = 5,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(file) => run::run(&file.config),
        Command::Check(check) => check.run(),
        Command::Reload(reload) => reload.run(),
        Command::Clients(report) => report.clients(),
        Command::Rollout(report) => report.rollout(),
        Command::Deny(command) => command.run(),
        Command::Tickets(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Explain(explain) => explain.run(),
        Command::Import(import) => import.run(),
        Command::Hsm(hsm) => hsm.run(),
    };
    // Libraries crash where a thread is inside them while the process ends.
    portcullis_hsm::join_closed_tokens();
    ExitCode::from(exit as u8)
}

impl Reload {
    fn run(self) -> Exit {
        match self.socket.call("reload") {
            Ok(summary) => say(format_args!("reloaded: {summary}")),
            Err(exit) => exit,
        }
    }
}

/// Prints a result for people.
#[expect(clippy::print_stdout, reason = "the command line talks to people")]
pub(crate) fn say(text: impl std::fmt::Display) -> Exit {
    println!("{text}");
    Exit::Done
}

/// Prints what went wrong and passes the exit on.
#[expect(clippy::print_stderr, reason = "the command line talks to people")]
pub(crate) fn complain(text: impl std::fmt::Display, exit: Exit) -> Exit {
    eprintln!("{text}");
    exit
}

/// Prints an error of the server with colours where a terminal shows them.
pub(crate) fn complain_server(error: &ServerError) -> Exit {
    match error {
        ServerError::Config(errors) => complain(errors.render(colored()), Exit::Config),
        other => complain(format_args!("error: {other}"), Exit::Failed),
    }
}

/// Whether standard error is a terminal that wants colours.
pub(crate) fn colored() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none()
}
