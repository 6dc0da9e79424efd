//! `portcullis-bench peers`: gateways side by side.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use crate::live::Verbosity;
use crate::peers::{self, SCENARIOS, Scenario, Settings};
use crate::report::file::write_whole;
use crate::report::{page, table};

/// How it ends where no peer could be measured.
const NOTHING: u8 = 3;

/// Compares gateways: equal certificates, groups and origin, each peer on one core, the load on another, in turns.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// What to measure; may be given several times. Without it: everything.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<String>,
    /// Who takes part; may be given several times. Without it: everybody.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    peer: Vec<String>,
    /// A program that is not in PATH, or another build: nginx-1.31=/opt/nginx.
    #[arg(long, value_name = "NAME=PATH", value_parser = binary)]
    peer_binary: Vec<(String, PathBuf)>,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each time.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How long load is made before each time.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.3)]
    warmup: f64,
    /// The core of the peers.
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// The core of load and origin.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Whom ratios refer to besides the best. Without it: the first of envoy, nginx, haproxy and caddy that is there.
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// The portcullis program. Without it: the one beside this program.
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// The module that delays signatures in the hsm scenario. Without it: libfault_module.so beside this program.
    #[arg(long, value_name = "PATH")]
    fault_module: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page for people.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Tell which scenarios and peers there are, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
}

/// Runs it.
pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let settings = settings(&options)?;
    if options.list {
        say(&list(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    let report = peers::run(&settings)?;
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if let Some(path) = &options.html {
        write_whole(path, page::html(&report).as_bytes())?;
    }
    say(&table::text(&report));
    let nothing = report.runs.iter().all(|run| run.done == 0);
    Ok(match nothing {
        true => ExitCode::from(NOTHING),
        false => ExitCode::SUCCESS,
    })
}

fn settings(options: &Options) -> anyhow::Result<Settings> {
    let mut settings = Settings::beside_this_program()?;
    if !options.scenario.is_empty() {
        settings.scenarios = options
            .scenario
            .iter()
            .map(|name| scenario(name))
            .collect::<Result<_, _>>()?;
    }
    settings.binaries.clone_from(&options.peer_binary);
    if options.peer.is_empty() {
        // A build that is named takes part, too.
        for (name, _) in &options.peer_binary {
            if !settings.peers.contains(name) {
                settings.peers.push(name.clone());
            }
        }
    } else {
        settings.peers.clone_from(&options.peer);
    }
    settings.rounds = options.rounds;
    settings.duration = seconds("--seconds", options.seconds)?;
    settings.warmup = seconds("--warmup", options.warmup)?;
    (settings.proxy_core, settings.load_core) = (options.proxy_core, options.load_core);
    settings.reference.clone_from(&options.reference);
    if let Some(gateway) = &options.gateway {
        settings.gateway = absolute(gateway)?;
    }
    if let Some(module) = &options.fault_module {
        settings.fault_module = absolute(module)?;
    }
    for (_, path) in &mut settings.binaries {
        *path = absolute(path)?;
    }
    if options.quiet {
        settings.verbosity = Verbosity::Quiet;
    }
    settings.check()?;
    Ok(settings)
}

/// Peers are started in folders of their own.
fn absolute(path: &PathBuf) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

fn scenario(name: &str) -> anyhow::Result<Scenario> {
    Scenario::named(name).ok_or_else(|| {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        anyhow!(
            "there is no scenario '{name}': name one of {}",
            known.join(", ")
        )
    })
}

fn seconds(option: &str, seconds: f64) -> anyhow::Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if seconds < 3_600.0 => Ok(duration),
        _ => bail!("{option} must be 0 or more, and less than an hour"),
    }
}

fn binary(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => Err("write NAME=PATH, such as envoy=/opt/envoy".to_owned()),
    }
}

fn list(settings: &Settings) -> String {
    let mut text = "scenarios:\n".to_owned();
    for scenario in &settings.scenarios {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {:20} {}", scenario.name, scenario.about);
    }
    text.push_str("peers:\n");
    for peer in peers::known(settings) {
        let version = peer.version.as_deref().unwrap_or("not installed");
        let _ = writeln!(
            text,
            "  {:20} {version}\n  {:20} {}",
            peer.name, "", peer.on
        );
    }
    text
}

#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn say(text: &str) {
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(arguments: &[&str]) -> anyhow::Result<Settings> {
        let line = Line::try_parse_from([&["peers"], arguments].concat())?;
        settings(&line.options)
    }

    #[test]
    fn mistakes_are_refused_with_what_is_possible() {
        for (arguments, help) in [
            (&["--scenario", "hs14"][..], "hs13_p256"),
            (&["--peer", "apache"], "haproxy"),
            (&["--peer-binary", "nginx"], "NAME=PATH"),
            (&["--peer-binary", "nginx=/nowhere"], "is no file"),
            (&["--seconds=-1"], "--seconds"),
            (&["--seconds", "0"], "--seconds"),
            (&["--rounds", "0"], "--rounds"),
            (&["--reference", "nobody"], "--peer nobody"),
        ] {
            let told = format!("{:#}", parse(arguments).unwrap_err());
            assert!(told.contains(help), "{arguments:?}: {told}");
        }
    }

    #[test]
    fn a_build_that_is_named_takes_part() {
        let settings = parse(&["--peer-binary", "nginx-1.31=/bin/sh"]).unwrap();
        assert!(settings.peers.contains(&"nginx-1.31".to_owned()));
        assert!(settings.peers.contains(&"nginx".to_owned()));
        let few = parse(&["--peer", "nginx,envoy", "--scenario", "hsm"]).unwrap();
        assert_eq!(few.peers, ["nginx", "envoy"]);
        assert_eq!(few.scenarios.len(), 1);
    }

    #[test]
    fn the_list_says_who_is_there_and_what_is_on() {
        let told = list(&parse(&["--peer-binary", "pingora=/bin/sh"]).unwrap());
        assert!(told.contains("h2_64x10"), "{told}");
        assert!(told.contains("default deny with one rule"), "{told}");
    }
}
