//! HTTP/1.1 with a client: head, exchange, answer, and again.
//!
//! One task per connection. The request body and the answer share the stream through [`Io`]: the body is read
//! by whoever sends it upstream while the answer is written here. A connection without a request in progress
//! holds no buffers.

mod body;
mod io;
mod respond;
mod switched;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use self::body::ClientBody;
use self::io::Io;
use self::respond::{After, End, respond, respond_bare};
use super::client::Client;
use super::exchange::answer;
use super::worker::{Worker, head_limits};
use crate::http1::{BodyDecoder, Framing, HeadError, HeadScan, RequestHead};
use crate::patience::Patience;
use crate::reason::Reason;
use crate::telemetry::RefusalRecord;
use crate::upstream::RequestBody;

type SharedIo<S> = Rc<RefCell<Io<S>>>;

/// What came instead of, or as, the next request.
enum Next {
    Request(Box<RequestHead>),
    /// The client left, was idle too long, or the gateway is leaving.
    Closed,
    /// The head did not arrive in time.
    Late,
    Refused(HeadError),
}

/// Serves one connection until either side ends it.
pub async fn serve<S>(stream: S, client: Rc<Client>, worker: Rc<Worker>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let io = Rc::new(RefCell::new(Io::new(stream)));
    let mut ear = worker.draining.clone();
    let mut drained = pin!(ear.started());
    let snapshot = worker.snapshot();
    let mut idle = Patience::new(snapshot.timeouts.idle);
    drop(snapshot);
    let mut overdue = pin!(client.overdue());
    loop {
        idle.progress();
        match next_request(&io, (&worker, &client), &mut idle, drained.as_mut()).await {
            Next::Request(head) => {
                // Boxed: a connection that waits for its next request does not carry the room for one.
                let served = Box::pin(serve_one(&io, *head, &client, &worker));
                let end = tokio::select! {
                    biased;
                    end = served => end,
                    () = overdue.as_mut() => End::Abort,
                };
                match end {
                    End::KeepAlive if client.is_dismissed() => break,
                    End::KeepAlive => {}
                    End::Close => break,
                    // No close_notify: the client must see that the answer was cut off.
                    End::Abort => return,
                }
            }
            Next::Closed => break,
            Next::Late => {
                refuse_head(&worker, &client, Reason::RequestTimeout, None);
                respond_bare(&io, http::StatusCode::REQUEST_TIMEOUT, &worker).await;
                return io::discard_rest(&io, Instant::now() + io::LINGER).await;
            }
            Next::Refused(error) => {
                let reason = match error {
                    HeadError::HeadTooLarge
                    | HeadError::TooManyHeaders
                    | HeadError::TargetTooLong => Reason::RequestTooLarge,
                    HeadError::Expectation => Reason::ExpectationNotSupported,
                    _ => Reason::RequestMalformed,
                };
                refuse_head(&worker, &client, reason, Some(error.code()));
                respond_bare(&io, error.status(), &worker).await;
                return io::discard_rest(&io, Instant::now() + io::LINGER).await;
            }
        }
    }
    io::close(&io).await;
}

fn refuse_head(worker: &Worker, client: &Client, reason: Reason, detail: Option<&str>) {
    worker.refuse(&RefusalRecord {
        detail,
        ..RefusalRecord::of_client(reason, &client.facts)
    });
}

/// Waits for the next request head: as long as `timeouts.idle` for its first byte, then `timeouts.header` for
/// the rest. While draining, an idle client has `timeouts.drain_idle` for a last request; a client that has to leave
/// has none.
async fn next_request<S, D>(
    io: &SharedIo<S>,
    (worker, client): (&Worker, &Client),
    idle: &mut Patience,
    mut drained: Pin<&mut D>,
) -> Next
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: Future<Output = ()>,
{
    let mut scan = HeadScan::default();
    let mut header: Option<Patience> = None;
    let mut leaving: Option<Patience> = None;
    let mut dismissed = pin!(client.dismissed());
    poll_fn(|cx| {
        let mut io = io.borrow_mut();
        loop {
            if !io.read.is_empty() {
                let snapshot = worker.snapshot();
                match scan.request(&mut io.read, &head_limits(&snapshot)) {
                    Ok(Some(head)) => return Poll::Ready(Next::Request(Box::new(head))),
                    Ok(None) => {
                        header.get_or_insert_with(|| Patience::new(snapshot.timeouts.header))
                    }
                    Err(error) => return Poll::Ready(Next::Refused(error)),
                };
            }
            if io.read.is_empty() {
                client.all_acted_upon();
            }
            match io.poll_read_head(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Poll::Ready(Next::Closed),
                Poll::Ready(Ok(_)) => continue,
                Poll::Pending => {}
            }
            if dismissed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Closed);
            }
            if let Some(header) = &mut header {
                return header.poll_expired(cx).map(|()| Next::Late);
            }
            io.rest();
            if leaving.is_none()
                && (worker.draining.is_draining() || drained.as_mut().poll(cx).is_ready())
            {
                leaving = Some(Patience::new(worker.snapshot().timeouts.drain_idle));
            }
            let over = match &mut leaving {
                Some(leaving) => leaving.poll_expired(cx),
                None => idle.poll_expired(cx),
            };
            return over.map(|()| Next::Closed);
        }
    })
    .await
}

/// Serves one request.
async fn serve_one<S>(
    io: &SharedIo<S>,
    head: RequestHead,
    client: &Client,
    worker: &Rc<Worker>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let snapshot = worker.snapshot();
    let timeouts = snapshot.timeouts.clone();
    io.borrow_mut().begin(
        BodyDecoder::new(head.framing, &head_limits(&snapshot)),
        head.expect_continue,
    );
    let body = match head.framing {
        Framing::None | Framing::Length(0) => RequestBody::Empty,
        _ => RequestBody::Stream(Box::pin(ClientBody::new(Rc::clone(io), &snapshot))),
    };
    drop(snapshot);
    let after = After {
        method: head.parts.method.clone(),
        version: head.parts.version,
        keep_alive: head.keep_alive,
    };
    let response = tokio::select! {
        biased;
        response = answer(worker, client, head.parts, body) => response,
        () = client_left(io) => {
            io.borrow_mut().end();
            return End::Abort;
        }
    };
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        return Box::pin(switched::run(io, response, client, worker)).await;
    }
    let end = respond(io, response, &after, worker, timeouts.write).await;
    let unread = io.borrow().decoder.is_some();
    if end != End::KeepAlive {
        io.borrow_mut().end();
    }
    if end == End::Close && unread {
        // Whoever is still sending must be able to read the answer: a close with unread bytes is a reset.
        io::discard_rest(io, Instant::now() + io::LINGER).await;
    }
    end
}

/// Waits until the client has broken off. A client that only ends its own side (close_notify) may still wait
/// for its answer. While a request body is read its reader owns the stream and notices itself.
async fn client_left<S>(io: &SharedIo<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut ended = false;
    poll_fn(|cx| {
        let mut io = io.borrow_mut();
        while !ended && io.decoder.is_none() && io.read.len() < io::HEAD_READ {
            match io.poll_read_head(cx) {
                Poll::Ready(Ok(0)) => ended = true,
                Poll::Ready(Ok(_)) => {} // The next request, early.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod sizes;
