//! `portcullis hsm ...`: the life of tokens and keys, from finding the module to a rotated certificate.
//!
//! Each command prints what it did and the command that comes next, as text or as one JSON object. Keys are
//! named and printed as URIs that paste into the configuration. A PIN is never an argument, only where it
//! comes from.

mod arguments;
mod backup;
mod bench;
mod certify;
mod check;
mod checks;
mod describe;
mod exit;
mod import;
mod keygen;
mod list;
mod modules;
mod probe;
mod serve;
mod status;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Exit, complain, say};

pub(super) use exit::of_hsm;

/// Ends every `--help` of the room.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (the token or the system refused), 2 wrong usage, \
3 nothing or more than one thing is named so (no such token or key), 4 a check failed, 5 a PIN problem \
(missing, wrong, refused earlier, locked).";

/// Tokens and the keys in them.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Hsm {
    /// How to print.
    #[arg(long, value_enum, default_value = "text", global = true)]
    output: Output,
    #[command(subcommand)]
    command: HsmCommand,
}

/// What to do with a token.
#[derive(Subcommand)]
enum HsmCommand {
    /// Find the PKCS#11 libraries of this machine and what tokens they have.
    Modules(modules::Modules),
    /// List the keys and certificates of a token as URIs; or the tokens, if there are several.
    List(list::List),
    /// Make a token on a free slot: set its label, its security officer PIN and its user PIN.
    Init(list::Init),
    /// Make a key pair that cannot leave the token; or a key that wraps others, or a secret for ticket keys.
    Keygen(keygen::Keygen),
    /// Write a certificate signing request for a key.
    Csr(certify::Csr),
    /// Write a self-signed certificate for a key, to try a listener with.
    Selfsign(certify::Selfsign),
    /// Put a private key, a certificate chain, or both into the token.
    Import(import::Import),
    /// Remove a key with its public key and certificates; or one certificate, wrapping key or secret.
    Delete(import::Delete),
    /// Write an extractable key to a file, encrypted under a wrapping key of the token.
    Wrap(backup::Wrap),
    /// Put a wrapped key into the token.
    Unwrap(backup::Unwrap),
    /// Check PIN flags, attributes, every signature scheme and the certificate of a key.
    Check(check::Check),
    /// Ask a running gateway how its tokens are.
    Status(status::Status),
    /// Measure signatures a second by number of sessions, and recommend one.
    Bench(bench::Bench),
    /// Sign for gateways, as a process of its own that has the library loaded and the PIN.
    Serve(serve::Serve),
    /// The tokens of a module, for `modules`: in a process of its own, for a module may crash or hang.
    #[command(hide = true)]
    Probe(probe::Probe),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// What a command found or did.
#[derive(Debug)]
struct Report {
    text: String,
    value: Value,
    next: Vec<String>,
    exit: Exit,
}

impl Hsm {
    pub(super) fn run(self) -> Exit {
        let outcome = match self.command {
            HsmCommand::Serve(serve) => return serve.run(),
            HsmCommand::Modules(modules) => modules.run(),
            HsmCommand::List(list) => list.run(),
            HsmCommand::Init(init) => init.run(),
            HsmCommand::Keygen(keygen) => keygen.run(),
            HsmCommand::Csr(csr) => csr.run(),
            HsmCommand::Selfsign(selfsign) => selfsign.run(),
            HsmCommand::Import(import) => import.run(),
            HsmCommand::Delete(delete) => delete.run(),
            HsmCommand::Wrap(wrap) => wrap.run(),
            HsmCommand::Unwrap(unwrap) => unwrap.run(),
            HsmCommand::Check(check) => check.run(),
            HsmCommand::Status(status) => status.run(),
            HsmCommand::Bench(bench) => bench.run(),
            HsmCommand::Probe(probe) => probe.run(),
        };
        match outcome {
            Ok(report) => report.print(self.output),
            Err(error) => complain(format_args!("{error:#}"), exit::of(&error)),
        }
    }
}

impl Report {
    /// A command that did what it should; `value` is an object.
    fn new(text: impl Into<String>, value: Value) -> Self {
        Report {
            text: text.into(),
            value,
            next: Vec::new(),
            exit: Exit::Done,
        }
    }

    /// Adds a next step.
    fn next(mut self, step: impl Into<String>) -> Self {
        self.next.push(step.into());
        self
    }

    /// Ends with this exit code instead of 0.
    fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    fn print(mut self, output: Output) -> Exit {
        match output {
            Output::Text => {
                say(self.text.trim_end());
                for step in &self.next {
                    say(format_args!("next: {step}"));
                }
            }
            Output::Json => {
                self.value["next"] = json!(self.next);
                say(format_args!("{:#}", self.value));
            }
        }
        self.exit
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Hsm, exit};
    use crate::cli::Exit;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        hsm: Hsm,
    }

    fn line(words: &str) -> Result<Hsm, clap::Error> {
        let words = std::iter::once("hsm").chain(words.split_whitespace());
        Line::try_parse_from(words).map(|line| line.hsm)
    }

    #[test]
    fn a_pin_on_the_command_line_is_refused_and_not_repeated() {
        let words = "keygen --label site --module /nowhere.so --token edge --pin 4711";
        let hsm = line(words).unwrap_or_else(|error| panic!("{error}"));
        let super::HsmCommand::Keygen(keygen) = hsm.command else {
            panic!("another command")
        };
        let error = keygen.run().expect_err("no source");
        assert!(error.to_string().contains("PIN source"), "{error}");
        assert!(!format!("{error:?}").contains("4711"));
        assert_eq!(exit::of(&error), Exit::Usage);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for words in [
            "list --token edge --slot 1",
            "import",
            "import --key-file k.pem",
            "import --replace",
            "wrap --key pkcs11:object=x",
            "keygen --label x --kind aes512",
            "keygen --label x --kind secrets",
            "check --output xml",
        ] {
            assert!(line(words).is_err(), "{words}");
        }
        for words in ["list --output json", "modules", "check"] {
            assert!(line(words).is_ok(), "{words}");
        }
    }
}
