//! What can go wrong on the way to an upstream and back.

use std::fmt;
use std::io;

use super::body::ClientBodyError;
use crate::http1::{BodyError, HeadError};
use crate::reason::Reason;

/// Why an upstream did not answer, or not to the end.
#[derive(Debug)]
pub enum UpstreamError {
    /// No endpoint accepted a connection in time.
    Connect(io::Error),
    /// The limits on requests in progress and waiting are used up.
    Busy,
    /// No response head within `response_timeout`, or no byte within `body_timeout`.
    Timeout,
    /// The connection broke; `before_answer` tells whether a byte of the answer had come.
    Closed(io::Error),
    /// The answer's head breaks HTTP/1.1.
    Head(HeadError),
    /// The answer's body breaks its framing.
    Body(BodyError),
    /// An error of the HTTP/2 connection or stream.
    Http2(hyper::Error),
    /// Not the upstream's fault: the client's request body failed.
    Client(ClientBodyError),
    /// The upstream switched protocols though nobody asked.
    UnexpectedUpgrade,
    /// A request for an upstream that speaks no HTTP.
    NotHttp,
}

impl UpstreamError {
    /// The refusal code.
    pub fn reason(&self) -> Reason {
        match self {
            // A service may refuse the gateway's certificate when the handshake seems over (TLS 1.3).
            Self::Connect(error) | Self::Closed(error) if is_of_tls(error) => Reason::UpstreamTls,
            Self::Connect(_) => Reason::UpstreamConnect,
            Self::Busy => Reason::UpstreamBusy,
            Self::Timeout => Reason::UpstreamTimeout,
            Self::Closed(_) => Reason::UpstreamClosed,
            Self::Head(_)
            | Self::Body(_)
            | Self::Http2(_)
            | Self::UnexpectedUpgrade
            | Self::NotHttp => Reason::UpstreamProtocol,
            Self::Client(error) => error.reason(),
        }
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    let cause = error.get_ref();
    cause.is_some_and(|cause| cause.is::<rustls::Error>())
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "connect: {error}"),
            Self::Busy => f.write_str("too many requests in progress and waiting"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Closed(error) => write!(f, "connection closed: {error}"),
            Self::Head(error) => write!(f, "response head: {error}"),
            Self::Body(error) => write!(f, "response body: {error}"),
            Self::Http2(error) => write!(f, "http/2: {error}"),
            Self::Client(error) => write!(f, "request body: {error}"),
            Self::NotHttp => f.write_str("the upstream speaks no HTTP"),
            Self::UnexpectedUpgrade => f.write_str("101 without an upgrade request"),
        }
    }
}

impl std::error::Error for UpstreamError {}
