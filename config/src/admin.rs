//! Probes, metrics, the control socket, and where the logs go.
use std::net::SocketAddr;
use std::path::PathBuf;

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
