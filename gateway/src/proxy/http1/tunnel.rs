//! A WebSocket after its 101: bytes both ways until both sides have ended.
//!
//! Promises: what was read beyond the heads goes first; after the end of one side the other goes on, `timeouts.write`
//! longer than its last byte; a tunnel that would not be allowed any more, after a reload or a change of what is trusted,
//! is cut.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::BytesMut;
use http::{Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::SharedIo;
use super::respond::End;
use crate::http1::{ConnectionHeader, Framing, encode};
use crate::proxy::admission::admit;
use crate::proxy::client::{Client, View};
use crate::proxy::response::AnswerBody;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upgrade::Asked;
use crate::proxy::worker::Worker;
use crate::reason::Reason;
use crate::upstream::RequestBody;

/// Sends the 101 and carries bytes until the tunnel ends. Nothing follows on the connection.
pub(super) async fn run<S>(
    io: &SharedIo<S>,
    response: Response<AnswerBody>,
    client: &Client,
    worker: &Rc<Worker>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (head, body) = response.into_parts();
    let Some((mut switched, mut recorder)) = body.into_switched() else {
        return End::Abort; // A 101 comes with its connection; without one there is nothing to carry.
    };
    let first = {
        let mut io = io.borrow_mut();
        io.answering = true;
        let mut first = BytesMut::new();
        let goes_on = (ConnectionHeader::KeepAlive, Version::HTTP_11);
        encode::response_head(
            &mut first,
            head.status,
            &head.headers,
            Framing::None,
            goes_on,
        );
        first.extend_from_slice(&switched.early);
        (std::mem::take(&mut io.read), first)
    };
    let mut tunnel = {
        let timeouts = &worker.snapshot().timeouts;
        let rest = timeouts.tunnel.min(timeouts.write);
        Tunnel::new(first, timeouts.tunnel).with_rest(rest)
    };
    let asked = recorder.take_asked();
    let mut seen: Option<Rc<View>> = None;
    let ended = poll_fn(|cx| {
        let mut io = io.borrow_mut();
        tunnel.poll((&mut io.stream, &mut switched.stream), cx, || {
            let view = client.view(worker);
            let known = seen.as_ref().is_some_and(|seen| Rc::ptr_eq(&view, seen));
            let reason = match known {
                true => None,
                false => forbidden(&view, client, asked.as_deref()),
            };
            seen = Some(view);
            reason
        })
    })
    .await;
    (_, recorder.record().response_bytes) = tunnel.moved();
    match ended {
        Ok(None) => recorder.record().complete = true,
        Ok(Some(reason)) => recorder.tell(reason, None),
        Err(_) => {} // One of them is gone; the record says that it was not complete.
    }
    End::Abort
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
