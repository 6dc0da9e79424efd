//! Makes load and measures it: TLS handshakes, requests, bytes, idle connections.
//!
//! A [`Plan`] says what; [`run`] does it and says how it went. Each thread has a runtime, connections, sessions
//! and a histogram of its own. In an open loop latency counts from the time a unit was to start, not from
//! the time it could.

mod identity;
mod mode;
mod plan;
mod target;
mod tls;

use crate::report::model::Run;
use crate::report::watch::Watcher;

pub use identity::Identity;
pub use mode::{Mixed, Mode, Pace, Protocol, Ramp, RampOf};
pub use plan::Plan;
pub use target::Target;
pub use tls::{Group, HelloRetry, Suite, TlsPlan, Trust, Version};

/// Makes the load of `plan` and measures it. Blocks until it is over or Ctrl-C; what was measured until
/// then is the outcome. Fails only where nothing could be begun.
pub fn run(plan: &Plan, watcher: &dyn Watcher) -> anyhow::Result<Run> {
    let _ = (plan, watcher);
    anyhow::bail!("not yet")
}
