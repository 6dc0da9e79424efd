//! One scenario with all its peers, in turns.

use std::path::Path;
use std::time::Duration;

use crate::live::{Verbosity, watcher};
use crate::load;
use crate::report::model::Run;
use crate::report::standing::REFERENCE;

use super::Settings;
use super::certificates::Certificates;
use super::entrant::{Entrant, Ground, Running};
use super::interrupt::Interrupt;
use super::kind::Variant;
use super::scenario::{Rounds, Scenario, ServerKey};
use super::token::Token;

/// How long each peer is warmed up once it listens.
const FIRST_WARMUP: Duration = Duration::from_millis(500);

/// What the whole comparison shares.
pub(super) struct Sitting<'a> {
    pub(super) settings: &'a Settings,
    pub(super) certificates: &'a Certificates,
    pub(super) origin: std::net::SocketAddr,
    pub(super) folder: &'a Path,
    pub(super) interrupt: &'a Interrupt,
}

impl Sitting<'_> {
    /// Measures a scenario.
    pub(super) fn scenario(&self, scenario: &Scenario, entrants: &[Entrant]) -> Vec<Run> {
        let variants = variants(scenario, entrants);
        let entrants: Vec<&Entrant> = entrants.iter().chain(&variants).collect();
        let token = match scenario.server {
            ServerKey::Token => match self.token() {
                Ok(token) => Some(token),
                Err(error) => {
                    let why = format!("no token: {error:#}");
                    let names = entrants.iter().map(|entrant| entrant.name.as_str());
                    return names.map(|name| absent(scenario, name, &why)).collect();
                }
            },
            _ => None,
        };
        let ground = Ground {
            certificates: self.certificates,
            origin: self.origin,
            token: token.as_ref(),
            core: self.settings.proxy_core,
        };
        match scenario.rounds() {
            Rounds::Interleaved => self.interleaved(scenario, &entrants, &ground),
            Rounds::Afresh => self.afresh(scenario, &entrants, &ground),
        }
    }

    fn token(&self) -> anyhow::Result<Token> {
        let Settings {
            fault_module,
            gateway,
            ..
        } = self.settings;
        let folder = self.folder.join("token");
        std::fs::create_dir_all(&folder)?;
        Token::make(&folder, fault_module, gateway, self.certificates)
    }

    /// All stay up and take turns.
    fn interleaved(
        &self,
        scenario: &Scenario,
        entrants: &[&Entrant],
        ground: &Ground<'_>,
    ) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut up: Vec<(&Entrant, Running)> = Vec::new();
        for entrant in entrants {
            if self.interrupt.came() {
                return runs;
            }
            match self.start(scenario, entrant, ground) {
                Ok(running) => up.push((entrant, running)),
                Err(why) => runs.push(absent(scenario, &entrant.name, &why)),
            }
        }
        for round in 1..=self.settings.rounds {
            for (entrant, running) in &up {
                if self.interrupt.came() {
                    return runs;
                }
                runs.push(self.measure(scenario, entrant, running, round));
            }
        }
        runs
    }

    /// A new process for each round.
    fn afresh(&self, scenario: &Scenario, entrants: &[&Entrant], ground: &Ground<'_>) -> Vec<Run> {
        let mut runs = Vec::new();
        for round in 1..=self.settings.rounds {
            for entrant in entrants {
                if self.interrupt.came() {
                    return runs;
                }
                match self.start(scenario, entrant, ground) {
                    Ok(running) => runs.push(self.measure(scenario, entrant, &running, round)),
                    Err(why) if round == 1 => runs.push(absent(scenario, &entrant.name, &why)),
                    Err(_) => {}
                }
            }
        }
        runs
    }

    /// Starts a peer and warms it up; the reason if that is not possible.
    fn start(
        &self,
        scenario: &Scenario,
        entrant: &Entrant,
        ground: &Ground<'_>,
    ) -> Result<Running, String> {
        if let Some(lacking) = entrant.lacks(scenario) {
            return Err(format!("does not have {}", lacking.name()));
        }
        let running = entrant
            .start(scenario, ground)
            .map_err(|error| format!("did not start: {error:#}"))?;
        self.warm_up(scenario, &running)
            .map_err(|error| format!("did not answer: {error:#}"))?;
        Ok(running)
    }

    /// Requests on new connections, so that what is made at the first of them counts nowhere.
    fn warm_up(&self, scenario: &Scenario, running: &Running) -> anyhow::Result<()> {
        let client = self.certificates.client();
        let mut plan = scenario.first_requests().plan(running.listen, client)?;
        plan.cores = vec![self.settings.load_core];
        plan.duration = FIRST_WARMUP;
        plan.warmup = Duration::ZERO;
        let run = load::run(&plan, &crate::report::watch::Nobody)?;
        let failed = || run.errors.keys().cloned().collect::<Vec<_>>().join(", ");
        anyhow::ensure!(run.done > 0, "{}", failed());
        Ok(())
    }

    fn measure(
        &self,
        scenario: &Scenario,
        entrant: &Entrant,
        running: &Running,
        round: u32,
    ) -> Run {
        let measured = self.load(scenario, entrant, running, round);
        let mut run = match measured {
            Ok(run) => run,
            Err(error) => return absent(scenario, &entrant.name, &format!("{error:#}")),
        };
        run.name = name(scenario, &entrant.name);
        // Ports differ each time, and say nothing.
        for meaningless in ["address", "probe"] {
            run.settings.remove(meaningless);
        }
        let rounds = self.settings.rounds;
        let more = [
            ("target", entrant.name.clone()),
            ("about", scenario.about.to_owned()),
            ("version", entrant.version()),
            ("on", entrant.kind.on.to_owned()),
            ("round", format!("{round} of {rounds}")),
            ("proxy core", self.settings.proxy_core.to_string()),
        ];
        run.settings
            .extend(more.map(|(name, value)| (name.to_owned(), value)));
        if let Some(reference) = &self.settings.reference {
            run.settings.insert(REFERENCE.to_owned(), reference.clone());
        }
        run
    }

    fn load(
        &self,
        scenario: &Scenario,
        entrant: &Entrant,
        running: &Running,
        round: u32,
    ) -> anyhow::Result<Run> {
        let mut plan = scenario.plan(running.listen, self.certificates.client())?;
        plan.cores = vec![self.settings.load_core];
        plan.duration = self.settings.duration;
        plan.warmup = self.settings.warmup;
        plan.server = Some(running.process.server()?);
        plan.metrics = running.metrics.clone();
        let title = format!(
            "{} {round}/{}",
            name(scenario, &entrant.name),
            self.settings.rounds
        );
        let watcher = watcher(self.settings.verbosity, &title, plan.mode.unit());
        let run = load::run(&plan, &*watcher)?;
        drop(watcher);
        if self.settings.verbosity == Verbosity::Watched {
            say(&summary(&title, &run));
        }
        Ok(run)
    }
}

/// What else is compared in a scenario: other ways to wait for a token.
fn variants(scenario: &Scenario, entrants: &[Entrant]) -> Vec<Entrant> {
    if scenario.server != ServerKey::Token {
        return Vec::new();
    }
    let variants = entrants
        .iter()
        .filter_map(|entrant| match entrant.kind.name {
            "nginx" => Some(entrant.variant(Variant::ManyWorkers, "16workers")),
            "portcullis" => Some(entrant.variant(Variant::InProcess, "inprocess")),
            _ => None,
        });
    variants.collect()
}

/// A peer that does not take part, as a run that did nothing.
pub(super) fn absent(scenario: &Scenario, peer: &str, why: &str) -> Run {
    Run {
        name: name(scenario, peer),
        errors: [(why.to_owned(), 1)].into(),
        ..Run::default()
    }
}

fn name(scenario: &Scenario, peer: &str) -> String {
    format!("{}/{peer}", scenario.name)
}

fn summary(title: &str, run: &Run) -> String {
    use crate::report::quantity::{Digits, Kibibytes, Micros};
    let mut told = format!("{title:36} {:>8}/s", Digits(run.rate).to_string());
    if let Some(server) = run.server {
        told.push_str(&format!("  CPU {}", Micros(server.cpu_us_per_unit)));
        if let Some(memory) = server.rss_kib_per_connection {
            told.push_str(&format!("  {} each", Kibibytes(memory)));
        }
    }
    if run.failures() > 0 {
        told.push_str(&format!("  errors: {}", crate::report::table::errors(run)));
    }
    told
}

#[expect(clippy::print_stderr, reason = "it is what people watch")]
fn say(text: &str) {
    eprintln!("{text}");
}
