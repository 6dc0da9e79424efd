//! `portcullis-count`: instructions of the gateway for a handshake and for a request, counted by callgrind.
//!
//! `make count` builds both programs and runs it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use portcullis_bench::count::{self, Counted, Plan, Scene};

/// Counts the gateway's instructions for a handshake and for a request.
#[derive(Debug, Parser)]
struct Arguments {
    /// The gateway's program.
    #[arg(long, default_value = "target/profiling/portcullis")]
    gateway: PathBuf,
    /// Which units: full, full-mtls, resumed, resumed-mtls, http1, http2; all where none is named.
    #[arg(long = "unit", value_parser = scene)]
    units: Vec<Scene>,
    /// Rounds of each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the figures go.
    #[arg(long, default_value = "target/count.json")]
    json: PathBuf,
    /// Figures of an earlier run to compare with.
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// A folder for callgrind's profile of each unit, for callgrind_annotate.
    #[arg(long)]
    profiles: Option<PathBuf>,
}

fn scene(name: &str) -> Result<Scene, String> {
    Scene::named(name).ok_or_else(|| {
        let names = Scene::ALL.map(Scene::name).join(", ");
        format!("no such unit; there are {names}")
    })
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line talks to people"
)]
fn main() -> ExitCode {
    match run(&Arguments::parse(), |line| eprintln!("{line}")) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("portcullis-count: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, tell: impl Fn(&str)) -> anyhow::Result<String> {
    // First of all: a baseline that cannot be read would be noticed after minutes.
    let baseline = match &arguments.baseline {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Some(Counted::from_json(&text).with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    let plan = Plan {
        program: arguments.gateway.clone(),
        scenes: match arguments.units.is_empty() {
            true => Scene::ALL.to_vec(),
            false => arguments.units.clone(),
        },
        rounds: arguments.rounds,
        profiles: arguments.profiles.clone(),
    };
    let counted = count::run(&plan, |figure| {
        tell(&format!("{}: {} instructions", figure.name, figure.median));
    })?;
    fs::write(&arguments.json, counted.to_json())
        .with_context(|| format!("write {}", arguments.json.display()))?;
    Ok(counted.table(baseline.as_ref()))
}
