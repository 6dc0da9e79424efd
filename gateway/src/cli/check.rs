//! `portcullis check`: is a configuration right, and with `--live`, does what it names work?

use std::fmt::Write as _;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_config::{ChainSource, ClientCertMode, Config, SourceMap};

use super::{ConfigFile, Exit, colored, complain, complain_server, say};
use crate::certificates::check_chain;
use crate::server::located;
use crate::snapshot::{Rules, Snapshot, SnapshotError, Standing};
use crate::tls::acceleration::Acceleration;

#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Also open the tokens, sign with every key, match certificates, and connect to every upstream.
    #[arg(long)]
    live: bool,
}

impl Check {
    pub(super) fn run(self) -> Exit {
        let path: PathBuf = self.file.config;
        let (config, sources) = match Config::load(&path) {
            Ok(loaded) => loaded,
            Err(errors) => return complain(errors.render(colored()), Exit::Config),
        };
        let acceleration = Acceleration::measure();
        say(acceleration.summary());
        if let Some(warning) = acceleration.warning() {
            complain(format_args!("warning: {warning}"), Exit::Done);
        }
        let result = if self.live {
            live(&config, &sources)
        } else {
            files(&config, &sources)
        };
        match result {
            Ok(report) => say(format_args!("{report}{}: ok", path.display())),
            Err(exit) => exit,
        }
    }
}

/// Certificate chains and trust bundles are there and readable. No token is touched.
fn files(config: &Config, sources: &SourceMap) -> Result<String, Exit> {
    let mut errors = Vec::new();
    let of_sites = config.sites.iter().flat_map(|site| &site.certificates);
    let of_upstreams = config.upstreams.iter().flat_map(|upstream| &upstream.tls);
    let of_upstreams = of_upstreams.flat_map(|tls| &tls.certificate);
    for certificate in of_sites.chain(of_upstreams) {
        // A chain in a token is seen only with `--live`.
        let ChainSource::File(path) = &certificate.chain.value else {
            continue;
        };
        if let Err(error) = check_chain(path) {
            errors.push(SnapshotError {
                span: certificate.chain.span.clone(),
                message: error.to_string(),
            });
        }
    }
    let standing = Standing::open(config).map_err(|error| complain(error, Exit::Config))?;
    if let Err(more) = Rules::build(config, &standing, None) {
        errors.extend(more);
    }
    if errors.is_empty() {
        Ok(String::new())
    } else {
        Err(complain_server(&located(sources, &errors)))
    }
}

/// Tokens, keys, certificates and upstreams, for real.
fn live(config: &Config, sources: &SourceMap) -> Result<String, Exit> {
    let standing = Standing::open(config).map_err(|error| complain(error, Exit::Config))?;
    let snapshot = Snapshot::build(config, &standing, None)
        .map_err(|errors| complain_server(&located(sources, &errors)))?;
    let mut report = String::new();
    for token in snapshot.tokens.iter() {
        let info = token.info();
        // Writing to a String cannot fail.
        let _ = writeln!(
            report,
            "hsm {}: token {:?}, serial {}",
            token.settings().name,
            info.label,
            info.serial
        );
    }
    for (site, rules) in snapshot.sites.iter().zip(&snapshot.rules.sites) {
        for certificate in &site.certificates {
            let (key, provenance) = (&certificate.key.kind, &certificate.key.provenance);
            let _ = writeln!(
                report,
                "site {}: {key} key, {provenance}: signs, and the certificate matches",
                rules.name
            );
        }
        let mode = rules.handshake.mode();
        if mode != ClientCertMode::Ignore {
            let _ = writeln!(
                report,
                "site {}: client certificates: {}",
                rules.name,
                mode.as_str()
            );
        }
    }
    let mut unreachable = false;
    for upstream in &config.upstreams {
        for endpoint in &upstream.endpoints {
            let reached = reach(&endpoint.host, endpoint.port, upstream.connect_timeout);
            let (host, port, name) = (&endpoint.host, endpoint.port, &upstream.name);
            let _ = match &reached {
                Ok(()) => writeln!(report, "upstream {name}: {host}:{port} accepts connections"),
                Err(error) => writeln!(report, "upstream {name}: {host}:{port} FAILED: {error}"),
            };
            unreachable |= reached.is_err();
        }
    }
    if unreachable {
        Err(complain(report.trim_end(), Exit::Live))
    } else {
        Ok(report)
    }
}

fn reach(host: &str, port: u16, limit: Duration) -> std::io::Result<()> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match std::net::TcpStream::connect_timeout(&address, limit) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
