//! One request of an HTTP/3 connection: its head, its exchange, its answer.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::request::Parts;
use http::{HeaderName, Request, Response, header};
use http_body::Body;
use tokio::time::timeout;

use super::body::{Upload, request_body};
use crate::proxy::client::Client;
use crate::proxy::exchange::answer;
use crate::proxy::response::AnswerBody;
use crate::proxy::worker::Worker;
use crate::quic::{Bidi, Link, Send, Streams};
use crate::reason::Reason;
use crate::telemetry::RefusalRecord;

/// What concerns one HTTP/1 connection and makes a request of HTTP/3 malformed (RFC 9114, section 4.2).
const FORBIDDEN: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Requests that a client may take back beyond those it lets be answered. Each has cost an upstream something.
const TAKEN_BACK: i64 = 200;

/// Requests taken back, less those answered (CVE-2023-44487 is a client that does little else).
#[derive(Debug, Default)]
pub(super) struct Balance(Cell<i64>);

impl Balance {
    fn answered(&self) {
        self.0.set((self.0.get() - 1).max(0));
    }

    /// Whether that was one too many.
    fn taken_back(&self) -> bool {
        self.0.set(self.0.get() + 1);
        self.0.get() > TAKEN_BACK
    }
}

/// The answer's half of a stream.
type Download = RequestStream<Send<Bytes>, Bytes>;

/// Serves a request to its end. Dropped before, it resets its stream.
pub(super) async fn serve_request(
    request: RequestResolver<Streams, Bytes>,
    (link, balance): (Rc<Link>, Rc<Balance>),
    client: Rc<Client>,
    worker: Rc<Worker>,
) {
    let Some((request, stream)) = head(request, &client, &worker).await else {
        return;
    };
    // Rules may ask where a client is. Who has moved to another address comes again and is looked at again.
    if link.remote().ip() != client.facts.client.ip() {
        tracing::debug!(client = %client.facts.client, "moved to another address");
        return link.close(Code::H3_NO_ERROR.value(), b"");
    }
    let id = stream.send_id().into_inner();
    let (mut download, mut upload) = stream.split();
    let (parts, ()) = request.into_parts();
    if is_malformed(&parts) {
        return refuse_malformed((&mut download, &mut upload), &client, &worker);
    }
    let Some(body) = request_body(upload, &parts, &worker).await else {
        download.stop_stream(Code::H3_MESSAGE_ERROR);
        return refuse(Reason::RequestMalformed, &client, &worker);
    };
    let answered = {
        let mut answering = pin!(answer(&worker, &client, parts, body));
        poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            // Nobody wants the answer any more.
            Poll::Pending => link.poll_stopped(id, cx).map(|()| None),
        })
        .await
    };
    link.settle(id);
    let told = match answered {
        Some(answer) => respond(&mut download, answer).await.is_ok(),
        None => false,
    };
    if told {
        balance.answered();
    } else if balance.taken_back() {
        tracing::debug!(client = %client.facts.client, "takes back what it asks");
        link.close(Code::H3_EXCESSIVE_LOAD.value(), b"");
    }
}

/// Reads the head, within `timeouts.header`.
async fn head(
    request: RequestResolver<Streams, Bytes>,
    client: &Client,
    worker: &Worker,
) -> Option<(Request<()>, RequestStream<Bidi<Bytes>, Bytes>)> {
    let limit = worker.snapshot().timeouts.header;
    let reason = match timeout(limit, request.resolve_request()).await {
        Ok(Ok(head)) => return Some(head),
        Ok(Err(StreamError::HeaderTooBig { .. })) => Reason::RequestTooLarge,
        Ok(Err(StreamError::RemoteTerminate { code, .. })) if code == Code::H3_EXCESSIVE_LOAD => {
            Reason::RequestTooLarge
        }
        Ok(Err(StreamError::StreamError { .. })) => Reason::RequestMalformed,
        Ok(Err(_)) => return None, // The client gave it up.
        Err(_) => Reason::RequestTimeout,
    };
    refuse(reason, client, worker);
    None
}

fn is_malformed(parts: &Parts) -> bool {
    let headers = &parts.headers;
    let mut te = headers.get_all(header::TE).iter();
    FORBIDDEN.iter().any(|name| headers.contains_key(name))
        || te.any(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers"))
        || parts
            .uri
            .scheme_str()
            .is_some_and(|scheme| scheme != "https")
}

fn refuse_malformed(
    (download, upload): (&mut Download, &mut Upload),
    client: &Client,
    worker: &Worker,
) {
    download.stop_stream(Code::H3_MESSAGE_ERROR);
    upload.stop_sending(Code::H3_MESSAGE_ERROR);
    refuse(Reason::RequestMalformed, client, worker);
}

/// Counts a request that never became an exchange.
fn refuse(reason: Reason, client: &Client, worker: &Worker) {
    worker.refuse(&RefusalRecord::of_client(reason, &client.facts));
}

/// Sends an answer. One that its upstream breaks off is reset.
async fn respond(download: &mut Download, answer: Response<AnswerBody>) -> Result<(), StreamError> {
    let (head, mut body) = answer.into_parts();
    let head = Response::from_parts(head, ());
    with_upload(&mut body, pin!(download.send_response(head))).await?;
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let frame = match frame {
            None => return download.finish().await,
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                download.stop_stream(Code::H3_INTERNAL_ERROR);
                return Ok(());
            }
        };
        match frame.into_data() {
            Ok(data) => with_upload(&mut body, pin!(download.send_data(data))).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    download.send_trailers(trailers).await?;
                }
            }
        }
    }
}

/// Sends while the request's body goes on.
async fn with_upload<T>(
    body: &mut AnswerBody,
    mut sending: Pin<&mut impl Future<Output = T>>,
) -> T {
    poll_fn(|cx| {
        let sent = sending.as_mut().poll(cx);
        if sent.is_pending() {
            body.poll_upload(cx);
        }
        sent
    })
    .await
}
