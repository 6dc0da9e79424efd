//! `portcullis-demo`: the gateway with a token, a PKI and an upstream, ready to be tried with curl.
//!
//! Without arguments it runs until Ctrl-C. With `--check` it tries its own curl lines, says whether
//! each did what it should, and ends.

use std::process::ExitCode;

use anyhow::bail;
use portcullis_bench::demo::{self, Mode, Settings};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Mode::Serve,
        ["--check"] => Mode::Check,
        _ => bail!("usage: portcullis-demo [--check]"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(demo::run(&Settings::beside_this_program()?, mode))
}

#[expect(clippy::print_stderr, reason = "the command line talks to people")]
fn complain(error: &anyhow::Error) {
    eprintln!("portcullis-demo: {error:#}");
}
