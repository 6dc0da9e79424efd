//! Services behind the gateway: pooled connections, HTTP/1.1 and HTTP/2.
//!
//! Each worker has its own pools, so that nothing hot is shared; the bound on requests in progress is one for
//! the process. Pools outlive a reload where the upstream's settings did not change. [`Upstreams::send`] asks
//! for a [`Permit`](crate::policy::Permit): without one nothing gets here.

mod body;
mod connect;
mod error;
mod http1;
mod http2;
mod pool;

pub use body::{ClientBodyError, RequestBody, ResponseBody, Switched};
pub use error::UpstreamError;
pub use http2::LocalExecutor;
pub use pool::{Opened, Target, Upstreams};
