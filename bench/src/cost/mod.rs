//! What the server paid: CPU time and memory of its process tree, and the HSM calls it counts.
//!
//! All of it is read from outside, from `/proc` and from `/metrics`; the server is not asked to take part.

mod metrics;
mod process;

pub use metrics::Metrics;
pub use process::{CpuTime, Server};
