//! HTTP/2 with prior knowledge: one connection of a worker carries many requests.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use http::{Method, Request, StatusCode, response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;

use super::body::{Http2Body, RequestBody, ResponseBody, Wait};
use super::error::UpstreamError;
use super::pool::{Place, Pool, UpstreamCounters};

/// Flow-control windows: enough for a fast upstream, bounded for a slow client.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A connection that does not answer a PING is given up.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP/2 connection of a worker to one upstream.
#[derive(Debug, Default)]
pub(super) struct Multiplexed(RefCell<Option<SendRequest<RequestBody>>>);

impl Multiplexed {
    /// Sends a request over the open connection, or a new one.
    pub(super) async fn send(
        &self,
        pool: &Pool,
        counters: &UpstreamCounters,
        request: Request<RequestBody>,
        place: Place,
    ) -> Result<(response::Parts, ResponseBody), UpstreamError> {
        let mut sender = self.sender(pool, counters).await?;
        let head_only = request.method() == Method::HEAD;
        let answer = timeout(
            pool.settings().response_timeout,
            sender.send_request(request),
        )
        .await;
        let (head, incoming) = answer
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(client_error)?
            .into_parts();
        // There is nothing to read, and the announced length of what is not sent must not count as missing.
        if head_only
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            )
        {
            return Ok((head, ResponseBody::Empty));
        }
        let wait = Wait::new(pool.settings().body_timeout);
        Ok((
            head,
            ResponseBody::Http2(Box::new(Http2Body::new(incoming, wait, place))),
        ))
    }

    async fn sender(
        &self,
        pool: &Pool,
        counters: &UpstreamCounters,
    ) -> Result<SendRequest<RequestBody>, UpstreamError> {
        let open = self.0.borrow().clone().filter(|sender| !sender.is_closed());
        if let Some(mut sender) = open
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let tcp = pool.connect(counters).await?;
        let (sender, connection) = Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(tcp))
            .await
            .map_err(UpstreamError::Http2)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "http/2 connection to an upstream ended");
            }
        });
        self.0.replace(Some(sender.clone()));
        Ok(sender)
    }
}

/// A failed request body of the client shows as an error of the stream; its cause is the truth.
fn client_error(error: hyper::Error) -> UpstreamError {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(client) = cause.downcast_ref() {
            return UpstreamError::Client(*client);
        }
        source = cause.source();
    }
    UpstreamError::Http2(error)
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
