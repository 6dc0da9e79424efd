//! The life of one QUIC connection: the same sentence as over TCP.

use std::rc::Rc;
use std::sync::Arc;

use quinn_proto::{IdleTimeout, TransportConfig, VarInt};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout};

use super::{OpenHandshake, greet, settle};
use crate::limit::Slot;
use crate::proxy::{Client, Worker, serve_http3};
use crate::quic::{self, Arrival, Keys, Link, Socket};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::telemetry::RefusalRecord;
use crate::tls::quic::QuicAccepted;
use crate::tls::{Resolve, SiteTls};
use crate::trust::Refused;

/// Flow-control windows: what one client can make the gateway hold of its uploads, and of its answers. As HTTP/2.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A client's own streams: control, two of QPACK, and some that it greases with.
const CLIENT_STREAMS: u32 = 8;
/// Room for CRYPTO bytes that overtook others.
const CRYPTO: usize = 16 * 1024;
/// A peer that does not answer for the idle time is gone; it is asked this often within it.
const ASKED: u32 = 3;
/// H3_NO_ERROR.
const NO_ERROR: u64 = 0x100;
/// How long a closed connection may take to tell its client so.
const CLOSING: Duration = Duration::from_secs(1);

/// What connections of a listener have in common.
#[derive(Debug, Clone)]
pub struct Udp {
    /// The worker's socket.
    pub socket: Rc<Socket>,
    /// The listener's keys.
    pub keys: Keys,
}

/// Serves a connection from its first datagram to its end. `_slot` is its place in `limits.connections`.
pub async fn run_quic(
    arrival: Arrival,
    udp: Udp,
    listener: Arc<str>,
    worker: Rc<Worker>,
    _slot: Slot,
) {
    let snapshot = worker.snapshot();
    if snapshot.rules.listener(&listener).is_none() {
        return arrival.refuse(&udp.socket); // Removed by a reload between its arrival and now.
    }
    let Some((link, mut driver, client)) =
        Box::pin(handshake(arrival, &udp, &listener, &worker, snapshot)).await
    else {
        return;
    };
    if let Some(client) = client {
        worker.enter(&client);
        Box::pin(serve_http3(Rc::clone(&link), client, worker)).await;
    }
    link.close(NO_ERROR, b"");
    if timeout(CLOSING, &mut driver).await.is_err() {
        driver.abort();
    }
}

/// Performs the handshake under the snapshot of accept. Refusals are counted and logged here. A link without a client
/// is to be closed.
async fn handshake(
    arrival: Arrival,
    udp: &Udp,
    listener: &Arc<str>,
    worker: &Worker,
    snapshot: Arc<Snapshot>,
) -> Option<(Rc<Link>, JoinHandle<()>, Option<Rc<Client>>)> {
    let peer = arrival.remote();
    let refused = |reason, site, server_name: Option<&str>, detail: Option<&str>| {
        worker.refuse(&RefusalRecord {
            site,
            server_name,
            detail,
            ..RefusalRecord::of_connection(reason, peer, listener)
        });
    };
    let Some(_place) = worker.shared.handshakes.try_take() else {
        refused(Reason::HandshakeLimit, None, None, None);
        arrival.refuse(&udp.socket);
        return None;
    };
    let metrics = &worker.shared.metrics;
    let _open = OpenHandshake::new(&metrics.handshakes_open);
    let start = Instant::now();
    let settings = settings(&snapshot, listener, start);
    let accepted = quic::accept(arrival, &udp.socket, (&udp.keys, &worker.turns), settings).await;
    let (link, accepted) = match accepted {
        Ok(accepted) => accepted,
        Err(failure) => {
            let site = failure.site.map(|site| &*snapshot.rules.sites[site].name);
            let detail = Some(&*failure.detail).filter(|detail| !detail.is_empty());
            refused(failure.reason, site, failure.server_name.as_deref(), detail);
            return None;
        }
    };
    let driver = tokio::task::spawn_local(Rc::clone(&link).drive());
    let QuicAccepted {
        site,
        shown,
        resumption,
        negotiated,
    } = accepted;
    let site = &snapshot.rules.sites[site];
    if let Err(Refused { reason, detail }) = settle(site, &shown).await {
        refused(reason, Some(&site.name), None, Some(&detail));
        return Some((link, driver, None));
    }
    let shaken = (negotiated, &shown, resumption);
    let facts = greet(worker, (peer, listener), site, shaken, start);
    let client = Client::new(facts, shown, None);
    Some((link, driver, Some(Rc::new(client))))
}

fn settings(snapshot: &Arc<Snapshot>, listener: &Arc<str>, start: Instant) -> quic::Settings {
    let (limits, timeouts) = (&snapshot.limits, &snapshot.timeouts);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.h2_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(CLIENT_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(CONNECTION_WINDOW.into())
        .datagram_receive_buffer_size(None)
        .crypto_buffer_size(limits.client_hello.max(CRYPTO))
        .max_idle_timeout(IdleTimeout::try_from(timeouts.idle).ok())
        .keep_alive_interval(Some(timeouts.idle / ASKED));
    quic::Settings {
        sites: Arc::new(Sites {
            snapshot: Arc::clone(snapshot),
            listener: Arc::clone(listener),
        }),
        client_hello_by: start + timeouts.client_hello,
        handshake_by: start + timeouts.handshake,
        client_hello_bytes: limits.client_hello,
        header_bytes: limits.header_bytes,
        transport: Arc::new(transport),
    }
}

/// The sites of a listener, for as long as a handshake lasts.
struct Sites {
    snapshot: Arc<Snapshot>,
    listener: Arc<str>,
}

impl Resolve for Sites {
    type Site = usize;

    fn resolve(&self, server_name: Option<&str>) -> Result<(usize, Arc<SiteTls>), Reason> {
        let sites = super::Sites {
            snapshot: &self.snapshot,
            listener: &self.listener,
        };
        sites.resolve(server_name)
    }

    /// Over QUIC everything ends here, or is refused.
    fn hands_on(&self, _server_name: &str) -> bool {
        false
    }
}
