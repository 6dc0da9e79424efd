//! HTTP/3 with a client, on h3: every stream becomes an exchange.

mod body;
mod request;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h3::quic::SendStream;
use h3::server::{Connection, RequestResolver};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};

use self::request::{Balance, serve_request};
use super::client::{Client, STALL_LOOKS};
use super::worker::Worker;
use crate::patience::Patience;
use crate::quic::{Link, Streams};

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
    let mut ear = worker.draining.clone();
    let leave = pin!(async {
        tokio::select! {
            () = ear.started() => {}
            () = client.dismissed() => {}
        }
    });
    let overdue = pin!(client.overdue());
    let balance = Rc::<Balance>::default();
    let mut watch = Watch::new(worker, leave, overdue);
    loop {
        tokio::select! {
            biased;
            turn = poll_fn(|cx| watch.poll_turn(link, client, cx)) => match turn {
                Turn::Leave => {
                    // One more than the last: that one is served still.
                    let told = connection.shutdown(1).await;
                    told.map_err(|_| "closed before its GOAWAY")?;
                    watch.goodbye = Some(Patience::new(watch.write_limit));
                }
                Turn::Done => return Ok(()),
                Turn::Cut(reason) => return Err(reason),
            },
            Some(_) = requests.join_next(), if !requests.is_empty() => {}
            accepted = connection.accept() => match accepted {
                Ok(Some(request)) if watch.goodbye.is_some() => reject(link, &request),
                Ok(Some(request)) => {
                    watch.idle.progress();
                    let of = (Rc::clone(link), Rc::clone(&balance));
                    let client = Rc::clone(client);
                    requests.spawn_local(serve_request(request, of, client, Rc::clone(worker)));
                }
                // The client has said GOAWAY and has all its answers.
                Ok(None) => {
                    watch.delivered(link).await;
                    return Ok(());
                }
                Err(_) => return Err("closed by the client, or its frames were broken"),
            },
        }
    }
}

/// Looks when a connection has to end, and how. The same rules as over HTTP/2.
struct Watch<L, O> {
    /// The gateway stops, or the client is to leave.
    leave: L,
    overdue: O,
    idle: Patience,
    /// Since the GOAWAY.
    goodbye: Option<Patience>,
    write_limit: Duration,
    look: Pin<Box<Sleep>>,
}

impl<L: Future<Output = ()> + Unpin, O: Future<Output = ()> + Unpin> Watch<L, O> {
    fn new(worker: &Worker, leave: L, overdue: O) -> Self {
        let snapshot = worker.snapshot();
        let write_limit = snapshot.timeouts.write;
        Self {
            leave,
            overdue,
            idle: Patience::new(snapshot.timeouts.idle),
            goodbye: None,
            write_limit,
            look: Box::pin(sleep(write_limit / STALL_LOOKS)),
        }
    }

    fn poll_turn(&mut self, link: &Link, client: &Client, cx: &mut Context<'_>) -> Poll<Turn> {
        if Pin::new(&mut self.overdue).poll(cx).is_ready() {
            let reason = "the certificate of the client is not good any more";
            return Poll::Ready(Turn::Cut(reason));
        }
        if self.goodbye.is_none() && Pin::new(&mut self.leave).poll(cx).is_ready() {
            return Poll::Ready(Turn::Leave);
        }
        let busy = client.open_requests() > 0;
        if busy {
            self.idle.progress();
        }
        // One look at all streams now and then; a timer for each frame would cost more than the frame.
        while busy && self.look.as_mut().poll(cx).is_ready() {
            let next = Instant::now() + self.write_limit / STALL_LOOKS;
            self.look.as_mut().reset(next);
            if client.stalls(self.write_limit) {
                let reason = "a stream was not read for timeouts.write";
                return Poll::Ready(Turn::Cut(reason));
            }
        }
        let Some(goodbye) = &mut self.goodbye else {
            ready!(self.idle.poll_expired(cx));
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
    }

    /// Waits until the client has its answers, within `timeouts.write`.
    async fn delivered(&self, link: &Link) {
        let delivered = poll_fn(|cx| link.poll_delivered(cx));
        // A client that does not take them has said itself that it leaves.
        let _ = timeout(self.write_limit, delivered).await;
    }
}

/// A request that a client sent before it heard the GOAWAY: it was told that nothing is done about it.
fn reject(link: &Link, request: &RequestResolver<Streams, Bytes>) {
    let id = SendStream::<Bytes>::send_id(&request.frame_stream).into_inner();
    link.reject(id, REJECTED);
}
