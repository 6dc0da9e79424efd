//! The options of load, and the plan they make.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};

use crate::cost::{Metrics, Server};
use crate::load::{
    Group, HelloRetry, Identity, Mode, Pace, Plan, Protocol, Suite, Target, TlsPlan, Trust, Version,
};

/// The most server names of a file.
const MAX_NAMES: usize = 100_000;

/// What load to make.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadOptions {
    /// https://HOST:PORT/PATH, or HOST:PORT
    target: String,
    /// connect to this address instead of the target's
    #[arg(long, value_name = "IP:PORT")]
    connect: Option<SocketAddr>,
    /// connections at the same time
    #[arg(short, long, value_name = "N", default_value_t = 64)]
    concurrency: usize,
    /// units a second, started on time whatever the server does (an open loop)
    #[arg(short, long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// how long is measured
    #[arg(short, long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// how long load is made before that
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// how long anything may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// threads that make load [default: one for each core]
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    /// cores they may run on, such as 1,3
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(flatten)]
    cost: CostOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS", group = clap::ArgGroup::new("trust").required(true))]
struct TlsOptions {
    /// trust who is certified by these PEM roots
    #[arg(long, value_name = "FILE", group = "trust")]
    ca: Option<PathBuf>,
    /// trust everybody: the server's certificate is not looked at
    #[arg(long, group = "trust")]
    insecure: bool,
    /// the version to offer
    #[arg(long, value_name = "VERSION", value_enum, default_value = "1.3")]
    tls: VersionWord,
    /// the group of the key exchange
    #[arg(long, value_enum, default_value = "x25519")]
    group: GroupWord,
    /// the cipher suite
    #[arg(long, value_enum, default_value = "aes128")]
    suite: SuiteWord,
    /// send a first key share of another group, so that the server asks for another hello
    /// [default group: p256, or x25519 where that is the --group]
    #[arg(long, value_name = "GROUP", num_args = 0..=1, require_equals = true, value_enum)]
    force_hello_retry: Option<Option<GroupWord>>,
    /// resume sessions: all handshakes after the warm-up, or this share of them
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    resume: Option<f64>,
    /// the client certificate and its chain, PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// its key, PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// client certificates to use in turn: NAME.pem and NAME.key
    #[arg(long, value_name = "FOLDER", conflicts_with = "client_cert")]
    client_certs: Option<PathBuf>,
    /// a server name to ask for; several are used in turn [default: the target's host]
    #[arg(long, value_name = "NAME")]
    sni: Vec<String>,
    /// server names to use in turn, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "sni")]
    sni_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cost")]
struct CostOptions {
    /// measure CPU time and memory of this process and what it started
    #[arg(long, value_name = "PID|name=NAME")]
    server: Option<String>,
    /// count HSM calls at the gateway's /metrics
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,
}

/// The protocol of requests on connections that stay.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(super) struct ProtocolOptions {
    /// the protocol of requests
    #[arg(short, long, value_enum, default_value = "h1")]
    protocol: ProtocolWord,
    /// requests at the same time on each connection, for h2 and h3
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum VersionWord {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GroupWord {
    X25519,
    P256,
    P384,
    /// X25519MLKEM768
    Mlkem,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SuiteWord {
    Aes128,
    Aes256,
    Chacha20,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProtocolWord {
    H1,
    H2,
    H3,
}

impl From<GroupWord> for Group {
    fn from(word: GroupWord) -> Self {
        match word {
            GroupWord::X25519 => Self::X25519,
            GroupWord::P256 => Self::P256,
            GroupWord::P384 => Self::P384,
            GroupWord::Mlkem => Self::Mlkem,
        }
    }
}

impl LoadOptions {
    /// The plan of this mode; everything that is named is read.
    pub(super) fn plan(&self, mode: Mode) -> anyhow::Result<Plan> {
        let target = match self.connect {
            Some(address) => Target::at(&self.target, address)?,
            None => Target::parse(&self.target)?,
        };
        let mut plan = Plan::new(mode, target, self.tls.plan()?);
        plan.concurrency = self.concurrency;
        if let Some(per_second) = self.rate {
            plan.pace = Pace::Open { per_second };
        }
        plan.duration = self.seconds;
        plan.warmup = self.warmup;
        plan.timeout = self.timeout;
        plan.threads = self.threads.unwrap_or(plan.threads);
        plan.cores.clone_from(&self.cores);
        let cost = &self.cost;
        plan.server = cost.server.as_deref().map(Server::parse).transpose()?;
        plan.metrics = cost.metrics.as_deref().map(Metrics::parse).transpose()?;
        Ok(plan)
    }
}

impl ProtocolOptions {
    pub(super) fn apply(&self, plan: &mut Plan) {
        plan.protocol = match self.protocol {
            ProtocolWord::H1 => Protocol::Http1,
            ProtocolWord::H2 => Protocol::Http2,
            ProtocolWord::H3 => Protocol::Http3,
        };
        plan.streams = self.streams;
    }
}

impl TlsOptions {
    fn plan(&self) -> anyhow::Result<TlsPlan> {
        let mut plan = TlsPlan::new(match &self.ca {
            Some(path) => Trust::read(path)?,
            None => Trust::Everybody,
        });
        plan.version = match self.tls {
            VersionWord::Tls12 => Version::Tls12,
            VersionWord::Tls13 => Version::Tls13,
        };
        plan.group = self.group.into();
        plan.suite = match self.suite {
            SuiteWord::Aes128 => Suite::Aes128,
            SuiteWord::Aes256 => Suite::Aes256,
            SuiteWord::Chacha20 => Suite::ChaCha20,
        };
        plan.hello_retry = match (self.force_hello_retry, plan.group) {
            (None, _) => HelloRetry::Avoided,
            (Some(Some(group)), _) => HelloRetry::Forced(group.into()),
            (Some(None), Group::P256) => HelloRetry::Forced(Group::X25519),
            (Some(None), _) => HelloRetry::Forced(Group::P256),
        };
        plan.resume = self.resume.unwrap_or(0.0);
        plan.identities = match (&self.client_cert, &self.client_key, &self.client_certs) {
            (Some(chain), Some(key), _) => vec![Identity::read(chain, key)?],
            (_, _, Some(folder)) => Identity::read_folder(folder)?,
            _ => Vec::new(),
        };
        plan.names = self.names()?;
        Ok(plan)
    }

    fn names(&self) -> anyhow::Result<Vec<String>> {
        let Some(path) = &self.sni_file else {
            return Ok(self.sni.clone());
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the server names in {}", path.display()))?;
        let lines = text.lines().map(str::trim);
        let names: Vec<String> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        if names.is_empty() || names.len() > MAX_NAMES {
            bail!("{} must hold 1 to {MAX_NAMES} server names", path.display());
        }
        Ok(names)
    }
}

/// Seconds, or a number with a unit: `10`, `0.5`, `250ms`, `2m`.
pub(super) fn seconds(text: &str) -> anyhow::Result<Duration> {
    duration(text, 1.0)
}

/// A number with a unit; milliseconds without one.
pub(super) fn milliseconds(text: &str) -> anyhow::Result<Duration> {
    duration(text, 0.001)
}

fn duration(text: &str, without_unit: f64) -> anyhow::Result<Duration> {
    let at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let scale = match unit {
        "" => without_unit,
        "us" => 1e-6,
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => bail!("write a number with us, ms, s or m"),
    };
    let number =
        f64::from_str(number).map_err(|_| anyhow!("write a number with us, ms, s or m"))?;
    Duration::try_from_secs_f64(number * scale).context("write a time that is possible")
}
