//! The command line.
//!
//! Exit codes: 0 done; 1 failed while running; 2 wrong usage; 3 the configuration, or what it names, is wrong;
//! 4 a live check failed; 5 a PIN is missing, wrong, refused earlier or locked (`hsm` only).

mod check;
mod config;
mod hsm;
mod import;
mod policy;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::admin;
use crate::server::ServerError;

/// A TLS termination gateway whose private keys never leave an HSM.
#[derive(Parser)]
#[command(name = "portcullis", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed while running, 2 wrong usage, \
3 the configuration or what it names is wrong, 4 a live check failed, 5 a PIN problem (hsm).";

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one value per process")]
enum Command {
    /// Run the gateway in the foreground until SIGTERM or SIGINT.
    Run(ConfigFile),
    /// Check a configuration without running it.
    Check(check::Check),
    /// Make a running gateway read its configuration again.
    Reload(Reload),
    /// Show the effective configuration or its JSON Schema.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Ask the policy of a configuration.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
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
    /// Control socket of the gateway; default: `admin.socket` of the configuration.
    #[arg(short, long)]
    socket: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
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
        Command::Config(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Import(import) => import.run(),
        Command::Hsm(hsm) => hsm.run(),
    };
    // Libraries crash where a thread is inside them while the process ends.
    portcullis_hsm::join_closed_tokens();
    ExitCode::from(exit as u8)
}

impl Reload {
    fn run(self) -> Exit {
        let socket = match self.socket {
            Some(socket) => socket,
            None => match portcullis_config::Config::load(&self.file.config) {
                Ok((config, _)) => match config.admin.socket {
                    Some(socket) => socket,
                    None => {
                        let advice = "the configuration has no admin.socket; set one, use --socket, or send SIGHUP";
                        return complain(advice, Exit::Config);
                    }
                },
                Err(errors) => return complain(errors.render(colored()), Exit::Config),
            },
        };
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return complain(error, Exit::Failed),
        };
        match runtime.block_on(admin::call(&socket, "reload")) {
            Ok(summary) => say(format_args!("reloaded: {summary}")),
            Err(admin::ControlError::Refused(text)) => complain(text, Exit::Config),
            Err(error) => complain(error, Exit::Failed),
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
