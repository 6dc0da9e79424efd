//! `/livez`, `/readyz`, `/metrics` for kubelet, load balancers and Prometheus; `/jwks.json` for upstreams.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::text::{counter, gauge, label};
use super::{hsm, tickets, trust, upstreams};
use crate::proxy::Shared;
use crate::rates::RateLimit;
use crate::tls::acceleration::Acceleration;
use crate::upstream::Target;

/// Scrapes and probes served at once; more wait in the kernel.
const AT_ONCE: usize = 32;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A probe connection may stay this long.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What the probes report on.
#[derive(Debug)]
pub struct State {
    /// Snapshot and counters.
    pub shared: Arc<Shared>,
    /// The registry behind `/metrics`.
    pub registry: Registry,
    /// What was measured at start.
    pub acceleration: Acceleration,
    /// The process is leaving.
    pub draining: AtomicBool,
}

/// Serves until the runtime ends.
pub async fn listen(listener: TcpListener, state: Arc<State>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let response = answer(&state, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(16 * 1024);
            let served = builder.serve_connection(TokioIo::new(tcp), service);
            // A probe that fails is the prober's to report.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
        });
    }
}

fn answer<B>(state: &State, request: &Request<B>) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "read only; changes go through the unix socket\n".into(),
        );
    }
    match request.uri().path() {
        "/livez" => respond(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" => {
            let draining = state.draining.load(Ordering::Relaxed);
            let status = if draining {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            };
            respond(status, "application/json", readiness(state, draining))
        }
        "/metrics" => respond(StatusCode::OK, OPENMETRICS, metrics(state)),
        "/jwks.json" => respond(StatusCode::OK, "application/jwk-set+json", jwks(state)),
        _ => respond(
            StatusCode::NOT_FOUND,
            TEXT,
            "try /livez, /readyz, /metrics, /jwks.json\n".into(),
        ),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

/// 200 also while a token is away: taking the gateway out of its balancer would help nobody, for the rest of the
/// fleet has the same token, and standing connections go on.
fn readiness(state: &State, draining: bool) -> String {
    let snapshot = state.shared.snapshot.load();
    let status = match (draining, hsm::all_up(&snapshot.tokens)) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "degraded",
    };
    let body = json!({
        "status": status,
        "generation": snapshot.generation,
        "hsm": hsm::states(&snapshot.tokens),
    });
    format!("{body}\n")
}

/// The public keys that identities are signed with; none where none are.
fn jwks(state: &State) -> String {
    let snapshot = state.shared.snapshot.load();
    let tokens = snapshot.identity_tokens.as_ref();
    let keys = tokens.map_or_else(|| json!({ "keys": [] }), |tokens| tokens.signer.jwks());
    format!("{keys}\n")
}

fn metrics(state: &State) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode_registry(&mut out, &state.registry);
    let _ = encode_snapshot(&mut out, state);
    let _ = text::encode_eof(&mut out);
    out
}

/// Values that are read at scrape time: they belong to the snapshot, which comes and goes.
fn encode_snapshot(out: &mut String, state: &State) -> std::fmt::Result {
    let snapshot = state.shared.snapshot.load();
    gauge(
        out,
        "portcullis_config_generation",
        "Counts up with every reload",
    )?;
    writeln!(out, "portcullis_config_generation {}", snapshot.generation)?;
    gauge(out, "portcullis_connections_limit", "limits.connections")?;
    writeln!(
        out,
        "portcullis_connections_limit {}",
        snapshot.limits.connections
    )?;
    gauge(
        out,
        "portcullis_certificate_not_after_seconds",
        "End of validity of a site's certificate, Unix time",
    )?;
    for (site, rules) in snapshot.sites.iter().zip(&snapshot.rules.sites) {
        for certificate in &site.certificates {
            let (site, kind) = (label(&rules.name), label(&certificate.key.kind.to_string()));
            writeln!(
                out,
                "portcullis_certificate_not_after_seconds{{site={site},key=\"{}\",provenance=\"{}\"}} {}",
                kind.trim_matches('"'),
                certificate.key.provenance,
                certificate.not_after
            )?;
        }
    }
    encode_rates(out, &snapshot.rates)?;
    encode_shown_certificates(out, &snapshot.targets)?;
    gauge(
        out,
        "portcullis_aes_gcm_bytes_per_second",
        "AES-128-GCM on one core, measured at start",
    )?;
    writeln!(
        out,
        "portcullis_aes_gcm_bytes_per_second {:.0}",
        state.acceleration.aes_gcm_bytes_per_second
    )?;
    gauge(
        out,
        "portcullis_cpu_feature",
        "Instruction sets aws-lc has paths for",
    )?;
    for (name, present) in &state.acceleration.features {
        writeln!(
            out,
            "portcullis_cpu_feature{{feature=\"{name}\"}} {}",
            u8::from(*present)
        )?;
    }
    trust::encode(
        out,
        &snapshot.rules,
        &state.shared.inventory,
        unix_seconds(),
    )?;
    tickets::encode(out, &snapshot.resumption)?;
    upstreams::encode(out, &snapshot.targets)?;
    hsm::encode(out, &snapshot.tokens)
}

/// Certificates that are shown to upstreams.
fn encode_shown_certificates(out: &mut String, targets: &[Arc<Target>]) -> std::fmt::Result {
    gauge(
        out,
        "portcullis_upstream_certificate_not_after_seconds",
        "End of validity of the certificate shown to an upstream, Unix time",
    )?;
    for target in targets {
        let tls = target.tls.as_ref().map(|tls| tls.load());
        if let Some(certificate) = tls.as_ref().and_then(|tls| tls.certificate()) {
            writeln!(
                out,
                "portcullis_upstream_certificate_not_after_seconds{{upstream={},key=\"{}\",provenance=\"{}\"}} {}",
                label(&target.name),
                certificate.key.kind,
                certificate.key.provenance,
                certificate.not_after
            )?;
        }
    }
    Ok(())
}

fn encode_rates(out: &mut String, rates: &[Arc<RateLimit>]) -> std::fmt::Result {
    let name = "portcullis_rate_limited";
    counter(out, name, "Requests refused by a rate limit")?;
    for limit in rates {
        writeln!(
            out,
            "{name}_total{{limit={}}} {}",
            label(limit.name()),
            limit.refused()
        )?;
    }
    let name = "portcullis_rate_limit_fallbacks";
    counter(
        out,
        name,
        "Requests for which the Redis of a rate limit did not answer",
    )?;
    for limit in rates {
        writeln!(
            out,
            "{name}_total{{limit={}}} {}",
            label(limit.name()),
            limit.fallbacks()
        )?;
    }
    let name = "portcullis_rate_limit_keys";
    gauge(
        out,
        name,
        "Callers with a count of their own in this process",
    )?;
    for limit in rates {
        writeln!(
            out,
            "{name}{{limit={}}} {}",
            label(limit.name()),
            limit.keys()
        )?;
    }
    Ok(())
}

/// Seconds since the Unix epoch.
pub(super) fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
