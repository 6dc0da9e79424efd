//! Services behind the gateway: pooled connections, HTTP/1.1 and HTTP/2.
//!
//! Each worker has its own pools, so that nothing hot is shared; the bound on requests in progress is one for
//! the process, and so is what is known of an endpoint. A `search` takes a request to an endpoint that accepts it, in the
//! order that `balance` gives. Pools outlive a reload where the upstream's settings did not change. [`Upstreams::send`] asks
//! for a [`Permit`](crate::policy::Permit): without one nothing gets here.

mod body;
mod connect;
mod dns;
mod ejection;
mod endpoint;
mod error;
mod health;
mod http1;
mod http2;
mod keep;
mod pool;
mod retry;
mod search;
mod send;
mod slot;
mod sticky;
mod stream;
mod target;
mod tls;

pub use body::{ClientBodyError, RequestBody, ResponseBody, Switched};
pub use ejection::Cause;
pub use endpoint::Endpoint;
pub use error::UpstreamError;
pub use http2::LocalExecutor;
pub use keep::keep;
pub use pool::{Opened, UpstreamCounters, Upstreams};
pub use stream::Stream;
pub use target::Target;
pub use tls::ClientTls;
