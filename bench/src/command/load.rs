//! `handshake`, `request`, `keepalive`, `bulk`, `idle`, `mixed`, `ramp`: make load and tell how it went.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::options::{LoadOptions, ProtocolOptions, milliseconds, seconds};
use super::{NOTHING_MEASURED, complain, say};
use crate::live::{self, Verbosity};
use crate::load::{self, Mixed, Mode, Plan, Ramp, RampOf, Target};
use crate::report::condition::{Condition, Verdict};
use crate::report::file::write_whole;
use crate::report::model::{Report, Run};
use crate::report::{page, table};

/// Options of a mode that has no more of its own.
#[derive(Debug, Args)]
pub(super) struct Plain {
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    output: Output,
}

/// Options of requests on connections that stay.
#[derive(Debug, Args)]
pub(super) struct Lasting {
    #[command(flatten)]
    protocol: ProtocolOptions,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    output: Output,
}

/// Options of handshakes beside an unrelated connection.
#[derive(Debug, Args)]
pub(super) struct Beside {
    /// what the unrelated connection asks for [default: the target]
    #[arg(long, value_name = "URL")]
    probe: Option<String>,
    /// how often it asks
    #[arg(long, value_name = "TIME", default_value = "2ms", value_parser = milliseconds)]
    probe_every: Duration,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    output: Output,
}

/// Options of the search for the highest rate.
#[derive(Debug, Args)]
pub(super) struct Search {
    /// 99 % of the latencies must be shorter
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = milliseconds)]
    bound: Duration,
    /// what is started at that rate
    #[arg(long, value_enum, default_value = "handshake")]
    of: RampWord,
    /// the first rate to try
    #[arg(long, value_name = "PER_SECOND", default_value_t = 500.0)]
    from: f64,
    /// how long each rate is tried
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = seconds)]
    step: Duration,
    #[command(flatten)]
    protocol: ProtocolOptions,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RampWord {
    Handshake,
    Request,
    Keepalive,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct Output {
    /// write the whole report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// write it as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// end with 1 where this holds, such as 'p99>5ms'; may be given several times
    #[arg(long, value_name = "EXPRESSION")]
    fail_if: Vec<Condition>,
    /// say nothing while it runs
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn plain(options: &Plain, mode: Mode) -> anyhow::Result<ExitCode> {
    options.output.tell(&options.load.plan(mode)?)
}

pub(super) fn lasting(options: &Lasting, mode: Mode) -> anyhow::Result<ExitCode> {
    let mut plan = options.load.plan(mode)?;
    options.protocol.apply(&mut plan);
    options.output.tell(&plan)
}

pub(super) fn beside(options: &Beside) -> anyhow::Result<ExitCode> {
    let probe = options.probe.as_deref().map(Target::parse);
    let mixed = Mixed {
        probe: probe.transpose()?,
        every: options.probe_every,
    };
    options.output.tell(&options.load.plan(Mode::Mixed(mixed))?)
}

pub(super) fn search(options: &Search) -> anyhow::Result<ExitCode> {
    let ramp = Ramp {
        of: match options.of {
            RampWord::Handshake => RampOf::Handshake,
            RampWord::Request => RampOf::Request,
            RampWord::Keepalive => RampOf::Keepalive,
        },
        bound: options.bound,
        from: options.from,
        step: options.step,
    };
    let mut plan = options.load.plan(Mode::Ramp(ramp))?;
    options.protocol.apply(&mut plan);
    options.output.tell(&plan)
}

impl Output {
    /// Makes the load, and tells how it went in every form that was asked for.
    fn tell(&self, plan: &Plan) -> anyhow::Result<ExitCode> {
        let verbosity = match self.quiet {
            true => Verbosity::Quiet,
            false => Verbosity::Watched,
        };
        let watcher = live::watcher(verbosity, &plan.name, plan.mode.unit());
        let run = load::run(plan, &*watcher)?;
        drop(watcher); // The bar leaves before the table comes.
        let report = Report::here(vec![run]);
        say(&table::text(&report));
        if let Some(path) = &self.json {
            report.write(path)?;
        }
        if let Some(path) = &self.html {
            write_whole(path, page::html(&report).as_bytes())?;
        }
        Ok(self.verdict(&report.runs))
    }

    fn verdict(&self, runs: &[Run]) -> ExitCode {
        if runs.iter().all(|run| run.done == 0) {
            let kinds: Vec<String> = runs
                .iter()
                .flat_map(|run| &run.errors)
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            complain(&match kinds.is_empty() {
                true => "nothing was measured: nothing ended in time".to_owned(),
                false => format!(
                    "nothing was measured: every attempt failed: {}",
                    kinds.join(", ")
                ),
            });
            return ExitCode::from(NOTHING_MEASURED);
        }
        for run in runs {
            let lowest = run.steps.iter().map(|step| step.offered).reduce(f64::min);
            if let Some(lowest) = lowest
                && !run.steps.iter().any(|step| step.kept)
            {
                complain(&format!("no rate was kept, not even {lowest:.0}/s"));
            }
        }
        let mut code = ExitCode::SUCCESS;
        let judged = runs
            .iter()
            .flat_map(|run| self.fail_if.iter().map(|condition| condition.judge(run)));
        for verdict in judged {
            match verdict {
                Verdict::Passed => {}
                Verdict::Failed(why) | Verdict::Unmeasured(why) => {
                    complain(&why);
                    code = ExitCode::FAILURE;
                }
            }
        }
        code
    }
}
