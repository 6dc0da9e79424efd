//! How many instructions the gateway executes for a handshake or a request: callgrind over the real program.
//!
//! What it promises: the count is the difference of two series of different lengths in one process, divided by the
//! difference of their lengths, so that what is done once is in neither; each is counted in several rounds, and the
//! spread is told. Time plays no part: a machine that is busy gives the same figures.

mod client;
mod gateway;
mod origin;
mod scene;
mod table;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

pub use scene::Scene;
pub use table::{Counted, Figure};

use client::Client;
use gateway::Counting;
use origin::Origin;
use scene::Pki;

/// What to count, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The gateway, built with symbols so that a profile can be read.
    pub program: PathBuf,
    /// What is done with it.
    pub scenes: Vec<Scene>,
    /// Rounds of each.
    pub rounds: usize,
    /// Where callgrind's profile of each scene is left; `None` keeps none.
    pub profiles: Option<PathBuf>,
}

/// Counts everything of a plan. `told` hears about each scene as it is done.
///
/// # Errors
/// When valgrind is not there, when the gateway does not start, or when a scene does not do what it says.
pub fn run(plan: &Plan, told: impl Fn(&Figure)) -> anyhow::Result<Counted> {
    ensure!(plan.rounds > 0, "at least one round");
    let pki = Pki::new()?;
    let origin = Origin::start()?;
    let gateway = Counting::start(&plan.program, &pki, origin.address())?;
    let mut figures = Vec::new();
    for scene in &plan.scenes {
        let counted = rounds(*scene, &gateway, &pki, plan);
        let figure = counted.with_context(|| scene.name().to_owned())?;
        told(&figure);
        figures.push(figure);
    }
    Ok(Counted {
        format: table::FORMAT,
        cpu: gateway.cpu_features(),
        figures,
    })
}

fn rounds(scene: Scene, gateway: &Counting, pki: &Pki, plan: &Plan) -> anyhow::Result<Figure> {
    let mut client = Client::new(scene, pki, gateway.address())?;
    let (short, long) = scene.units();
    // What the first of a kind makes is not counted: pools, tickets, caches, lazily bound symbols.
    client.units(short)?;
    gateway.zero()?;
    let mut counts = Vec::with_capacity(plan.rounds);
    for _ in 0..plan.rounds {
        client.units(short)?;
        let few = gateway.dump()?;
        client.units(long)?;
        let many = gateway.dump()?;
        let more = many.saturating_sub(few);
        counts.push(more / (long - short) as u64);
    }
    if let Some(folder) = &plan.profiles {
        gateway.keep_profile(&folder.join(format!("{}.callgrind", scene.name())))?;
    }
    Ok(Figure::of(scene.name(), counts))
}
