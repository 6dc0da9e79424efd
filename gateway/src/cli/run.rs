//! `portcullis run`.

use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::{Exit, complain, complain_server};
use crate::server::Server;

/// Runs the gateway in the foreground.
pub(super) fn run(path: &Path) -> Exit {
    raise_descriptor_limit();
    // Before a PIN or a session key is in memory. What hardens fails only on kernels that know no such thing.
    if let Err(error) = portcullis_hsm::signer::harden() {
        return complain(
            format_args!("cannot forbid core dumps: {error}"),
            Exit::Failed,
        );
    }
    let level = match portcullis_config::Config::load(path) {
        Ok((config, _)) => config.log.level,
        Err(errors) => return complain(errors.render(super::colored()), Exit::Config),
    };
    // h2 warns of single frames of a client: a flood of them would be one of lines.
    let filter = EnvFilter::try_new(format!("h2=error,{level}"))
        .unwrap_or_else(|_| EnvFilter::new("h2=error,info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A subscriber is there already only when a test runs this in its own process.
    let _ = log
        .with_ansi(super::colored())
        .with_target(false)
        .try_init();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(error, Exit::Failed),
    };
    let served = runtime.block_on(async { Server::start(path).await?.run().await });
    // A probe in progress, or a reload whose HSM hangs, must not hold up the end.
    runtime.shutdown_background();
    match served {
        Ok(()) => Exit::Done,
        Err(error) => complain_server(&error),
    }
}

/// A gateway is many sockets; the soft limit of a shell is often 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}
