//! Makes load and measures it: TLS handshakes, requests, bytes, idle connections.
//!
//! A [`Plan`] says what; [`run`] does it and says how it went. Each thread has a runtime, connections, sessions
//! and a histogram of its own. In an open loop latency counts from the time a unit was to start, not from
//! the time it could.

mod mode;
mod plan;
mod target;
mod tls;

mod identity;

mod outcome;
mod ramp;

mod crew;
mod idle;
mod worker;

mod pacer;
mod slot;
mod tally;

mod connection;
mod http1;
mod http2;
mod http3;
mod shared;
mod socket;

mod clients;
mod failure;
mod sessions;
mod verifier;

pub use identity::Identity;
pub use mode::{Mixed, Mode, Pace, Protocol, Ramp, RampOf};
pub use outcome::run;
pub use plan::Plan;
pub use target::Target;
pub use tls::{Group, HelloRetry, Suite, TlsPlan, Trust, Version};
