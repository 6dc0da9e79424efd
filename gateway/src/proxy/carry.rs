//! A WebSocket after its service has switched: bytes both ways until both sides have ended.
//!
//! Promises: what was read beyond the heads goes first; after the end of one side the other goes on, `timeouts.write`
//! longer than its last byte; a tunnel that would not be allowed any more, after a reload or a change of what is trusted,
//! is cut.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::admission::admit;
use super::client::{Client, View};
use super::response::Recorder;
use super::tunnel::Tunnel;
use super::upgrade::Asked;
use super::worker::Worker;
use crate::reason::Reason;
use crate::upstream::{RequestBody, Switched};

/// Carries bytes between a client and a service that has switched, until the tunnel ends: first what was read of the client
/// already, and what it is sent before anything else.
pub(super) async fn carry<S>(
    mut stream: S,
    first: (BytesMut, BytesMut),
    (mut switched, mut recorder): (Box<Switched>, Recorder),
    client: &Client,
    worker: &Rc<Worker>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut tunnel = {
        let timeouts = &worker.snapshot().timeouts;
        let rest = timeouts.tunnel.min(timeouts.write);
        Tunnel::new(first, timeouts.tunnel).with_rest(rest)
    };
    let asked = recorder.take_asked();
    let mut seen: Option<Rc<View>> = None;
    let ended = poll_fn(|cx| {
        tunnel.poll((&mut stream, &mut switched.stream), cx, || {
            let view = client.new_view(worker, &mut seen)?;
            forbidden(&view, client, asked.as_deref())
        })
    })
    .await;
    (_, recorder.record().response_bytes) = tunnel.moved();
    match ended {
        Ok(None) => recorder.record().complete = true,
        Ok(Some(reason)) => recorder.tell(reason, None),
        Err(_) => {} // One of them is gone; the record says that it was not complete.
    }
}

/// Why the request would be refused now, if it would.
fn forbidden(view: &View, client: &Client, asked: Option<&Asked>) -> Option<Reason> {
    let asked = asked?;
    let request = (&asked.parts, Some(&asked.host));
    match admit(view, client, request, &RequestBody::Empty) {
        // An OCSP answer on its way: the register looks after that.
        Err(stopped) if stopped.pending.is_none() => Some(stopped.reason),
        _ => None,
    }
}
