//! `[upstream.NAME.health]`: how each endpoint is asked whether it is well.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::value::{DurationText, Number, quoted};

/// How each endpoint is asked whether it is well, without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: HealthProbe,
    /// From one question to the next. Default 5 s.
    pub interval: Duration,
    /// How long the answer may take; not longer than `interval`. Default 2 s.
    pub timeout: Duration,
    /// Good answers in a row that bring it back. Default 2.
    pub healthy: u32,
    /// Bad answers in a row after which it is left out. Default 3.
    pub unhealthy: u32,
}

/// What an endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbe {
    /// GET for this path, in the upstream's protocol; 2xx is well.
    Http(String),
    /// Whether it takes a connection.
    Tcp,
    /// `grpc.health.v1.Health/Check` for this service; empty for the whole server.
    Grpc(String),
}

/// `[upstream.NAME.health]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHealth {
    /// Path that is asked for with GET; an answer of 2xx is well. One of `path`, `tcp` and `grpc` is required.
    path: Option<Located<String>>,
    /// Whether a connection is enough.
    tcp: Option<Located<bool>>,
    /// Service that `grpc.health.v1.Health/Check` is asked about; empty for the whole server.
    grpc: Option<Located<String>>,
    /// From one question to the next.
    interval: Option<Located<DurationText>>,
    /// How long the answer may take.
    timeout: Option<Located<DurationText>>,
    /// Good answers in a row that bring an endpoint back.
    healthy: Option<Located<Number>>,
    /// Bad answers in a row after which an endpoint is left out.
    unhealthy: Option<Located<Number>>,
}

const ROW_MAX: usize = 100;

impl RawHealth {
    /// Whether a connection is all that is asked for.
    pub(super) fn asks_tcp(&self) -> bool {
        self.path.is_none() && self.grpc.is_none()
    }

    /// `None` after a mistake.
    pub(super) fn check(self, check: &mut Check<'_>, table: &Span) -> Option<Health> {
        let allowed = Duration::from_millis(10)..=Duration::from_secs(3_600);
        let interval = check.duration(self.interval, Duration::from_secs(5), allowed.clone());
        let place = self.timeout.as_ref().map(|text| text.span.clone());
        let usual = Duration::from_secs(2).min(interval);
        let timeout = check.duration(self.timeout, usual, allowed);
        if let Some(place) = place.filter(|_| timeout > interval) {
            check
                .error(&place, "the next question comes before this is over")
                .help("`timeout` is at most `interval`");
        }
        let row = |check: &mut Check<'_>, number, default| {
            let count = check.count(number, default, 1..=ROW_MAX);
            u32::try_from(count).unwrap_or(1)
        };
        let healthy = row(check, self.healthy, 2);
        let unhealthy = row(check, self.unhealthy, 3);
        Some(Health {
            probe: probe(check, table, (self.path, self.tcp, self.grpc))?,
            interval,
            timeout,
            healthy,
            unhealthy,
        })
    }
}

type Written = (
    Option<Located<String>>,
    Option<Located<bool>>,
    Option<Located<String>>,
);

fn probe(check: &mut Check<'_>, table: &Span, (path, tcp, grpc): Written) -> Option<HealthProbe> {
    let tcp = tcp.filter(|tcp| tcp.value);
    let places = [
        path.as_ref().map(|it| it.span.clone()),
        tcp.as_ref().map(|it| it.span.clone()),
        grpc.as_ref().map(|it| it.span.clone()),
    ];
    let mut given = places.into_iter().flatten();
    let Some(first) = given.next() else {
        let lost = ["path", "tcp", "grpc"];
        if !lost.iter().any(|key| check.lost_key(table, key)) {
            check
                .error(table, "this asks nothing")
                .help("write one of `path = \"/healthz\"`, `tcp = true` and `grpc = \"\"`");
        }
        return None;
    };
    if let Some(second) = given.next() {
        check
            .error(
                &second,
                "an endpoint is asked one of `path`, `tcp` and `grpc`",
            )
            .related(&first, "chosen here already");
        return None;
    }
    match (path, grpc) {
        (Some(path), _) => {
            let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
            if !path.value.starts_with('/') || !path.value.bytes().all(plain) {
                let message = format!("{} is no path", quoted(&path.value));
                check
                    .error(&path.span, message)
                    .help("write it as it is asked for, as \"/healthz\"");
            }
            Some(HealthProbe::Http(path.value))
        }
        (None, Some(service)) => Some(HealthProbe::Grpc(service.value)),
        (None, None) => Some(HealthProbe::Tcp),
    }
}
