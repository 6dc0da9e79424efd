//! HTTP/3 with a client, on h3: every stream becomes an exchange.

mod body;
mod request;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use h3::quic::SendStream;
use h3::server::{Connection, RequestResolver};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::request::serve_request;
use super::client::Client;
use super::worker::Worker;
use crate::patience::Patience;
use crate::quic::{Link, Streams};

/// How often, within `timeouts.write`, the streams of a connection are looked at for a stalled one.
const STALL_LOOKS: u32 = 4;
/// H3_REQUEST_REJECTED: nothing was done about it, it may be sent again.
const REJECTED: u64 = 0x10b;

/// What a connection has to do next.
enum Turn {
    /// GOAWAY; requests in progress end in peace.
    Leave,
    /// There is nothing left to do.
    Done,
    Cut(&'static str),
}

/// Serves one connection until either side ends it. What was sent is delivered then, or nobody waits for it.
pub async fn serve(link: Rc<Link>, client: Rc<Client>, worker: Rc<Worker>) {
    let mut builder = h3::server::builder();
    let header_bytes = worker.snapshot().limits.header_bytes as u64;
    builder
        .max_field_section_size(header_bytes)
        .send_grease(false);
    let connection = match builder.build(Streams(Rc::clone(&link))).await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "http/3 connection not begun"),
    };
    // Dropped behind the connection's end: then requests in progress end too.
    let mut requests = JoinSet::new();
    if let Err(reason) = serve_streams(connection, &mut requests, (&link, &client, &worker)).await {
        tracing::debug!(reason, "http/3 connection ended");
    }
}

async fn serve_streams(
    mut connection: Connection<Streams, Bytes>,
    requests: &mut JoinSet<()>,
    (link, client, worker): (&Rc<Link>, &Rc<Client>, &Rc<Worker>),
) -> Result<(), &'static str> {
    let (idle, write_limit) = {
        let timeouts = &worker.snapshot().timeouts;
        (timeouts.idle, timeouts.write)
    };
    let mut idle = Patience::new(idle);
    let mut ear = worker.draining.clone();
    let mut drained = pin!(ear.started());
    let mut dismissed = pin!(client.dismissed());
    let mut overdue = pin!(client.overdue());
    let mut goodbye: Option<Patience> = None;
    let mut look = pin!(tokio::time::sleep(write_limit / STALL_LOOKS));
    loop {
        let leaving = goodbye.is_some();
        let watched = poll_fn(|cx| {
            if overdue.as_mut().poll(cx).is_ready() {
                let reason = "the certificate of the client is not good any more";
                return Poll::Ready(Turn::Cut(reason));
            }
            if goodbye.is_none()
                && (drained.as_mut().poll(cx).is_ready() || dismissed.as_mut().poll(cx).is_ready())
            {
                return Poll::Ready(Turn::Leave);
            }
            let busy = client.open_requests() > 0;
            while busy && look.as_mut().poll(cx).is_ready() {
                let next = Instant::now() + write_limit / STALL_LOOKS;
                look.as_mut().reset(next);
                if client.stalls(write_limit) {
                    let reason = "a stream was not read for timeouts.write";
                    return Poll::Ready(Turn::Cut(reason));
                }
            }
            if busy {
                idle.progress();
            }
            let Some(goodbye) = &mut goodbye else {
                ready!(idle.poll_expired(cx));
                return Poll::Ready(Turn::Leave);
            };
            if busy {
                goodbye.progress();
            } else if link.poll_delivered(cx).is_ready() {
                return Poll::Ready(Turn::Done);
            }
            ready!(goodbye.poll_expired(cx));
            let reason = "the client did not take leave in time";
            Poll::Ready(Turn::Cut(reason))
        });
        tokio::select! {
            biased;
            turn = watched => match turn {
                Turn::Leave => {
                    // One more than the last: that one is served still.
                    let told = connection.shutdown(1).await;
                    told.map_err(|_| "closed before its GOAWAY")?;
                    goodbye = Some(Patience::new(write_limit));
                }
                Turn::Done => return Ok(()),
                Turn::Cut(reason) => return Err(reason),
            },
            Some(_) = requests.join_next(), if !requests.is_empty() => {}
            accepted = connection.accept() => match accepted {
                Ok(Some(request)) if leaving => reject(link, &request),
                Ok(Some(request)) => {
                    idle.progress();
                    let (link, client) = (Rc::clone(link), Rc::clone(client));
                    requests.spawn_local(serve_request(request, link, client, Rc::clone(worker)));
                }
                // The client has said GOAWAY and has all its answers.
                Ok(None) => {
                    poll_fn(|cx| link.poll_delivered(cx)).await;
                    return Ok(());
                }
                Err(_) => return Err("closed by the client, or its frames were broken"),
            },
        }
    }
}

/// A request that a client sent before it heard the GOAWAY: it was told that nothing is done about it.
fn reject(link: &Link, request: &RequestResolver<Streams, Bytes>) {
    let id = SendStream::<Bytes>::send_id(&request.frame_stream).into_inner();
    link.reject(id, REJECTED);
}
