//! What load to make. Public fields: every combination that [`Plan::check`] lets pass can be run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;

use super::{HelloRetry, Mode, Pace, Protocol, Target, TlsPlan, Trust, Version};
use crate::cost::{Metrics, Server};

/// The most connections and streams at the same time.
const MAX_CONCURRENCY: usize = 1_000_000;
/// The most pairs of client certificate and server name that sessions are kept for.
const MAX_SESSION_OWNERS: usize = 100_000;

/// What load to make, and how to measure it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the run is called in the report.
    pub name: String,
    /// What is counted.
    pub mode: Mode,
    /// Where it goes.
    pub target: Target,
    /// What is offered and whom to trust.
    pub tls: TlsPlan,
    /// The protocol of requests.
    pub protocol: Protocol,
    /// When units start.
    pub pace: Pace,
    /// Connections at the same time.
    pub concurrency: usize,
    /// Requests at the same time on each connection, for HTTP/2 and 3.
    pub streams: usize,
    /// How long is measured.
    pub duration: Duration,
    /// How long load is made before that.
    pub warmup: Duration,
    /// How long anything may take.
    pub timeout: Duration,
    /// Threads that make load.
    pub threads: usize,
    /// Cores they may run on, one after the other; empty leaves that to the kernel.
    pub cores: Vec<usize>,
    /// Whose CPU time and memory are measured.
    pub server: Option<Server>,
    /// Where the gateway counts its HSM calls.
    pub metrics: Option<Metrics>,
}

impl Plan {
    /// 64 connections in a closed loop over HTTP/1.1 for ten seconds after one of warm-up, from as many threads as
    /// there are cores.
    pub fn new(mode: Mode, target: Target, tls: TlsPlan) -> Self {
        Self {
            name: mode.name().to_owned(),
            mode,
            target,
            tls,
            protocol: Protocol::Http1,
            pace: Pace::Closed,
            concurrency: 64,
            streams: 1,
            duration: Duration::from_secs(10),
            warmup: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            cores: Vec::new(),
            server: None,
            metrics: None,
        }
    }

    /// Whether it can be run; the mistake otherwise, and what to do about it.
    pub fn check(&self) -> anyhow::Result<()> {
        let in_flight = self.concurrency.saturating_mul(self.streams);
        if self.concurrency == 0 || self.streams == 0 || in_flight > MAX_CONCURRENCY {
            bail!(
                "--concurrency and --streams must be 1 or more, together at most {MAX_CONCURRENCY}"
            );
        }
        if self.threads == 0 || self.threads > 1_024 {
            bail!("--threads must be 1 to 1024");
        }
        if self.duration.is_zero() || self.timeout.is_zero() {
            bail!("--seconds and --timeout must be more than 0");
        }
        if !(0.0..=1.0).contains(&self.tls.resume) {
            bail!("--resume is a share, 0 to 1");
        }
        self.check_pace()?;
        self.check_protocol()?;
        self.check_owners()
    }

    fn check_pace(&self) -> anyhow::Result<()> {
        match (self.pace, &self.mode) {
            (Pace::Open { per_second }, _) if !(per_second > 0.0 && per_second <= 1e7) => {
                bail!("--rate must be more than 0 and at most 10,000,000 a second")
            }
            (Pace::Open { .. }, Mode::Bulk | Mode::Idle) => {
                bail!("{} has no --rate: it is a closed loop", self.mode.name())
            }
            (Pace::Open { .. }, Mode::Ramp(_)) => {
                bail!("ramp looks for the rate: leave out --rate")
            }
            _ => Ok(()),
        }
    }

    fn check_protocol(&self) -> anyhow::Result<()> {
        let fresh = matches!(
            self.mode,
            Mode::Handshake | Mode::Request | Mode::Idle | Mode::Mixed(_)
        );
        if fresh && self.protocol != Protocol::Http1 {
            bail!("{} speaks HTTP/1.1: leave out --protocol", self.mode.name());
        }
        if self.streams > 1 && self.protocol == Protocol::Http1 {
            bail!("--streams needs --protocol h2 or h3: HTTP/1.1 has one request at a time");
        }
        if self.tls.version == Version::Tls12 {
            if self.protocol == Protocol::Http3 {
                bail!("HTTP/3 needs TLS 1.3: leave out --tls 1.2");
            }
            if self.tls.hello_retry != HelloRetry::Avoided {
                bail!(
                    "only TLS 1.3 asks for another hello: leave out --tls 1.2 or --force-hello-retry"
                );
            }
        }
        if let HelloRetry::Forced(group) = self.tls.hello_retry
            && group == self.tls.group
        {
            bail!(
                "--force-hello-retry needs a group other than --group {}",
                group.name()
            );
        }
        Ok(())
    }

    fn check_owners(&self) -> anyhow::Result<()> {
        let owners = self.owners();
        if self.tls.resume > 0.0 && owners > MAX_SESSION_OWNERS {
            bail!(
                "{owners} pairs of client certificate and server name are too many to keep sessions of: at most {MAX_SESSION_OWNERS}"
            );
        }
        Ok(())
    }

    /// Server names, at least the target's host.
    pub(super) fn names(&self) -> Vec<String> {
        match self.tls.names.is_empty() {
            true => vec![self.target.host().to_owned()],
            false => self.tls.names.clone(),
        }
    }

    /// How many pairs of client certificate and server name there are when both are used in turn.
    pub(super) fn owners(&self) -> usize {
        let identities = self.tls.identities.len().max(1);
        let names = self.tls.names.len().max(1);
        identities / greatest_common_divisor(identities, names) * names
    }

    /// Everything another run must share to be comparable.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let tls = &self.tls;
        let pace = match self.pace {
            Pace::Closed => "closed loop".to_owned(),
            Pace::Open { per_second } => format!("open loop, {per_second}/s"),
        };
        let mut all = vec![
            ("target", self.target.url()),
            ("address", self.target.address().to_string()),
            ("protocol", self.protocol.name().to_owned()),
            ("pace", pace),
            ("concurrency", self.concurrency.to_string()),
            ("streams", self.streams.to_string()),
            ("seconds", self.duration.as_secs_f64().to_string()),
            ("warmup", self.warmup.as_secs_f64().to_string()),
            ("threads", self.threads.to_string()),
            ("tls", tls.version.name().to_owned()),
            ("group", tls.group.name().to_owned()),
            ("suite", tls.suite.name().to_owned()),
            ("resume", tls.resume.to_string()),
            ("client certificates", tls.identities.len().to_string()),
            ("server names", self.names().len().to_string()),
        ];
        all.push(match &tls.trust {
            Trust::Roots(_) => ("server certificate", "verified".to_owned()),
            Trust::Everybody => ("server certificate", "not verified".to_owned()),
        });
        if let HelloRetry::Forced(group) = tls.hello_retry {
            all.push(("first key share", group.name().to_owned()));
        }
        if !self.cores.is_empty() {
            all.push(("cores", format!("{:?}", self.cores)));
        }
        all.extend(self.mode.settings());
        let all = all.into_iter();
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn greatest_common_divisor(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
