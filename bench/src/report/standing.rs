//! Peers of one scenario, in the order of what they achieved.
//!
//! Which figure decides is told beside it: CPU of the server for one unit where it was measured,
//! memory for idle connections, the rate where the HSM is the limit.

use super::model::{Report, Run};
use super::quantity::{Digits, Kibibytes, Micros};
use super::rounds::{Rounds, Spread, value};

/// Who is compared with in particular, the first of these that took part.
const REFERENCES: [&str; 4] = ["envoy", "nginx", "haproxy", "caddy"];

/// The setting of a run that names another reference.
pub const REFERENCE: &str = "reference";

/// The figure that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// CPU time of the server for one unit.
    Cpu,
    /// The same of one GB.
    CpuPerGigabyte,
    /// Memory of the server for one connection.
    Memory,
    /// Units a second.
    Rate,
    /// 99 % of the unrelated requests were shorter.
    BystanderP99,
}

impl Figure {
    /// What it is called.
    pub fn title(self, unit: &str) -> String {
        match self {
            Self::Cpu => format!("CPU of the server per {unit}"),
            Self::CpuPerGigabyte => "CPU of the server per GB".to_owned(),
            Self::Memory => "memory of the server per connection".to_owned(),
            Self::Rate => format!("{unit}s a second"),
            Self::BystanderP99 => "p99 of an unrelated request".to_owned(),
        }
    }

    /// The figure with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Cpu | Self::CpuPerGigabyte | Self::BystanderP99 => Micros(value).to_string(),
            Self::Memory => Kibibytes(value).to_string(),
            Self::Rate => format!("{}/s", Digits(value)),
        }
    }

    /// Its value in a run.
    pub fn of(self, run: &Run) -> Option<f64> {
        match self {
            Self::Cpu | Self::CpuPerGigabyte => value::cpu(run),
            Self::Memory => value::memory(run),
            Self::Rate => value::rate(run),
            Self::BystanderP99 => value::bystander_p99(run),
        }
    }

    /// Whether more of it is better.
    fn more_is_better(self) -> bool {
        self == Self::Rate
    }

    /// The one that decides over these runs.
    fn deciding(scenario: &str, runs: &[Rounds<'_>]) -> Self {
        let any = |figure: Self| {
            let mut runs = runs.iter().flat_map(|rounds| &rounds.runs);
            runs.any(|run| figure.of(run).is_some())
        };
        match scenario {
            _ if any(Self::Memory) => Self::Memory,
            "hsm" => Self::Rate,
            "mixed" if any(Self::BystanderP99) => Self::BystanderP99,
            bulk if bulk.starts_with("bulk") && any(Self::Cpu) => Self::CpuPerGigabyte,
            _ if any(Self::Cpu) => Self::Cpu,
            _ => Self::Rate,
        }
    }
}

/// One peer that took part.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// Its name.
    pub peer: &'a str,
    /// Its rounds.
    pub rounds: Rounds<'a>,
    /// The figure that decides.
    pub spread: Spread,
    /// Its median by that of the best.
    pub to_best: f64,
    /// Its median by that of the reference.
    pub to_reference: Option<f64>,
    /// What failed in all rounds together.
    pub failures: u64,
}

/// One scenario.
#[derive(Debug, Clone)]
pub struct Standings<'a> {
    /// Its name.
    pub scenario: &'a str,
    /// What is counted.
    pub unit: String,
    /// What decides.
    pub figure: Figure,
    /// Whom `to_reference` refers to.
    pub reference: Option<&'a str>,
    /// The peers that took part, the best first.
    pub places: Vec<Place<'a>>,
    /// Those that did not, and why.
    pub absent: Vec<(&'a str, String)>,
}

impl<'a> Standings<'a> {
    /// Every scenario of a report, in its order.
    pub fn of(report: &'a Report) -> Vec<Self> {
        let mut scenarios: Vec<(&'a str, Vec<Rounds<'a>>)> = Vec::new();
        for rounds in Rounds::of(report) {
            let Some((scenario, _)) = rounds.scenario_and_peer() else {
                continue;
            };
            match scenarios.iter_mut().find(|(name, _)| *name == scenario) {
                Some((_, peers)) => peers.push(rounds),
                None => scenarios.push((scenario, vec![rounds])),
            }
        }
        let scenarios = scenarios.into_iter();
        scenarios
            .map(|(scenario, peers)| Self::new(scenario, peers))
            .collect()
    }

    /// The latency to show beside the figure: the bystander's where there is one.
    pub fn p50(&self) -> fn(&Run) -> Option<f64> {
        if self.has_bystander() {
            value::bystander_p50
        } else {
            value::p50
        }
    }

    /// See [`Standings::p50`].
    pub fn p99(&self) -> fn(&Run) -> Option<f64> {
        if self.has_bystander() {
            value::bystander_p99
        } else {
            value::p99
        }
    }

    /// Whose latency it is, and who the reference is, in words.
    pub fn what_is_compared(&self) -> String {
        let whose = if self.has_bystander() {
            "an unrelated request"
        } else {
            "one unit"
        };
        match self.reference {
            Some(peer) => format!("latency is that of {whose}, the reference is {peer}"),
            None => format!("latency is that of {whose}"),
        }
    }

    /// Whether an unrelated request was measured.
    pub fn has_bystander(&self) -> bool {
        let mut runs = self.places.iter().flat_map(|place| &place.rounds.runs);
        runs.any(|run| run.bystander.is_some())
    }

    fn new(scenario: &'a str, peers: Vec<Rounds<'a>>) -> Self {
        let figure = Figure::deciding(scenario, &peers);
        let unit = peers
            .iter()
            .flat_map(|peer| &peer.runs)
            .map(|run| &run.unit);
        let unit = unit.into_iter().find(|unit| !unit.is_empty());
        let unit = unit.cloned().unwrap_or_default();
        let mut places = Vec::new();
        let mut absent = Vec::new();
        for rounds in peers {
            let peer = rounds.scenario_and_peer().map_or("", |(_, peer)| peer);
            match rounds.spread(|run| figure.of(run)) {
                Some(spread) => places.push(Place {
                    peer,
                    failures: rounds.runs.iter().map(|run| run.failures()).sum(),
                    rounds,
                    spread,
                    to_best: 1.0,
                    to_reference: None,
                }),
                None => absent.push((peer, why_absent(&rounds))),
            }
        }
        places.sort_by(|a, b| a.spread.median.total_cmp(&b.spread.median));
        if figure.more_is_better() {
            places.reverse();
        }
        let reference = reference(&places);
        let best = places.first().map(|place| place.spread.median);
        let referred = places.iter().find(|place| Some(place.peer) == reference);
        let referred = referred.map(|place| place.spread.median);
        for place in &mut places {
            place.to_best = best.map_or(1.0, |best| place.spread.median / best);
            place.to_reference = referred.map(|referred| place.spread.median / referred);
        }
        Self {
            scenario,
            unit,
            figure,
            reference,
            places,
            absent,
        }
    }
}

fn reference<'a>(places: &[Place<'a>]) -> Option<&'a str> {
    let took_part = |name: &str| places.iter().find(|place| place.peer == name);
    let mut runs = places.iter().flat_map(|place| &place.rounds.runs);
    let named = runs.find_map(|run| took_part(run.settings.get(REFERENCE)?));
    let usual = || REFERENCES.iter().find_map(|name| took_part(name));
    named.or_else(usual).map(|place| place.peer)
}

fn why_absent(rounds: &Rounds<'_>) -> String {
    let kinds = rounds.runs.iter().flat_map(|run| run.errors.keys());
    let mut kinds: Vec<&str> = kinds.map(String::as_str).collect();
    kinds.sort_unstable();
    kinds.dedup();
    match kinds.join(", ") {
        none if none.is_empty() => "nothing was measured".to_owned(),
        some => some,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn who_did_nothing_is_absent_with_the_reason() {
        let report = sample::peers();
        let standings = Standings::of(&report);
        assert_eq!(standings[0].absent, [("hitch", "not installed".to_owned())]);
        assert!(standings[1].absent.is_empty());
    }

    #[test]
    fn the_cheapest_is_the_best_and_the_others_have_a_ratio_to_it() {
        let report = sample::peers();
        let standings = Standings::of(&report);
        let first = &standings[0];
        assert_eq!(first.figure, Figure::Cpu);
        let names: Vec<&str> = first.places.iter().map(|place| place.peer).collect();
        assert_eq!(names, ["portcullis", "envoy", "nginx"]);
        assert_eq!(first.places[0].to_best, 1.0);
        assert!(first.places[2].to_best > 2.0);
        assert_eq!(first.reference, Some("envoy"));
        assert!(first.places[0].to_reference.unwrap() < 1.0);
    }

    #[test]
    fn a_reference_that_is_named_counts_if_it_took_part() {
        let mut report = sample::peers();
        for (name, expected) in [("nginx", "nginx"), ("nobody", "envoy")] {
            for run in &mut report.runs {
                run.settings.insert(REFERENCE.to_owned(), name.to_owned());
            }
            assert_eq!(Standings::of(&report)[0].reference, Some(expected));
        }
    }

    #[test]
    fn with_a_token_as_the_limit_more_handshakes_are_better() {
        let mut report = sample::peers();
        report.runs.retain(|run| run.name.starts_with("hs13_p256/"));
        for run in &mut report.runs {
            run.name = run.name.replace("hs13_p256", "hsm");
        }
        let standings = Standings::of(&report);
        assert_eq!(standings[0].figure, Figure::Rate);
        assert_eq!(standings[0].places[0].peer, "portcullis");
        assert!(standings[0].places[1].to_best < 1.0);
    }
}
