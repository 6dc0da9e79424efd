//! `portcullis-bench compare`: two reports side by side.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::report::compare::{Strictness, compare, table};
use crate::report::model::Report;

/// Tells what became better between two reports, and what worse.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The report from before.
    before: PathBuf,
    /// The report from after.
    after: PathBuf,
    /// Compare runs that were made with different settings.
    #[arg(long)]
    anyway: bool,
}

/// Runs it.
pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let strictness = match options.anyway {
        true => Strictness::Anyway,
        false => Strictness::SameSettings,
    };
    let (before, after) = (
        Report::read(&options.before)?,
        Report::read(&options.after)?,
    );
    let changes = compare(&before, &after, strictness)?;
    say(&table(&changes));
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn say(text: &str) {
    print!("{text}");
}
