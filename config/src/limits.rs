//! Bounds on what can be many, large or slow. Each has a metric that shows when it is hit.
use std::time::Duration;

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections of the process. Default 20,000.
    pub connections: usize,
    /// Handshakes in progress in the process. Default 4,096.
    pub handshakes: usize,
    /// Bytes of a ClientHello. Default 64 KiB.
    pub client_hello: usize,
    /// Bytes of a request or response head. Default 32 KiB.
    pub header_bytes: usize,
    /// Header fields of a request or response. Default 100.
    pub headers: usize,
    /// Bytes of a request target. Default 8 KiB.
    pub target: usize,
    /// Bytes of a request body; `None` is unlimited. Default unlimited.
    pub body: Option<u64>,
    /// Concurrent HTTP/2 streams of a connection. Default 128.
    pub h2_streams: u32,
}

/// `[timeouts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to a whole ClientHello. Default 5 s.
    pub client_hello: Duration,
    /// From accept to the end of the handshake. Default 10 s.
    pub handshake: Duration,
    /// From the first byte of a request head to its end. Default 10 s.
    pub header: Duration,
    /// Keep-alive connection without a request. Default 60 s.
    pub idle: Duration,
    /// Request body without a byte from the client. Default 30 s.
    pub body: Duration,
    /// Response without a byte accepted by the client. Default 30 s.
    pub write: Duration,
    /// From SIGTERM (or a removed listener) to closing what is left. Default 30 s.
    pub drain: Duration,
    /// While draining: how long an idle keep-alive connection may still bring a last request. Default 2 s.
    pub drain_idle: Duration,
}
