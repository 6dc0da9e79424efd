//! A connection that carries no HTTP, from its handshake to its end: decided on once, then bytes both ways.
//!
//! connection → policy → permit → upstream → PROXY header → tunnel → a line of the access log.
//! Promises: not a byte of a client reaches an upstream without a [`Permit`](crate::policy::Permit); a connection that would not
//! be allowed any more ends, and one whose client is revoked within `timeouts.revoked`.

mod admission;
mod header;
mod recorder;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use self::admission::{Asked, admit, settled_view};
use self::recorder::Recorder;
use super::admission::Stopped;
use super::client::{Client, Resting, View};
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::reason::Reason;
use crate::tls::TlsStream;
use crate::upstream::Opened;

/// Serves a connection whose handshake is complete, to its end. A client that is refused sees no close_notify.
pub async fn serve(mut stream: TlsStream, client: Rc<Client>, worker: Rc<Worker>) {
    let asked = Asked::of(&stream);
    let mut recorder = Recorder::new(&worker, &client.facts, &asked);
    let mut overdue = pin!(client.overdue());
    let local = stream.tcp().local_addr().ok();
    let begun = tokio::select! {
        biased;
        begun = Box::pin(begin((&client, &asked), local, &mut recorder)) => begun,
        () = overdue.as_mut() => return recorder.dismissed(client.dismissed_for()),
    };
    let begun = match begun {
        Ok(begun) => begun,
        Err(stopped) => return recorder.refuse(&stopped),
    };
    tokio::select! {
        biased;
        () = carry(&mut stream, begun, (&client, &asked), &mut recorder) => {}
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
    local: Option<std::net::SocketAddr>,
    recorder: &mut Recorder,
) -> Result<Begun, Stopped> {
    let worker = recorder.worker();
    let view = settled_view(&worker, client, asked).await?;
    let admitted = admit(&view, client, asked)?;
    recorder.note(&admitted);
    let told = (asked, local, recorder.id());
    let header = header::of(&admitted.target.settings, (client, admitted.caller), told)?;
    let resting = client.rest_on_site(&view, admitted.caller);
    let opened = worker.upstreams.open(admitted.permit, &admitted.target);
    let upstream = opened.await.map_err(|error| Stopped {
        detail: error.to_string().into(),
        ..error.reason().into()
    })?;
    Ok(Begun {
        upstream,
        header,
        _resting: resting,
    })
}

/// Carries bytes until both sides have ended, or have to.
async fn carry(
    stream: &mut TlsStream,
    mut begun: Begun,
    (client, asked): (&Client, &Asked),
    recorder: &mut Recorder,
) {
    let worker = recorder.worker();
    let idle = worker.snapshot().timeouts.tunnel;
    recorder.header(begun.header.len());
    let mut tunnel = Tunnel::new((begun.header, BytesMut::new()), idle);
    let mut seen: Option<Rc<View>> = None;
    let upstream: &mut TcpStream = &mut begun.upstream.tcp;
    let ended = poll_fn(|cx| {
        let ended = tunnel.poll((stream, upstream), cx, || {
            let view = client.view(&worker);
            let known = seen.as_ref().is_some_and(|seen| Rc::ptr_eq(&view, seen));
            let reason = match known {
                true => None,
                false => forbidden(&view, client, asked),
            };
            seen = Some(view);
            reason
        });
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

/// Why the connection would be refused now, if it would.
fn forbidden(view: &View, client: &Client, asked: &Asked) -> Option<Reason> {
    match admit(view, client, asked) {
        // An OCSP answer on its way: the register looks after that.
        Err(stopped) if stopped.pending.is_none() => Some(stopped.reason),
        _ => None,
    }
}
