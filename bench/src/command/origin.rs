//! `portcullis-bench origin`: a cheap server to put a gateway in front of.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::origin::Origin;

/// Answers /1k, /10m and /bytes/N over HTTP/1.1, and over HTTP/2 without TLS, until it is interrupted.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen; port 0 takes any that is free, and it is told on stdout.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// The core to run on. Without it: any.
    #[arg(long)]
    core: Option<usize>,
}

/// Runs it.
pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let origin = Origin::start(options.bind, options.core)?;
        say(origin.address());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started it waits for the address"
)]
fn say(address: SocketAddr) {
    println!("http://{address}");
}
