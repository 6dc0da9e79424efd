//! From the first datagram to an established connection, or a refusal.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use portcullis_hsm::step;
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, DatagramEvent, Endpoint, Event, Incoming,
    Transmit, TransportConfig,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::arrival::Arrival;
use super::crypto::Crypto;
use super::keys::Keys;
use super::link::Link;
use super::routes::{Datagram, Place};
use super::socket::Socket;
use crate::reason::Reason;
use crate::tls::HandshakeRefused;
use crate::tls::quic::{QuicAccepted, QuicSites, QuicVerdict};
use crate::turns::Turns;

/// For how long a refused client that did not hear it is told again.
const LINGER: Duration = Duration::from_secs(1);
/// Transport error codes of TLS alerts (RFC 9001, section 4.8).
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// Bounds on a connection.
pub struct Settings {
    /// Finds the site.
    pub sites: QuicSites,
    /// When the ClientHello must be complete.
    pub client_hello_by: Instant,
    /// When the handshake must be complete.
    pub handshake_by: Instant,
    /// Bytes of the ClientHello.
    pub client_hello_bytes: usize,
    /// Bytes of a head.
    pub header_bytes: usize,
    /// Windows, streams, idle time.
    pub transport: Arc<TransportConfig>,
}

/// A connection with the endpoint that is its own.
pub(super) struct Core {
    endpoint: Endpoint,
    handle: ConnectionHandle,
    pub(super) connection: Connection,
}

impl Core {
    /// Takes in what came and what is due. While the handshake lasts this may sign.
    pub(super) fn advance(&mut self, arrived: VecDeque<Datagram>) {
        let mut answer = Vec::new();
        for datagram in arrived {
            match datagram.enter(&mut self.endpoint, &mut answer) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) if handle == self.handle => {
                    self.connection.handle_event(event);
                }
                // A second connection has an endpoint of its own.
                Some(DatagramEvent::NewConnection(incoming)) => {
                    self.endpoint.ignore(incoming);
                }
                _ => {}
            }
        }
        let now = std::time::Instant::now();
        if self.connection.poll_timeout().is_some_and(|due| due <= now) {
            self.connection.handle_timeout(now);
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
    }

    /// What is to be sent next.
    pub(super) fn transmit(&mut self, segments: usize, contents: &mut Vec<u8>) -> Option<Transmit> {
        contents.clear();
        let now = std::time::Instant::now();
        self.connection.poll_transmit(now, segments, contents)
    }

    async fn send_all(&mut self, socket: &Socket, contents: &mut Vec<u8>) {
        while let Some(transmit) = self.transmit(socket.segments(), contents) {
            socket.send(&transmit, contents).await;
        }
    }

    /// Waits for a datagram, a timer, or `by`.
    async fn wait(&mut self, place: &Place, by: Instant) {
        let due = self.connection.poll_timeout().map(Instant::from_std);
        let due = due.map_or(by, |due| due.min(by));
        let arrived = std::future::poll_fn(|cx| place.inbox().poll_some(cx));
        tokio::select! {
            biased;
            () = arrived => {}
            () = sleep_until(due) => {}
        }
    }

    /// Whether the ClientHello is complete.
    fn knows_client(&self) -> bool {
        let sent = self.connection.crypto_session().transport_parameters();
        sent.is_ok_and(|sent| sent.is_some())
    }
}

/// Performs the handshake, its heavy steps in `turns`. The client has been told when this returns an error.
pub async fn accept(
    arrival: Arrival,
    socket: &Rc<Socket>,
    (keys, turns): (&Keys, &Turns),
    settings: Settings,
) -> Result<(Rc<Link>, QuicAccepted), HandshakeRefused<usize>> {
    let verdict = QuicVerdict::default();
    let (by, header_bytes) = (settings.handshake_by, settings.header_bytes);
    let Arrival {
        endpoint,
        incoming,
        place,
    } = arrival;
    let shaken = shake_hands(
        (endpoint, incoming, &place),
        (socket, turns),
        (keys, settings, &verdict),
    );
    let shaken = match tokio::time::timeout_at(by, shaken).await {
        Ok(shaken) => shaken,
        Err(_) => Err(Failed::bare(Reason::HandshakeTimeout)),
    };
    let verdict = verdict
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let failed = match (shaken, verdict) {
        (Ok(core), Some(Ok(accepted))) => {
            let link = Link::new(core, place, Rc::clone(socket), header_bytes);
            return Ok((link, accepted));
        }
        (Err(Failed { core, .. }), Some(Err(refused))) => {
            say_goodbye(core, place, socket);
            return Err(refused);
        }
        (Err(failed), _) => failed,
        (Ok(_), _) => Failed::bare(Reason::HandshakeProtocol),
    };
    say_goodbye(failed.core, place, socket);
    Err(HandshakeRefused {
        reason: failed.reason,
        site: None,
        server_name: None,
        detail: failed.detail,
    })
}

/// A handshake that came to nothing.
struct Failed {
    reason: Reason,
    detail: String,
    core: Option<Box<Core>>,
}

impl Failed {
    fn bare(reason: Reason) -> Self {
        Self {
            reason,
            detail: String::new(),
            core: None,
        }
    }
}

async fn shake_hands(
    (mut endpoint, incoming, place): (Endpoint, Incoming, &Place),
    (socket, turns): (&Socket, &Turns),
    (keys, settings, verdict): (&Keys, Settings, &QuicVerdict),
) -> Result<Box<Core>, Failed> {
    let mut server = keys.server(Arc::new(Crypto {
        common: Arc::clone(&keys.common),
        sites: settings.sites,
        hello_bytes: settings.client_hello_bytes,
        verdict: Arc::clone(verdict),
    }));
    server.transport_config(settings.transport);
    let turn = turns.turn().await;
    let begun = step::run(move || {
        let mut answer = Vec::new();
        let now = std::time::Instant::now();
        match endpoint.accept(incoming, now, &mut answer, Some(Arc::new(server))) {
            Ok((handle, connection)) => Ok(Box::new(Core {
                endpoint,
                handle,
                connection,
            })),
            Err(error) => Err(Box::new((error.cause, error.response, answer))),
        }
    });
    let begun = begun.await;
    drop(turn);
    let mut core = match begun {
        Ok(core) => core,
        Err(refused) => {
            let (cause, response, answer) = *refused;
            if let Some(response) = response {
                socket.send(&response, &answer).await;
            }
            return Err(failed(&cause, None));
        }
    };
    // Ids, and whatever else the first datagram led to.
    core.advance(VecDeque::new());
    let mut contents = Vec::new();
    loop {
        core.send_all(socket, &mut contents).await;
        while let Some(event) = core.connection.poll() {
            match event {
                Event::Connected => return Ok(core),
                Event::ConnectionLost { reason } => return Err(failed(&reason, Some(core))),
                _ => {}
            }
        }
        let by = match core.knows_client() {
            true => settings.handshake_by,
            false => settings.client_hello_by,
        };
        core.wait(place, by).await;
        if Instant::now() >= by {
            return Err(Failed::bare(match core.knows_client() {
                true => Reason::HandshakeTimeout,
                false => Reason::ClientHelloTimeout,
            }));
        }
        let arrived = place.inbox().take();
        let turn = match arrived.is_empty() {
            true => None,
            false => Some(turns.turn().await),
        };
        let work = move || {
            core.advance(arrived);
            core
        };
        core = step::run(work).await;
        drop(turn);
    }
}

fn failed(cause: &ConnectionError, core: Option<Box<Core>>) -> Failed {
    let reason = match cause {
        ConnectionError::ConnectionClosed(close)
            if ALERTS.contains(&u64::from(close.error_code)) =>
        {
            Reason::HandshakeAborted
        }
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
            Reason::HandshakeProtocol
        }
        ConnectionError::TimedOut => Reason::HandshakeTimeout,
        _ => Reason::HandshakeClosed,
    };
    Failed {
        reason,
        detail: cause.to_string(),
        core,
    }
}

/// Tells a refused client again, for as long as it may not have heard it.
fn say_goodbye(core: Option<Box<Core>>, place: Place, socket: &Rc<Socket>) {
    let Some(mut core) = core else {
        return;
    };
    let socket = Rc::clone(socket);
    tokio::task::spawn_local(timeout(LINGER, async move {
        let mut contents = Vec::new();
        let by = Instant::now() + LINGER;
        while !core.connection.is_drained() {
            core.send_all(&socket, &mut contents).await;
            core.wait(&place, by).await;
            core.advance(place.inbox().take());
        }
    }));
}
