//! Requests on their way through: checked, permitted, rewritten, sent on, answered.

mod admission;
mod authority;
#[doc(hidden)]
pub mod benching;
mod carry;
mod claims;
mod client;
mod exchange;
mod headers;
mod http1;
mod http2;
mod http3;
mod identity_headers;
mod identity_tokens;
mod ids;
mod redirect;
mod register;
mod response;
mod tcp;
mod tunnel;
mod upgrade;
mod worker;

pub use client::Client;
pub use http1::serve as serve_http1;
pub use http2::serve as serve_http2;
pub use http3::serve as serve_http3;
pub use redirect::serve as serve_redirect;
pub use register::Left;
pub use tcp::{serve as serve_tcp, serve_local as serve_local_tcp, serve_passthrough};
pub use worker::{Shared, Worker};
