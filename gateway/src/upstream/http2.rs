//! HTTP/2, with prior knowledge or over TLS: one connection of a worker carries many requests.

mod upload;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_config::Upstream;
use tokio::time::{Instant, timeout};

use super::body::RequestBody;
use super::error::UpstreamError;
use super::pool::UpstreamCounters;
use super::search::Search;
use super::slot::Slot;
use super::stream::Stream;
use super::tls::Trusted;

pub(super) use upload::{SentBody, Upload};

/// What an upstream may send ahead of a slow client.
const STREAM_WINDOW: u32 = 128 * 1024;
/// As much as there can be: what one slow client leaves unread must not stop the others' streams. The bound on
/// what is held is that of the streams: `connections` of the upstream times [`STREAM_WINDOW`], 128 MiB with
/// the default.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// A connection that does not answer a PING is given up.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP/2 connection of a worker to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Multiplexed(RefCell<Option<(SendRequest<SentBody>, Trusted)>>);

impl Multiplexed {
    /// The open connection, or a new one; `None` where it has to be another endpoint.
    pub(super) async fn sender(
        &self,
        slot: &Slot,
        search: &mut Search<'_>,
        counters: &UpstreamCounters,
    ) -> Option<SendRequest<SentBody>> {
        let open = self.0.borrow().clone();
        if let Some((mut sender, trusted)) = open
            && !sender.is_closed()
            && trusted.holds(search.epoch())
            && sender.ready().await.is_ok()
        {
            return Some(sender);
        }
        let (stream, trusted) = Box::pin(search.connect(slot, counters)).await?;
        let begun = Box::pin(timeout(search.connect_timeout(), begin(stream))).await;
        match begun.map_err(io::Error::from).and_then(|begun| begun) {
            Ok(sender) => {
                self.0.replace(Some((sender.clone(), trusted)));
                Some(sender)
            }
            Err(error) => {
                search.failed(slot, error);
                None
            }
        }
    }

    /// Lets go of a connection that takes no requests.
    pub(super) fn forget(&self) {
        self.0.take();
    }
}

/// Begins to speak HTTP/2.
async fn begin(stream: Stream) -> io::Result<SendRequest<SentBody>> {
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let begun = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "http/2 connection to an upstream ended");
        }
    });
    Ok(sender)
}

type Tried = Result<Response<Incoming>, TrySendError<Request<SentBody>>>;

/// How a request went.
pub(super) enum Sent {
    /// The head of the answer is there, with the rest of it where there is one.
    Answered(response::Parts, Option<(Incoming, Upload)>),
    /// Not a byte of it was written; it may be sent again, whatever it is.
    Unsent(hyper::Error, Request<RequestBody>),
    /// It failed.
    Failed(UpstreamError),
}

/// Sends a request; what comes back waits for the head of the answer, at most for `patience` when all of it is sent.
/// Says when the wait begins. The request is gone before it, so that there is no room for it in what waits.
pub(super) fn send_over(
    sender: &mut SendRequest<SentBody>,
    settings: &Upstream,
    patience: Duration,
    request: Request<RequestBody>,
) -> (impl Future<Output = Sent>, Instant) {
    let method = request.method().clone();
    let (parts, body) = request.into_parts();
    let (upload, body, begun) = Upload::new(body, settings.body_timeout, patience);
    let answer = sender.try_send_request(Request::from_parts(parts, body));
    (wait_for(answer, upload, method), begun)
}

async fn wait_for(answer: impl Future<Output = Tried>, upload: Upload, method: Method) -> Sent {
    let mut answer = pin!(answer);
    let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => upload.poll_expired(cx).map(|()| None),
    });
    match answer.await {
        None => Sent::Failed(UpstreamError::Timeout),
        Some(Ok(answer)) => {
            let (head, incoming) = answer.into_parts();
            // There is nothing to read, and the announced length of what is not sent must not count as missing.
            let empty = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
            let rest = (method != Method::HEAD && !empty.contains(&head.status))
                .then_some((incoming, upload));
            Sent::Answered(head, rest)
        }
        Some(Err(mut error)) => match error.take_message() {
            Some(unsent) => {
                let request = unsent.map(|_| upload.take_back());
                Sent::Unsent(error.into_error(), request)
            }
            None => Sent::Failed(upload.blame(error.into_error())),
        },
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
