//! Bounds on what can be many, large or slow. Each has a metric that shows when it is hit.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::value::{DurationText, Number, SizeText};

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
    /// Header fields of a request or response, at most 256 (the codec keeps the table on its stack). Default 100.
    pub headers: usize,
    /// Bytes of a request target. Default 8 KiB.
    pub target: usize,
    /// Bytes of a request body; `None` is unlimited. Default unlimited.
    pub body: Option<u64>,
    /// Concurrent HTTP/2 streams of a connection. Default 128.
    pub h2_streams: u32,
    /// Client certificates remembered for the inventory, and entries of the rollout report. Default 10,000.
    pub inventory: usize,
    /// Sessions remembered for resumption in the process. Default 200,000.
    pub sessions: usize,
    /// Bytes they may take in all. Default 64 MiB.
    pub session_memory: usize,
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
    /// Upgraded connection (WebSocket) without a byte either way. Default 10 min.
    pub tunnel: Duration,
    /// From SIGTERM (or a removed listener) to closing what is left. Default 30 s.
    pub drain: Duration,
    /// While draining: how long an idle keep-alive connection may still bring a last request. Default 2 s.
    pub drain_idle: Duration,
    /// How long requests in progress may go on after their client's certificate was revoked, denied or expired,
    /// or its CA was removed. Default 5 s.
    pub revoked: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 20_000,
            handshakes: 4_096,
            client_hello: 64 << 10,
            header_bytes: 32 << 10,
            headers: 100,
            target: 8 << 10,
            body: None,
            h2_streams: 128,
            inventory: 10_000,
            sessions: 200_000,
            session_memory: 64 << 20,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            client_hello: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            tunnel: Duration::from_secs(600),
            drain: Duration::from_secs(30),
            drain_idle: Duration::from_secs(2),
            revoked: Duration::from_secs(5),
        }
    }
}

/// `[limits]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// Client connections of the process.
    connections: Option<Located<Number>>,
    /// Handshakes in progress in the process.
    handshakes: Option<Located<Number>>,
    /// Bytes of a ClientHello.
    client_hello: Option<Located<SizeText>>,
    /// Bytes of the head of a request or response.
    header_bytes: Option<Located<SizeText>>,
    /// Header fields of a request or response.
    headers: Option<Located<Number>>,
    /// Bytes of a request target (path and query).
    target: Option<Located<SizeText>>,
    /// Bytes of a request body, or `unlimited`.
    body: Option<Located<SizeText>>,
    /// Concurrent streams of an HTTP/2 connection.
    h2_streams: Option<Located<Number>>,
    /// Client certificates remembered for the inventory, and entries of the rollout report.
    inventory: Option<Located<Number>>,
    /// TLS sessions remembered in the process, for `resumption.mode` `stateful` and `both`.
    sessions: Option<Located<Number>>,
    /// Bytes they may take in all; the oldest go first.
    session_memory: Option<Located<SizeText>>,
}

/// `[timeouts]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTimeouts {
    /// From accepting a connection to its whole ClientHello.
    client_hello: Option<Located<DurationText>>,
    /// From accepting a connection to the end of the handshake.
    handshake: Option<Located<DurationText>>,
    /// From the first byte of a request head to its end.
    header: Option<Located<DurationText>>,
    /// How long a connection may stay without a request.
    idle: Option<Located<DurationText>>,
    /// How long a request body may bring no byte.
    body: Option<Located<DurationText>>,
    /// How long a client may take no byte of a response.
    write: Option<Located<DurationText>>,
    /// How long an upgraded connection (WebSocket), or one to a TCP upstream, may bring no byte either way.
    tunnel: Option<Located<DurationText>>,
    /// From SIGTERM to closing what is left.
    drain: Option<Located<DurationText>>,
    /// While draining: how long an idle connection may still bring a last request.
    drain_idle: Option<Located<DurationText>>,
    /// How long requests in progress may go on after the client's certificate was revoked, denied or expired,
    /// or its CA was removed.
    revoked: Option<Located<DurationText>>,
}

impl RawLimits {
    pub(crate) fn check(self, check: &mut Check<'_>) -> Limits {
        const MANY: usize = 1 << 24;
        let default = Limits::default();
        let mut bytes = |value, default: usize, least: u64, most: u64| {
            let size = check.size(value, default as u64, least..=most);
            usize::try_from(size).unwrap_or(default)
        };
        // A post-quantum ClientHello has 1.2 KiB of key share alone.
        let client_hello = bytes(self.client_hello, default.client_hello, 4 << 10, 1 << 20);
        let header_bytes = bytes(self.header_bytes, default.header_bytes, 1 << 10, 1 << 20);
        let target = bytes(self.target, default.target, 64, 1 << 20);
        let session_memory = bytes(
            self.session_memory,
            default.session_memory,
            64 << 10,
            64 << 30,
        );
        let body = match self.body {
            Some(text) if text.value.0 == "unlimited" => None,
            Some(text) => Some(check.size(Some(text), 0, 1..=1 << 50)),
            None => default.body,
        };
        let streams = check.count(self.h2_streams, 128, 1..=1 << 16);
        Limits {
            connections: check.count(self.connections, default.connections, 1..=MANY),
            handshakes: check.count(self.handshakes, default.handshakes, 1..=MANY),
            client_hello,
            header_bytes,
            headers: check.count(self.headers, default.headers, 8..=256),
            target,
            body,
            h2_streams: u32::try_from(streams).unwrap_or(default.h2_streams),
            inventory: check.count(self.inventory, default.inventory, 0..=1 << 20),
            sessions: check.count(self.sessions, default.sessions, 16..=MANY),
            session_memory,
        }
    }
}

impl RawTimeouts {
    pub(crate) fn check(self, check: &mut Check<'_>) -> Timeouts {
        let default = Timeouts::default();
        let hour = Duration::from_millis(1)..=Duration::from_secs(3_600);
        let day = Duration::from_millis(1)..=Duration::from_secs(86_400);
        let place =
            |text: &Option<Located<DurationText>>| text.as_ref().map(|text| text.span.clone());
        let hello_place = place(&self.client_hello).or_else(|| place(&self.handshake));
        let drain_place = place(&self.drain_idle).or_else(|| place(&self.drain));
        let timeouts = Timeouts {
            client_hello: check.duration(self.client_hello, default.client_hello, hour.clone()),
            handshake: check.duration(self.handshake, default.handshake, hour.clone()),
            header: check.duration(self.header, default.header, hour),
            idle: check.duration(self.idle, default.idle, day.clone()),
            body: check.duration(self.body, default.body, day.clone()),
            write: check.duration(self.write, default.write, day.clone()),
            tunnel: check.duration(self.tunnel, default.tunnel, day.clone()),
            drain: check.duration(self.drain, default.drain, Duration::ZERO..=*day.end()),
            drain_idle: check.duration(
                self.drain_idle,
                default.drain_idle,
                Duration::ZERO..=*day.end(),
            ),
            revoked: check.duration(self.revoked, default.revoked, Duration::ZERO..=*day.end()),
        };
        let nested: [(Option<Span>, bool, &str); 2] = [
            (
                hello_place,
                timeouts.client_hello > timeouts.handshake,
                "`client_hello` is longer than `handshake`, of which it is a part",
            ),
            (
                drain_place,
                timeouts.drain_idle > timeouts.drain,
                "`drain_idle` is longer than `drain`, of which it is a part",
            ),
        ];
        for (place, wrong, message) in nested {
            if let (Some(place), true) = (place, wrong) {
                let help = format!(
                    "the values are client_hello = {:?}, handshake = {:?}, drain = {:?}, drain_idle = {:?}",
                    timeouts.client_hello, timeouts.handshake, timeouts.drain, timeouts.drain_idle
                );
                check.error(&place, message).help(help);
            }
        }
        timeouts
    }
}
