//! What the gateways of a fleet share: a client of Redis or Valkey that may be away at any time.
//!
//! [`Store`] never delays a start and never queues without a bound: a command is answered within `timeout`, or it
//! fails, at once when nothing is connected. One task of the control runtime owns the connection; any thread may
//! ask. One server, a Cluster and Sentinels are the same to those who ask: every command names one key.

mod error;
mod keeper;
mod link;
mod password;
mod settings;
mod store;
mod stores;

pub use error::FleetError;
pub use settings::Settings;
pub use store::{Health, Store};
pub use stores::Stores;

#[cfg(test)]
#[path = "../../../tests/e2e/harness/redis.rs"]
pub(crate) mod servers;
#[cfg(test)]
mod tests;
