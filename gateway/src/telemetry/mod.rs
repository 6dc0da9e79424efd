//! What happened, told to people and machines: metrics, access log, refusal log.
//!
//! Everyone above writes to it, it reads from nobody. Nothing here blocks a network thread: lines are
//! gathered per worker and handed to a writer thread over a bounded queue; what does not fit is dropped and
//! counted.

pub mod access_log;
pub mod inventory;
mod json;
pub mod metrics;
pub mod refusals;
pub mod sink;
pub mod tcp_log;

pub use access_log::RequestRecord;
pub use metrics::Metrics;
pub use refusals::RefusalRecord;
pub use sink::{LineBuffer, LogSink};
