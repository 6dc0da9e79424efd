//! Gateways side by side: the same load, the same certificates and origin, in turns.
//!
//! Each peer has one core and one worker, the load and the origin have another core. All peers of a scenario stay
//! up while they take turns (A B C A B C ...), so that a machine that changes its speed changes it for all. A
//! peer that does not take part is named with the reason. What was started is ended, after Ctrl-C as well.

mod certificates;
mod entrant;
mod interrupt;
mod kind;
mod kinds;
mod process;
mod scenario;
mod sitting;
mod token;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::live::Verbosity;
use crate::origin::Origin;
use crate::report::model::{Report, Run};

use certificates::Certificates;
use entrant::Entrant;
use interrupt::Interrupt;
use sitting::Sitting;

pub use scenario::{ALL as SCENARIOS, Scenario};

/// What to compare, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is measured.
    pub scenarios: Vec<Scenario>,
    /// Who takes part, by name; see [`names`].
    pub peers: Vec<String>,
    /// How often each is measured.
    pub rounds: u32,
    /// How long each time.
    pub duration: Duration,
    /// How long load is made before each time.
    pub warmup: Duration,
    /// The core of the peers.
    pub proxy_core: usize,
    /// The core of load and origin.
    pub load_core: usize,
    /// Programs that are not where programs usually are: name and path.
    pub binaries: Vec<(String, PathBuf)>,
    /// The `portcullis` program.
    pub gateway: PathBuf,
    /// The module that delays signatures.
    pub fault_module: PathBuf,
    /// Whom ratios refer to besides the best; none is the first of Envoy, nginx, HAProxy and Caddy that is there.
    pub reference: Option<String>,
    /// Whether its progress is shown.
    pub verbosity: Verbosity,
}

impl Settings {
    /// Every scenario and every peer, three rounds of two seconds, programs from where they usually are.
    pub fn beside_this_program() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let beside = |name: &str| own.with_file_name(name);
        Ok(Self {
            scenarios: SCENARIOS.to_vec(),
            peers: names(),
            rounds: 3,
            duration: Duration::from_secs(2),
            warmup: Duration::from_millis(300),
            proxy_core: 0,
            load_core: 1,
            binaries: Vec::new(),
            gateway: beside("portcullis"),
            fault_module: beside("libfault_module.so"),
            reference: None,
            verbosity: Verbosity::Watched,
        })
    }

    /// Refuses what cannot be compared.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.rounds > 0, "--rounds must be 1 or more");
        ensure!(!self.duration.is_zero(), "--seconds must be more than 0");
        let known = names().join(", ");
        for name in self
            .peers
            .iter()
            .chain(self.binaries.iter().map(|(name, _)| name))
        {
            ensure!(
                kinds::named(name).is_some(),
                "there is no peer '{name}': name one of {known}, or such a name with an addition, \
                 as in nginx-1.31"
            );
        }
        for (name, path) in &self.binaries {
            ensure!(
                path.is_file(),
                "--peer-binary {name}: {} is no file",
                path.display()
            );
        }
        if let Some(reference) = &self.reference {
            ensure!(
                self.peers.contains(reference),
                "--reference {reference} takes no part: add --peer {reference}"
            );
        }
        Ok(())
    }
}

/// The names of all peers.
pub fn names() -> Vec<String> {
    kinds::ALL.iter().map(|kind| kind.name.to_owned()).collect()
}

/// What is known of a peer before it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its version; none if it is not installed.
    pub version: Option<String>,
    /// What is switched on.
    pub on: &'static str,
}

/// What is known of the peers of these settings.
pub fn known(settings: &Settings) -> Vec<Known> {
    let peers = settings.peers.iter();
    let known = peers.filter_map(|name| {
        let kind = kinds::named(name)?;
        Some(Known {
            name: name.clone(),
            version: Entrant::find(name, settings).map(|entrant| entrant.version()),
            on: kind.on,
        })
    });
    known.collect()
}

/// Compares. Fails only where nothing could be begun; a peer that does not start is named in the report.
pub fn run(settings: &Settings) -> anyhow::Result<Report> {
    settings.check()?;
    let interrupt = Interrupt::listen()?;
    raise_descriptor_limit();
    let folder = tempfile::Builder::new()
        .prefix("portcullis-peers-")
        .tempdir()?;
    let certificates = Certificates::make(folder.path()).context("make the certificates")?;
    let origin = Origin::start((Ipv4Addr::LOCALHOST, 0).into(), Some(settings.load_core))?;
    let mut entrants = Vec::new();
    let mut missing = Vec::new();
    for name in &settings.peers {
        match Entrant::find(name, settings) {
            Some(entrant) => entrants.push(entrant),
            None => missing.push(name.clone()),
        }
    }
    if entrants.is_empty() {
        bail!("none of these peers is installed: {}", missing.join(", "));
    }
    let sitting = Sitting {
        settings,
        certificates: &certificates,
        origin: origin.address(),
        folder: folder.path(),
        interrupt: &interrupt,
    };
    let mut runs: Vec<Run> = Vec::new();
    for scenario in &settings.scenarios {
        if interrupt.came() {
            break;
        }
        runs.extend(
            missing
                .iter()
                .map(|name| sitting::absent(scenario, name, "not installed")),
        );
        runs.extend(sitting.scenario(scenario, &entrants));
    }
    Ok(Report::here(runs))
}

/// As many descriptors as are allowed: peers inherit it. Where it cannot be raised, the report shows the errors.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::beside_this_program().unwrap()
    }

    #[test]
    fn unknown_peers_missing_programs_and_no_rounds_are_refused() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        let told = refused(|settings| settings.peers.push("apache".to_owned()));
        assert!(
            told.contains("'apache'") && told.contains("haproxy"),
            "{told}"
        );
        let told = refused(|settings| {
            settings
                .binaries
                .push(("nginx".to_owned(), "/nowhere/nginx".into()));
        });
        assert!(told.contains("/nowhere/nginx"), "{told}");
        assert!(refused(|settings| settings.rounds = 0).contains("--rounds"));
        assert!(refused(|settings| settings.reference = Some("x".to_owned())).contains("--peer x"));
    }

    #[test]
    fn what_is_meant_by_default_is_possible() {
        settings().check().unwrap();
        assert_eq!(names().len(), 10);
    }
}
