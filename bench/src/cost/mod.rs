//! What the server paid: CPU time and memory of its process tree, and the HSM calls it counts.
//!
//! All of it is read from outside, from `/proc` and from `/metrics`; the server is not asked to take part.

mod meter;
mod metrics;
mod own;
mod process;

pub use meter::{Meter, Spent};
pub use metrics::Metrics;
pub use own::{pin, process_cpu, thread_cpu};
pub use process::{CpuTime, Server};
