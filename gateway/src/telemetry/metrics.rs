//! Every metric of the data plane, each name once. Handles are looked up at start, never per request.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::reason::Reason;

/// Handles of all data-plane metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Connections accepted.
    pub connections: Counter,
    /// Accepts that were put off because many handshakes were in progress.
    pub accept_pauses: Counter,
    /// Handshakes that waited for their turn, so that requests came first.
    pub handshakes_deferred: Counter,
    /// Connections open.
    pub connections_open: Gauge,
    /// Connections that were ended because the client's certificate ceased to be good.
    pub connections_dismissed: Counter,
    /// Handshakes in progress.
    pub handshakes_open: Gauge,
    /// Handshakes finished, by version and kind (`full`, `hello_retry`, `resumed`).
    handshakes: [[Counter; 3]; 2],
    /// Accept to end of handshake.
    handshake_seconds: Histogram,
    /// Requests answered, by status class.
    requests: [Counter; 5],
    /// Head of request to end of response.
    request_seconds: Histogram,
    /// Requests in progress.
    pub requests_open: Gauge,
    /// Connections that carry no HTTP, permitted or not.
    pub tcp_connections: Counter,
    /// Of these, those that are open.
    pub tcp_connections_open: Gauge,
    /// Bytes that they carried: of clients, of upstreams.
    pub tcp_bytes: [Counter; 2],
    /// New connections to upstreams.
    pub upstream_connections: Counter,
    /// Requests sent again: a pooled connection had been closed, or no answer came and it was safe.
    pub upstream_retries: Counter,
    /// Requests not sent again because the budget of their upstream was used up.
    pub upstream_retries_over_budget: Counter,
    /// Refusals by reason.
    refusals: Vec<Counter>,
    /// Requests that passed and that a rule on trial would have denied, by rule.
    shadow_denials: Family<RuleLabel, Counter>,
    /// Access log lines that found the queue full.
    pub access_lines_dropped: Counter,
    /// Refusal log lines that found the queue full.
    pub refusal_lines_dropped: Counter,
    /// Tasks that ended in a panic: always a defect.
    pub panics: Counter,
    /// Reloads that were put in force.
    pub reloads: Counter,
    /// Reloads that were refused; the old configuration stayed.
    pub reloads_failed: Counter,
}

/// The kind of a finished handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeLabel {
    /// Full.
    Full = 0,
    /// Full, after a HelloRetryRequest.
    HelloRetry = 1,
    /// Resumed.
    Resumed = 2,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    version: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FromLabel {
    from: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    stream: &'static str,
}

const HANDSHAKE_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
const REQUEST_BUCKETS: [f64; 13] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

impl Metrics {
    /// Makes the handles and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let handshakes = Family::<HandshakeLabels, Counter>::default();
        let requests = Family::<ClassLabel, Counter>::default();
        let refusals = Family::<ReasonLabel, Counter>::default();
        let dropped = Family::<StreamLabel, Counter>::default();
        let tcp_bytes = Family::<FromLabel, Counter>::default();
        let kinds = ["full", "hello_retry", "resumed"];
        let metrics = Self {
            connections: Counter::default(),
            accept_pauses: Counter::default(),
            handshakes_deferred: Counter::default(),
            connections_open: Gauge::default(),
            connections_dismissed: Counter::default(),
            handshakes_open: Gauge::default(),
            handshakes: ["1.2", "1.3"].map(|version| {
                kinds.map(|kind| handshakes.get_or_create_owned(&HandshakeLabels { version, kind }))
            }),
            handshake_seconds: Histogram::new(HANDSHAKE_BUCKETS),
            requests: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|code| requests.get_or_create_owned(&ClassLabel { code })),
            request_seconds: Histogram::new(REQUEST_BUCKETS),
            requests_open: Gauge::default(),
            tcp_connections: Counter::default(),
            tcp_connections_open: Gauge::default(),
            tcp_bytes: ["client", "upstream"]
                .map(|from| tcp_bytes.get_or_create_owned(&FromLabel { from })),
            upstream_connections: Counter::default(),
            upstream_retries: Counter::default(),
            upstream_retries_over_budget: Counter::default(),
            refusals: Reason::ALL
                .iter()
                .map(|reason| {
                    refusals.get_or_create_owned(&ReasonLabel {
                        reason: reason.code(),
                    })
                })
                .collect(),
            shadow_denials: Family::default(),
            access_lines_dropped: dropped.get_or_create_owned(&StreamLabel { stream: "access" }),
            refusal_lines_dropped: dropped.get_or_create_owned(&StreamLabel { stream: "refusals" }),
            panics: Counter::default(),
            reloads: Counter::default(),
            reloads_failed: Counter::default(),
        };
        registry.register("handshakes", "Handshakes finished", handshakes);
        registry.register("requests", "Requests answered, by status class", requests);
        registry.register(
            "refusals",
            "Refused connections, handshakes and requests, by reason",
            refusals,
        );
        registry.register(
            "tcp_bytes",
            "Bytes carried to and from TCP upstreams, by whose they are",
            tcp_bytes,
        );
        registry.register(
            "log_lines_dropped",
            "Log lines that found the queue full",
            dropped,
        );
        metrics.register_connections(registry);
        metrics.register_requests(registry);
        metrics
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Client connections accepted",
            self.connections.clone(),
        );
        registry.register(
            "accept_pauses",
            "Accepts put off because three quarters of limits.handshakes were in progress",
            self.accept_pauses.clone(),
        );
        registry.register(
            "handshakes_deferred",
            "Handshakes that waited for their turn behind other work of their worker",
            self.handshakes_deferred.clone(),
        );
        registry.register(
            "connections_open",
            "Client connections open",
            self.connections_open.clone(),
        );
        registry.register(
            "connections_dismissed",
            "Connections ended because the client's certificate ceased to be good",
            self.connections_dismissed.clone(),
        );
        registry.register(
            "handshakes_open",
            "Handshakes in progress",
            self.handshakes_open.clone(),
        );
        registry.register(
            "handshake_seconds",
            "Accept to end of handshake",
            self.handshake_seconds.clone(),
        );
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register(
            "request_seconds",
            "Request head to end of response",
            self.request_seconds.clone(),
        );
        registry.register(
            "requests_open",
            "Requests in progress",
            self.requests_open.clone(),
        );
        registry.register(
            "tcp_connections",
            "Connections for TCP upstreams, refused ones included",
            self.tcp_connections.clone(),
        );
        registry.register(
            "tcp_connections_open",
            "Connections to TCP upstreams open",
            self.tcp_connections_open.clone(),
        );
        registry.register(
            "upstream_connections",
            "Connections made to upstreams",
            self.upstream_connections.clone(),
        );
        registry.register(
            "upstream_retries",
            "Requests sent again, because a pooled connection had been closed or no answer came",
            self.upstream_retries.clone(),
        );
        registry.register(
            "upstream_retries_over_budget",
            "Requests not sent again because the budget was used up",
            self.upstream_retries_over_budget.clone(),
        );
        registry.register(
            "shadow_denials",
            "Requests that a rule with shadow = true would have denied, by rule",
            self.shadow_denials.clone(),
        );
        registry.register("panics", "Tasks that ended in a panic", self.panics.clone());
        registry.register(
            "reloads",
            "Configurations put in force by reload",
            self.reloads.clone(),
        );
        registry.register(
            "reloads_failed",
            "Reloads refused; the old configuration stayed",
            self.reloads_failed.clone(),
        );
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Reason) {
        // The vector was made from `Reason::ALL`, which lists the variants in order of their discriminants.
        if let Some(counter) = self.refusals.get(reason as usize) {
            counter.inc();
        }
    }

    /// Counts a request that a rule on trial would have denied. One look-up by name: such rules are few, and
    /// not there for ever.
    pub fn shadow_denied(&self, rule: &Arc<str>) {
        let rule = Arc::clone(rule);
        self.shadow_denials.get_or_create(&RuleLabel { rule }).inc();
    }

    /// There is a series for each rule on trial in force, from the start, and none for a rule of the past.
    pub fn adopt_shadow_rules<'a>(
        &self,
        before: impl Iterator<Item = &'a Arc<str>>,
        now: impl Iterator<Item = &'a Arc<str>>,
    ) {
        let label = |rule: &Arc<str>| RuleLabel {
            rule: Arc::clone(rule),
        };
        let now: HashSet<RuleLabel> = now.map(label).collect();
        for gone in before.map(label).filter(|rule| !now.contains(rule)) {
            self.shadow_denials.remove(&gone);
        }
        for rule in &now {
            drop(self.shadow_denials.get_or_create(rule));
        }
    }

    /// Counts a finished handshake.
    pub fn handshake_done(&self, tls13: bool, kind: HandshakeLabel, took: Duration) {
        self.handshakes[usize::from(tls13)][kind as usize].inc();
        self.handshake_seconds.observe(took.as_secs_f64());
    }

    /// Counts an answered request.
    pub fn request_done(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.requests[class].inc();
        self.request_seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_on_trial_have_a_series_as_long_as_they_are_in_force() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (old, new): (Arc<str>, Arc<str>) = ("old".into(), "n\"ew".into());
        let text = |metrics: &Metrics, before: &[Arc<str>], now: &[Arc<str>]| {
            metrics.adopt_shadow_rules(before.iter(), now.iter());
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        assert!(
            text(&metrics, &[], &[Arc::clone(&old)])
                .contains("shadow_denials_total{rule=\"old\"} 0")
        );
        metrics.shadow_denied(&old);
        let both = text(
            &metrics,
            &[Arc::clone(&old)],
            &[Arc::clone(&old), Arc::clone(&new)],
        );
        assert!(
            both.contains("{rule=\"old\"} 1") && both.contains("{rule=\"n\\\"ew\"} 0"),
            "{both}"
        );
        assert!(!text(&metrics, &[old], &[new]).contains("\"old\""));
    }

    #[test]
    fn a_refusal_is_counted_under_its_own_code() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.refused(Reason::UpstreamClosed);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("refusals_total{reason=\"UPSTREAM_CLOSED\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("refusals_total{reason=\"UPSTREAM_BUSY\"} 0"),
            "{text}"
        );
    }
}
