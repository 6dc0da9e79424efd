//! Probes, metrics, the control socket, and where the logs go.
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::Check;
use crate::value::{did_you_mean, quoted};

/// `[admin]`: what operators and their machines talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Plain HTTP `/livez /readyz /metrics`, read only. `None` switches it off.
    pub bind: Option<SocketAddr>,
    /// Unix socket for changes (`portcullis reload`), mode 0600. `None` switches it off.
    pub socket: Option<PathBuf>,
}

/// `[log]`: one target for each stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// One JSON line per request. Default: stdout.
    pub access: LogTarget,
    /// One JSON line per refused handshake or request. Default: stderr.
    pub refusals: LogTarget,
    /// Filter of the process log on stderr, in `tracing` syntax. Default: `info`.
    pub level: String,
}

/// Where a log stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, reopened on SIGUSR1.
    File(PathBuf),
}

/// `[admin]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAdmin {
    /// Address of `/livez`, `/readyz` and `/metrics` (plain HTTP, read only), or `off`.
    bind: Option<Located<String>>,
    /// Path of the Unix socket for changes (`portcullis reload`). Without it there is none.
    socket: Option<Located<String>>,
}

/// `[log]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLog {
    /// Where the access log goes: `stdout`, `stderr`, `off` or a path.
    access: Option<Located<String>>,
    /// Where refused handshakes and requests are logged: `stdout`, `stderr`, `off` or a path.
    refusals: Option<Located<String>>,
    /// What the process log (stderr) tells: `error`, `warn`, `info`, `debug`, `trace` or `off`, also by
    /// module: `info,portcullis::tls=debug`.
    level: Option<Located<String>>,
}

/// Default of `admin.bind`.
const ADMIN_BIND: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

impl RawAdmin {
    /// The checked value, and where the address was written.
    pub(crate) fn check(self, check: &mut Check<'_>) -> (Admin, Located<Option<SocketAddr>>) {
        let bind = match &self.bind {
            None => Located {
                value: Some(ADMIN_BIND),
                span: 0..0,
            },
            Some(text) if text.value == "off" => text.with(None),
            Some(text) => text.with(check.address(text).map(|address| address.value)),
        };
        let socket = self.socket.map(|text| check.path(&text).value);
        (
            Admin {
                bind: bind.value,
                socket,
            },
            bind,
        )
    }
}

impl RawLog {
    pub(crate) fn check(self, check: &mut Check<'_>) -> Log {
        let access = self
            .access
            .map_or(LogTarget::Stdout, |text| target(check, &text));
        let refusals = self
            .refusals
            .map_or(LogTarget::Stderr, |text| target(check, &text));
        let level = match self.level {
            Some(text) => {
                level(check, &text);
                text.value
            }
            None => "info".to_owned(),
        };
        Log {
            access,
            refusals,
            level,
        }
    }
}

fn target(check: &mut Check<'_>, text: &Located<String>) -> LogTarget {
    match text.value.as_str() {
        "off" => LogTarget::Off,
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        // A mistyped word would quietly become a file in the directory of the configuration.
        word if !word.contains(['/', '.']) => {
            let message = format!("{} is no log target", quoted(word));
            let help = match did_you_mean(word, ["off", "stdout", "stderr"]) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => {
                    format!("write \"stdout\", \"stderr\", \"off\" or a path like \"./{word}\"")
                }
            };
            check.error(&text.span, message).help(help);
            LogTarget::Off
        }
        _ => LogTarget::File(check.path(text).value),
    }
}

/// A bare word that is no level would be taken for the name of a module.
fn level(check: &mut Check<'_>, text: &Located<String>) {
    for directive in text.value.split(',') {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level)
            .trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let message = format!("{} is no log level", quoted(level));
            let help = match did_you_mean(level, LEVELS) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "write a level, or `module=level`, separated by commas".to_owned(),
            };
            check.error(&text.span, message).help(help);
        }
    }
}
