//! A connection that carries no HTTP, from its handshake to its end: decided on once, then bytes both ways.
//!
//! connection → policy → permit → upstream → PROXY header → tunnel → a line of the access log. Where TLS does not end here
//! (`passthrough`) the ClientHello is the first of the bytes.
//! Promises: not a byte of a client reaches an upstream without a [`Permit`]; a connection that would not
//! be allowed any more ends, and one whose client is revoked within `timeouts.revoked`.

mod admission;
mod header;
mod passthrough;
mod recorder;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use self::admission::{Admitted, Asked, admit, settled_view};
use self::header::{Tls, Told};
pub use self::passthrough::serve as serve_passthrough;
use self::recorder::Recorder;
use super::admission::Stopped;
use super::client::{Client, Resting, View};
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::identity::ClientIdentity;
use crate::policy::Permit;
use crate::reason::Reason;
use crate::tls::TlsStream;
use crate::upstream::{Opened, Target};

/// Serves a connection whose handshake is complete, to its end. A client that is refused sees no close_notify.
pub async fn serve(stream: TlsStream, client: Rc<Client>, worker: Rc<Worker>) {
    let (asked, local) = (Asked::of(&stream), stream.tcp().local_addr().ok());
    run(stream, (&asked, local), client, worker).await;
}

/// Serves the connection of a program of this machine, to its end.
pub async fn serve_local(tcp: TcpStream, client: Rc<Client>, worker: Rc<Worker>) {
    let (asked, local) = (Asked::default(), tcp.local_addr().ok());
    run(tcp, (&asked, local), client, worker).await;
}

async fn run<S>(
    mut stream: S,
    (asked, local): (&Asked, Option<SocketAddr>),
    client: Rc<Client>,
    worker: Rc<Worker>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut recorder = Recorder::new(&worker, &client.facts, asked.server_name.as_deref());
    recorder.negotiated(asked.alpn.as_deref());
    let mut overdue = pin!(client.overdue());
    let begun = tokio::select! {
        biased;
        begun = Box::pin(begin((&client, asked), local, &mut recorder)) => begun,
        () = overdue.as_mut() => return recorder.dismissed(client.dismissed_for()),
    };
    let begun = match begun {
        Ok(begun) => begun,
        Err(stopped) => return recorder.refuse(&stopped),
    };
    let mut seen: Option<Rc<View>> = None;
    let forbidden = || {
        let view = client.new_view(&worker, &mut seen)?;
        forbidden(&view, &client, asked)
    };
    tokio::select! {
        biased;
        () = carry(&mut stream, begun, Vec::new(), &mut recorder, forbidden) => {}
        () = overdue.as_mut() => recorder.dismissed(client.dismissed_for()),
    }
}

/// A connection that was let through.
struct Begun {
    upstream: Opened,
    /// What the upstream is told in front.
    header: BytesMut,
    _resting: Option<Rc<Resting>>,
}

/// Decides, and connects to the upstream.
async fn begin(
    (client, asked): (&Client, &Asked),
    local: Option<SocketAddr>,
    recorder: &mut Recorder,
) -> Result<Box<Begun>, Stopped> {
    let worker = recorder.worker();
    let view = settled_view(&worker, client, asked).await?;
    let admitted = admit(&view, client, asked)?;
    let Admitted {
        caller,
        permit,
        target,
    } = admitted;
    recorder.note(&permit, &target);
    recorder.identify(&caller.identity);
    let told = Told {
        source: client.facts.client,
        destination: local,
        id: recorder.id(),
        server_name: asked.server_name.as_deref(),
        tls: (!client.facts.tls_version.is_empty()).then(|| Tls {
            facts: &client.facts,
            alpn: asked.alpn.as_deref(),
            identity: &caller.identity,
        }),
    };
    let header = told.header(&target.settings)?;
    let resting = client.rest_on_site(&view, caller);
    let upstream = open(&worker, permit, &target, &caller.identity).await?;
    Ok(Box::new(Begun {
        upstream,
        header,
        _resting: resting,
    }))
}

/// Carries bytes until both sides have ended, or have to. `first` of the client's was read already.
async fn carry<S>(
    stream: &mut S,
    mut begun: Box<Begun>,
    first: Vec<u8>,
    recorder: &mut Recorder,
    mut forbidden: impl FnMut() -> Option<Reason>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let idle = recorder.worker().snapshot().timeouts.tunnel;
    recorder.header(begun.header.len());
    let mut up = std::mem::take(&mut begun.header);
    up.extend_from_slice(&first);
    drop(first); // It would stay as long as the connection does.
    let mut tunnel = Box::new(Tunnel::new((up, BytesMut::new()), idle));
    let upstream = &mut begun.upstream.stream;
    let ended = poll_fn(|cx| {
        let ended = tunnel.poll((stream, upstream), cx, &mut forbidden);
        recorder.moved(tunnel.moved());
        ended
    })
    .await;
    match ended {
        Ok(None) => recorder.complete(),
        Ok(Some(reason)) => recorder.refuse(&reason.into()),
        Err(_) => {} // One of them is gone; the record says that it was not complete.
    }
}

/// Connects to the upstream. The permit is used up.
async fn open(
    worker: &Worker,
    permit: Permit,
    target: &Arc<Target>,
    identity: &ClientIdentity,
) -> Result<Opened, Stopped> {
    let ask = target.ask(&HeaderMap::new(), identity);
    let opened = worker.upstreams.open(permit, target, ask).await;
    opened.map_err(|error| Stopped {
        detail: error.to_string().into(),
        ..error.reason().into()
    })
}

/// Why the connection would be refused now, if it would.
fn forbidden(view: &View, client: &Client, asked: &Asked) -> Option<Reason> {
    match admit(view, client, asked) {
        // An OCSP answer on its way: the register looks after that.
        Err(stopped) if stopped.pending.is_none() => Some(stopped.reason),
        _ => None,
    }
}

#[cfg(test)]
mod sizes;
