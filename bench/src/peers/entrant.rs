//! A peer that takes part: its program was found and asked, and it can be started as often as needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cost::Metrics;

use super::certificates::Certificates;
use super::kind::{Ability, Kind, Stage, Variant, find, version_in};
use super::process::{Process, free_address};
use super::scenario::Scenario;
use super::token::Token;
use super::{Settings, kinds};

/// A peer whose program is there.
pub(super) struct Entrant {
    /// What it is called in the report.
    pub(super) name: String,
    pub(super) kind: &'static Kind,
    program: PathBuf,
    told: String,
    abilities: Vec<Ability>,
    variant: Variant,
}

/// A peer that listens.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) listen: std::net::SocketAddr,
    pub(super) metrics: Option<Metrics>,
    // Its files; dropped after the process.
    _folder: TempDir,
}

/// What all peers of a scenario share.
pub(super) struct Ground<'a> {
    pub(super) certificates: &'a Certificates,
    pub(super) origin: std::net::SocketAddr,
    pub(super) token: Option<&'a Token>,
    pub(super) core: usize,
}

impl Entrant {
    /// Looks for the program of a peer; none if it is not installed.
    pub(super) fn find(name: &str, settings: &Settings) -> Option<Self> {
        let kind = kinds::named(name)?;
        let named = settings.binaries.iter().find(|(label, _)| label == name);
        let program = match named {
            Some((_, path)) => path.is_file().then(|| path.clone()),
            None if kind.name == "portcullis" => {
                settings.gateway.is_file().then(|| settings.gateway.clone())
            }
            None => find(kind.programs),
        }?;
        let told = ask(&program, kind.ask);
        Some(Self {
            name: name.to_owned(),
            kind,
            abilities: (kind.abilities)(&told),
            program,
            told,
            variant: Variant::Usual,
        })
    }

    /// The same, set up differently for one scenario.
    pub(super) fn variant(&self, variant: Variant, suffix: &str) -> Self {
        Self {
            name: format!("{}-{suffix}", self.name),
            kind: self.kind,
            program: self.program.clone(),
            told: self.told.clone(),
            abilities: self.abilities.clone(),
            variant,
        }
    }

    /// Its version, in a line.
    pub(super) fn version(&self) -> String {
        version_in(&self.told)
    }

    /// What the scenario asks and it cannot do.
    pub(super) fn lacks(&self, scenario: &Scenario) -> Option<Ability> {
        let mut needs = scenario.needs.iter().copied();
        needs.find(|need| !self.abilities.contains(need))
    }

    /// Starts it for a scenario.
    pub(super) fn start(
        &self,
        scenario: &Scenario,
        ground: &Ground<'_>,
    ) -> anyhow::Result<Running> {
        let folder = tempfile::Builder::new()
            .prefix("portcullis-peer-")
            .tempdir()?;
        let (listen, admin) = (free_address()?, free_address()?);
        let stage = Stage {
            folder: folder.path(),
            certificates: ground.certificates,
            server: scenario.server,
            clients: scenario.clients,
            listen,
            admin,
            origin: ground.origin,
            told: &self.told,
            abilities: &self.abilities,
            token: ground.token,
            variant: self.variant,
        };
        let launch = (self.kind.launch)(&stage);
        let process = Process::start(&self.program, &launch, folder.path(), ground.core, listen)?;
        let metrics = match self.kind.name {
            "portcullis" => Some(Metrics::parse(&format!("http://{admin}/metrics"))?),
            _ => None,
        };
        Ok(Running {
            process,
            listen,
            metrics,
            _folder: folder,
        })
    }
}

/// What a program says of its version. One that does not say it takes part all the same.
fn ask(program: &Path, arguments: &[&str]) -> String {
    if arguments.is_empty() {
        return String::new();
    }
    let asked = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let said = asked.map(|output| [output.stdout, output.stderr].concat());
    String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
}
