//! The life of one connection, top to bottom.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{ClientCertMode, ListenerKind, Speech};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion};
use rustls_pki_types::UnixTime;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::announced::{Announced, client_of};
use self::from::{From, Own};
use crate::identity::ClientIdentity;
use crate::limit::Slot;
use crate::proxy::{
    Client, Worker, serve_http1, serve_http2, serve_local_tcp, serve_passthrough, serve_redirect,
    serve_tcp,
};
use crate::reason::Reason;
use crate::snapshot::{SiteRules, Snapshot, normalize_host};
use crate::telemetry::RefusalRecord;
use crate::telemetry::access_log::{AddressText, ConnectionFacts};
use crate::telemetry::metrics::HandshakeLabel;
use crate::tls::{self, AcceptSettings, Accepted, Arrived, Negotiated, Outcome, Resolve, SiteTls};
use crate::trust::{Refused, Shown};

/// Serves an accepted connection to its end. `_slot` is its place in `limits.connections`.
pub async fn run(
    tcp: TcpStream,
    peer: SocketAddr,
    listener: Arc<str>,
    worker: Rc<Worker>,
    _slot: Slot,
) {
    let snapshot = worker.snapshot();
    let Some(begun) = Box::pin(begin(tcp, peer, &listener, &worker, snapshot)).await else {
        return;
    };
    let (stream, client, speaks) = match begun {
        Begun::Shaken(stream, client, speaks) => (stream, client, speaks),
        Begun::Local(tcp, client, speech) => {
            return match speech {
                Speech::Http1 => serve_http1(tcp, client, worker).await,
                Speech::Http2 => Box::pin(serve_http2(tcp, client, worker)).await,
                Speech::Tcp => Box::pin(serve_local_tcp(tcp, client, worker)).await,
            };
        }
        Begun::HandedOn(handed_on) => {
            let (handed_on, facts) = *handed_on;
            return Box::pin(serve_passthrough(handed_on, facts, worker)).await;
        }
    };
    worker.enter(&client);
    match speaks {
        Speaks::Http2 => Box::pin(serve_http2(stream, client, worker)).await,
        Speaks::Http1 => serve_http1(stream, client, worker).await,
        Speaks::Tcp => Box::pin(serve_tcp(stream, client, worker)).await,
    }
}

/// What a connection began with.
enum Begun {
    /// A handshake, which is complete.
    Shaken(tls::TlsStream, Rc<Client>, Speaks),
    /// Nothing: a program of this machine speaks in plain text.
    Local(TcpStream, Rc<Client>, Speech),
    /// A ClientHello for a name that is passed through.
    HandedOn(Box<(tls::HandedOn, ConnectionFacts)>),
}

/// What is spoken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    /// Anything else: nobody here reads it.
    Tcp,
}

impl Speaks {
    /// By the protocol that was chosen, and what the site does with it.
    fn of(site: &SiteRules, alpn: Option<&[u8]>) -> Self {
        match (site.settings.tcp_route(alpn), alpn) {
            (Some(_), _) => Self::Tcp,
            (None, Some(b"h2")) => Self::Http2,
            (None, _) => Self::Http1,
        }
    }
}

/// What stands in front of requests: the header of a proxy, the handshake. A redirect listener has no more than one
/// request, which is answered here.
async fn begin(
    mut tcp: TcpStream,
    peer: SocketAddr,
    listener: &Arc<str>,
    worker: &Rc<Worker>,
    snapshot: Arc<Snapshot>,
) -> Option<Begun> {
    let start = Instant::now();
    // `None`: removed by a reload between accept and now.
    let settings = &snapshot.rules.listener(listener)?.settings;
    let mut from = From {
        client: peer,
        peer,
        own: Own::No,
    };
    if let Some(proxies) = &settings.proxy_protocol {
        let by = start + snapshot.timeouts.client_hello;
        // Boxed: a handshake does not carry the room for it.
        match Box::pin(client_of(&mut tcp, peer, proxies, by)).await {
            Ok(Announced::Client(client)) => from.client = client,
            Ok(Announced::Proxy) => from.own = Own::Yes,
            Err(Refused { reason, detail }) => {
                worker.refuse(&RefusalRecord {
                    detail: Some(&*detail).filter(|detail| !detail.is_empty()),
                    ..RefusalRecord::of_connection(reason, peer, listener)
                });
                return None;
            }
        }
    }
    if let ListenerKind::Redirect { port } = settings.kind {
        let worker = Rc::clone(worker);
        Box::pin(serve_redirect(tcp, from.client, (listener, port), worker)).await;
        return None;
    }
    if let ListenerKind::Egress { site, speech } = settings.kind {
        let site = Arc::clone(&snapshot.rules.sites[site].name);
        let facts = ConnectionFacts::unterminated(peer, (listener, site), ClientIdentity::Local);
        let client = Rc::new(Client::new(facts, Shown::default(), None));
        return Some(Begun::Local(tcp, client, speech));
    }
    handshake((tcp, start), from, listener, worker, snapshot).await
}

/// Performs the TLS handshake of a connection that was accepted `start`, under the snapshot of then. Refusals are counted
/// and logged here.
async fn handshake(
    (tcp, start): (TcpStream, Instant),
    from: From,
    listener: &Arc<str>,
    worker: &Worker,
    snapshot: Arc<Snapshot>,
) -> Option<Begun> {
    let refused = |reason, site, server_name: Option<&str>, detail: Option<&str>| {
        worker.refuse(&RefusalRecord {
            site,
            server_name,
            detail,
            ..RefusalRecord::of_connection(reason, from.client, listener)
        });
    };
    let Some(_place) = worker.shared.handshakes.try_take() else {
        refused(Reason::HandshakeLimit, None, None, None);
        return None;
    };
    let metrics = &worker.shared.metrics;
    let _open = OpenHandshake::new(&metrics.handshakes_open);
    let settings = AcceptSettings {
        client_hello_by: start + snapshot.timeouts.client_hello,
        handshake_by: start + snapshot.timeouts.handshake,
        client_hello_bytes: snapshot.limits.client_hello,
    };
    let resolver = Sites {
        snapshot: &snapshot,
        listener,
    };
    let Accepted {
        stream,
        site,
        shown,
        resumption,
    } = match tls::accept(tcp, &resolver, (settings, &worker.turns)).await {
        Ok(Arrived::Accepted(accepted)) => accepted,
        Ok(Arrived::HandedOn(handed_on)) => {
            let facts = from.facts(&handed_on, listener, &snapshot)?;
            return Some(Begun::HandedOn(Box::new((handed_on, facts))));
        }
        Err(failure) => {
            let site = failure.site.map(|site| &*snapshot.rules.sites[site].name);
            let detail = Some(&*failure.detail).filter(|detail| !detail.is_empty());
            refused(failure.reason, site, failure.server_name.as_deref(), detail);
            return None;
        }
    };
    let site = &snapshot.rules.sites[site];
    // Boxed: few connections wait for an answer here.
    if let Err(Refused { reason, detail }) = settle(site, &shown).await {
        refused(reason, Some(&site.name), None, Some(&detail));
        return None;
    }
    let shaken = (Negotiated::of(stream.tls()), &shown, resumption);
    let mut facts = greet(worker, (from.client, listener), site, shaken, start);
    facts.proxy = from.proxy();
    let listener = snapshot.rules.listener(listener);
    facts.alt_svc = listener.and_then(|listener| listener.alt_svc.clone());
    let early_data = stream.early_data();
    let speaks = Speaks::of(site, stream.tls().alpn_protocol());
    let client = Rc::new(Client::new(facts, shown, early_data));
    Some(Begun::Shaken(stream, client, speaks))
}

/// Counts a handshake that began at `start`, and notes who came.
fn greet(
    worker: &Worker,
    from: (SocketAddr, &Arc<str>),
    site: &SiteRules,
    (negotiated, shown, resumption): (Negotiated, &Shown, Outcome),
    start: Instant,
) -> ConnectionFacts {
    let (facts, kind) = facts(negotiated, from, site, (shown, resumption));
    let tls13 = facts.tls_version == TLS_1_3;
    let metrics = &worker.shared.metrics;
    metrics.handshake_done(tls13, kind, start.elapsed());
    note(worker, &facts, site, shown);
    facts
}

/// Tells the inventory who came, and the rollout report who would be refused if the site were stricter.
fn note(worker: &Worker, facts: &ConnectionFacts, site: &SiteRules, shown: &Shown) {
    let inventory = &worker.shared.inventory;
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    inventory.note(&facts.identity, &site.name, now);
    let client = (shown.identity(), facts.client.ip());
    if shown.identity().is_none() && site.demands[0].mode() == ClientCertMode::Accept {
        let missing = (&site.name, Reason::ClientCertMissing, "");
        inventory.would_refuse(missing, client, now);
    }
    for note in shown.proof().iter().flat_map(|proof| proof.notes()) {
        inventory.would_refuse((&site.name, note.reason, &note.detail), client, now);
    }
}

/// Waits for an OCSP answer that is not there yet. Ends in a close where it is bad: rustls sends no alert after the
/// handshake.
async fn settle(site: &SiteRules, shown: &Shown) -> Result<(), Refused> {
    match shown.proof() {
        Some(proof) if proof.is_pending() => {
            Box::pin(site.handshake.settle(shown, UnixTime::now())).await
        }
        _ => Ok(()),
    }
}

const TLS_1_2: &str = "1.2";
const TLS_1_3: &str = "1.3";

/// What a finished handshake came to.
fn facts(
    tls: Negotiated,
    (client, listener): (SocketAddr, &Arc<str>),
    site: &SiteRules,
    (shown, resumption): (&Shown, Outcome),
) -> (ConnectionFacts, HandshakeLabel) {
    let kind = match tls.kind {
        Some(HandshakeKind::Resumed) => HandshakeLabel::Resumed,
        Some(HandshakeKind::FullWithHelloRetryRequest) => HandshakeLabel::HelloRetry,
        _ => HandshakeLabel::Full,
    };
    let tls13 = tls.version == Some(ProtocolVersion::TLSv1_3);
    let facts = ConnectionFacts {
        client,
        listener: Arc::clone(listener),
        site: Arc::clone(&site.name),
        tls_version: if tls13 { TLS_1_3 } else { TLS_1_2 },
        tls_cipher: cipher_name(tls.suite),
        tls_curve: group_name(tls.group),
        tls_resumed: kind == HandshakeLabel::Resumed,
        tls_declined: match resumption {
            Outcome::Declined(declined) => Some(declined.as_str()),
            Outcome::Fresh | Outcome::Resumed => None,
        },
        identity: shown.client(),
        address: AddressText::default(),
        alt_svc: None,
        proxy: None,
    };
    (facts, kind)
}

struct Sites<'a> {
    snapshot: &'a Snapshot,
    listener: &'a str,
}

impl Resolve for Sites<'_> {
    type Site = usize;

    fn resolve(&self, server_name: Option<&str>) -> Result<(usize, Arc<SiteTls>), Reason> {
        let names = self
            .snapshot
            .rules
            .listener(self.listener)
            .and_then(|listener| listener.names.as_ref());
        let site = names
            .ok_or(Reason::UnknownServerName)?
            .site_for_client(server_name)?;
        Ok((site, Arc::clone(&self.snapshot.sites[site].tls)))
    }

    fn hands_on(&self, server_name: &str) -> bool {
        let listener = self.snapshot.rules.listener(self.listener);
        let names = listener.and_then(|listener| listener.names.as_ref());
        let owner = names.and_then(|names| names.passthrough_of(&normalize_host(server_name)));
        owner.is_some()
    }
}

/// Counts a handshake in progress.
struct OpenHandshake<'a>(&'a prometheus_client::metrics::gauge::Gauge);

impl<'a> OpenHandshake<'a> {
    fn new(gauge: &'a prometheus_client::metrics::gauge::Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenHandshake<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn cipher_name(suite: Option<CipherSuite>) -> &'static str {
    match suite {
        // rustls names the TLS 1.3 suites apart from IANA.
        Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
        Some(suite) => suite.as_str().unwrap_or_default(),
        None => "",
    }
}

fn group_name(group: Option<NamedGroup>) -> &'static str {
    match group {
        Some(NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
        Some(NamedGroup::X25519) => "X25519",
        Some(NamedGroup::secp256r1) => "secp256r1",
        Some(NamedGroup::secp384r1) => "secp384r1",
        _ => "",
    }
}

mod announced;
mod from;
mod quic;
#[cfg(test)]
mod sizes;

pub use quic::{Udp, run_quic};
