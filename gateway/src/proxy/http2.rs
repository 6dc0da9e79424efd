//! HTTP/2 with a client, on hyper: every stream becomes an exchange.

mod gather;
mod guard;
mod trailers;
mod websocket;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use self::gather::{Gatherer, gather};
use self::guard::Wrong;
use self::websocket::{Ask, Streamed};
use super::client::{Client, STALL_LOOKS};
use super::exchange::answer;
use super::headers::clean_trailers;
use super::identity_headers::token_header;
use super::worker::Worker;
use crate::patience::{Patience, Wait};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::telemetry::RefusalRecord;
use crate::upstream::{ClientBodyError, LocalExecutor, RequestBody};

/// Flow-control windows: what one client can make the gateway hold of its uploads.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Response bytes that may wait in one stream for the client's window.
const SEND_BUFFER: usize = 64 * 1024;
/// A peer that does not answer a PING is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that the gateway may have had to reset for what the client did: h2 ends the connection behind them.
const MAX_FAULTS: usize = 256;
/// How long a client may take to read why it has to go.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves one connection until either side ends it.
pub async fn serve<S>(stream: S, client: Rc<Client>, worker: Rc<Worker>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let snapshot = worker.snapshot();
    let mut idle = Patience::new(snapshot.timeouts.idle);
    let write_limit = snapshot.timeouts.write;
    let builder = builder(&snapshot);
    drop(snapshot);
    let (exchanges, owner) = (Rc::clone(&worker), Rc::clone(&client));
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, client) = (Rc::clone(&exchanges), Rc::clone(&owner));
        async move { Ok::<_, Infallible>(serve_request(request, client, worker).await) }
    });
    let (stream, gatherer) = gather(stream);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut ear = worker.draining.clone();
    let mut drained = pin!(ear.started());
    let mut dismissed = pin!(client.dismissed());
    let mut overdue = pin!(client.overdue());
    let mut goodbye: Option<Patience> = None;
    let mut look = pin!(tokio::time::sleep(write_limit / STALL_LOOKS));
    let ended = poll_fn(|cx| {
        if overdue.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Cut::Revoked));
        }
        if goodbye.is_none()
            && (drained.as_mut().poll(cx).is_ready() || dismissed.as_mut().poll(cx).is_ready())
        {
            connection.as_mut().graceful_shutdown(); // GOAWAY; streams in progress end in peace.
            goodbye = Some(Patience::new(write_limit));
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Ok(ended));
        }
        let busy = client.open_requests() > 0;
        gatherer.poll_leave(busy, &worker.turns, cx);
        if busy {
            idle.progress();
            // One look at all streams now and then; a timer for each frame would cost more than the frame.
            while look.as_mut().poll(cx).is_ready() {
                look.as_mut()
                    .reset(Instant::now() + write_limit / STALL_LOOKS);
                if client.stalls(write_limit) {
                    return Poll::Ready(Err(Cut::Unread));
                }
            }
        }
        if goodbye.is_none() && idle.poll_expired(cx).is_ready() {
            connection.as_mut().graceful_shutdown();
            goodbye = Some(Patience::new(write_limit));
            cx.waker().wake_by_ref(); // The GOAWAY wants another poll.
        }
        // hyper waits without end for a preface, and for a peer that does not take leave.
        if let Some(goodbye) = &mut goodbye {
            if busy {
                goodbye.progress();
            }
            return goodbye.poll_expired(cx).map(|()| Err(Cut::Lingering));
        }
        Poll::Pending
    })
    .await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => Box::pin(broken(&error, &gatherer, &client, &worker)).await,
        Err(Cut::Unread) => refuse(Reason::AnswerUnread, None, &client, &worker),
        Err(cut) => tracing::debug!(?cut, "http/2 connection cut"),
    }
}

async fn serve_request(
    request: Request<Incoming>,
    client: Rc<Client>,
    worker: Rc<Worker>,
) -> Response<Streamed> {
    let (mut parts, incoming) = request.into_parts();
    // Seldom, so boxed: others do not carry the room for it.
    let ask = Ask::of(&mut parts, &worker).map(Box::new);
    let body = request_body(incoming, &worker);
    let answered = answer(&worker, &client, parts, body).await;
    match ask {
        None => answered.map(Streamed::Answer),
        Some(ask) => ask.answer(answered, client, worker),
    }
}

/// Why a connection is cut by the gateway.
#[derive(Debug)]
enum Cut {
    /// The certificate of the client is not good any more; that has been told.
    Revoked,
    /// A stream was not read for `timeouts.write`.
    Unread,
    /// The client did not take leave in time.
    Lingering,
}

/// A connection that ended with an error: what the client did is told, what the network did is not.
async fn broken<S>(error: &hyper::Error, gatherer: &Gatherer<S>, client: &Client, worker: &Worker)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(wrong) = gatherer.wrong() {
        let reason = match wrong {
            Wrong::Flood => Reason::Http2Flood,
            Wrong::NoSettings | Wrong::PseudoTrailer => Reason::Http2Protocol,
        };
        refuse(reason, Some(wrong.detail()), client, worker);
        // Who does not read it is gone the sooner.
        let _ = tokio::time::timeout(FAREWELL, gatherer.go_away(wrong.code())).await;
        return;
    }
    let source = std::error::Error::source(error);
    let found = source.and_then(|source| source.downcast_ref::<h2::Error>());
    let Some(found) = found.filter(|error| error.is_go_away() && error.is_library()) else {
        return tracing::debug!(%error, "http/2 connection ended");
    };
    let reason = match found.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Reason::Http2Flood,
        _ => Reason::Http2Protocol,
    };
    refuse(reason, Some(&found.to_string()), client, worker);
}

fn refuse(reason: Reason, detail: Option<&str>, client: &Client, worker: &Worker) {
    worker.refuse(&RefusalRecord {
        detail,
        ..RefusalRecord::of_client(reason, &client.facts)
    });
}

/// hyper, within the gateway's bounds.
fn builder(snapshot: &Snapshot) -> Builder<LocalExecutor> {
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(snapshot.limits.h2_streams)
        .max_header_list_size(u32::try_from(snapshot.limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_local_error_reset_streams(MAX_FAULTS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn request_body(incoming: Incoming, worker: &Worker) -> RequestBody {
    if incoming.is_end_stream() {
        return RequestBody::Empty;
    }
    let snapshot = worker.snapshot();
    RequestBody::Stream(Box::pin(ClientBody {
        incoming,
        limit: snapshot.limits.body,
        token_header: token_header(&snapshot),
        received: 0,
        wait: Wait::new(snapshot.timeouts.body),
    }))
}

/// A request body of a stream, within the gateway's bounds.
struct ClientBody {
    incoming: Incoming,
    limit: Option<u64>,
    /// What trailers may not have either.
    token_header: Option<HeaderName>,
    received: u64,
    wait: Wait,
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.wait.poll_expired(cx));
                Poll::Ready(Some(Err(ClientBodyError::Timeout)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            // A reset stream, a broken frame, or a length that was not kept: hyper does not tell which.
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(ClientBodyError::Closed))),
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers, this.token_header.as_ref());
                }
                this.wait.over();
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.limit.is_some_and(|limit| this.received > limit) {
                    return Poll::Ready(Some(Err(ClientBodyError::TooLarge)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
