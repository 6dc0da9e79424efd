//! What is counted, when it starts, and over which protocol.

use std::time::Duration;

use super::Target;

/// What is counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// Handshakes: connect, handshake, close.
    Handshake,
    /// A new connection and one request on it.
    Request,
    /// Requests on connections that stay.
    Keepalive,
    /// Bytes of large answers on connections that stay.
    Bulk,
    /// Connections that stay open and do nothing, each after one request.
    Idle,
    /// Handshakes, and what they do to requests on an unrelated connection.
    Mixed(Mixed),
    /// The highest rate at which latency stays within a bound.
    Ramp(Ramp),
}

impl Mode {
    /// As on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::Keepalive => "keepalive",
            Self::Bulk => "bulk",
            Self::Idle => "idle",
            Self::Mixed(_) => "mixed",
            Self::Ramp(_) => "ramp",
        }
    }

    /// What is counted, in the singular.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Handshake | Self::Mixed(_) => "handshake",
            Self::Request => "connection+request",
            Self::Keepalive => "request",
            Self::Bulk => "GB",
            Self::Idle => "connection",
            Self::Ramp(ramp) => ramp.of.mode().unit(),
        }
    }

    /// What another run must share, of this mode alone.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Mixed(mixed) => {
                let probe = mixed.probe.as_ref().map(Target::url);
                let probe = probe.unwrap_or_else(|| "the target".to_owned());
                vec![
                    ("probe", probe),
                    ("probe every", format!("{:?}", mixed.every)),
                ]
            }
            Self::Ramp(ramp) => vec![
                ("ramp of", ramp.of.mode().name().to_owned()),
                ("p99 bound", format!("{:?}", ramp.bound)),
                ("step", format!("{:?}", ramp.step)),
            ],
            _ => Vec::new(),
        }
    }
}

/// A handshake flood beside an unrelated connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixed {
    /// What the unrelated connection asks for; none asks the target.
    pub probe: Option<Target>,
    /// How often it asks.
    pub every: Duration,
}

impl Default for Mixed {
    fn default() -> Self {
        Self {
            probe: None,
            every: Duration::from_millis(2),
        }
    }
}

/// A search for the highest rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Ramp {
    /// What is started at this rate.
    pub of: RampOf,
    /// 99 % of the latencies must be shorter.
    pub bound: Duration,
    /// The first rate that is tried.
    pub from: f64,
    /// How long each step is measured.
    pub step: Duration,
}

impl Default for Ramp {
    fn default() -> Self {
        Self {
            of: RampOf::Handshake,
            bound: Duration::from_millis(10),
            from: 500.0,
            step: Duration::from_secs(2),
        }
    }
}

/// What a ramp starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RampOf {
    /// Handshakes.
    Handshake,
    /// New connections with one request.
    Request,
    /// Requests on connections that stay.
    Keepalive,
}

impl RampOf {
    /// The mode of each step.
    pub fn mode(self) -> Mode {
        match self {
            Self::Handshake => Mode::Handshake,
            Self::Request => Mode::Request,
            Self::Keepalive => Mode::Keepalive,
        }
    }
}

/// When units start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each when the one before it on its connection is over.
    Closed,
    /// At times that were settled before, whatever the server does. What finds every connection busy starts
    /// late and counts from the time it was to start.
    Open {
        /// Units a second.
        per_second: f64,
    },
}

/// The protocol of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Protocol {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }

    pub(super) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
            Self::Http3 => b"h3",
        }
    }
}
