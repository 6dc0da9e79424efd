//! One request over one HTTP/1.1 connection to an upstream.
//!
//! The request body and the answer flow at the same time: an upstream may answer before it has read
//! everything. A connection goes back to its pool only when both directions ended as announced.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Method, StatusCode, header, response};
use http_body::{Body, Frame, SizeHint};
use portcullis_config::Upstream;
use tokio::net::TcpStream;

use super::body::{ClientBodyError, RequestBody, ResponseBody};
use super::error::UpstreamError;
use super::pool::{Place, Pool, Return};
use crate::http1::{BodyDecoder, Decoded, Framing, HeadLimits, HeadScan, ResponseHead, encode};
use crate::patience::Patience;

/// Bytes read at once: small first, more while the upstream fills what it is offered.
const FIRST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// How long an upstream may think about `Expect: 100-continue` before the body is sent anyway
/// (RFC 9110, section 10.1.1: a client should not wait for an indefinite period).
const EXPECT_PATIENCE: Duration = Duration::from_secs(1);

/// A connection between requests.
#[derive(Debug)]
pub(super) struct Connection {
    tcp: Rc<TcpStream>,
    read: BytesMut,
    write: BytesMut,
    next_read: usize,
    used: bool,
}

impl Connection {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp: Rc::new(tcp),
            read: BytesMut::new(),
            write: BytesMut::new(),
            next_read: FIRST_READ,
            used: false,
        }
    }

    /// Whether the connection is open and the upstream has said nothing unasked. Costs a system call only
    /// where readiness was reported.
    pub(super) fn is_quiet(&self) -> bool {
        let nothing = self.tcp.try_read(&mut [0; 1]);
        self.read.is_empty()
            && nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            self.read.reserve(self.next_read);
            let room = self.read.capacity() - self.read.len();
            match self.tcp.try_read_buf(&mut self.read) {
                Ok(read) => {
                    if read == room {
                        self.next_read = (self.next_read * 2).min(LARGEST_READ);
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_read_ready(cx))?
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Makes the connection small for its time in the pool.
    fn rest(&mut self) {
        self.used = true;
        self.next_read = FIRST_READ;
        if self.read.capacity() > 2 * FIRST_READ {
            self.read = BytesMut::new();
        }
    }
}

/// The request's way out, running beside the answer's way in.
type Upload = Pin<Box<dyn Future<Output = Result<(), UploadError>>>>;

enum UploadError {
    /// The client's body failed.
    Client(ClientBodyError),
    /// The upstream stopped reading. Its answer, if any, still counts.
    Upstream,
}

/// How a request over a connection went.
pub(super) enum Outcome {
    /// The head of the answer is there.
    Answered(Box<ResponseHead>, Answer),
    /// The pooled connection had been closed before the upstream saw the request; it may be sent again.
    Stale(RequestBody),
    /// It failed.
    Failed(UpstreamError),
}

/// A connection in the middle of an answer.
pub(super) struct Answer {
    connection: Connection,
    upload: Option<Upload>,
    body_timeout: Duration,
    limits: HeadLimits,
}

/// A request to be sent, possibly twice.
pub(super) struct Exchange<'a> {
    pub(super) parts: Parts,
    pub(super) limits: HeadLimits,
    pub(super) settings: &'a Upstream,
}

impl Exchange<'_> {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn run(&mut self, mut connection: Connection, body: RequestBody) -> Outcome {
        let repeatable = connection.used
            && matches!(body, RequestBody::Empty)
            && self.parts.method.is_idempotent();
        let framing = self.framing(&body);
        let target = self
            .parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        connection.write.clear();
        encode::request_head(
            &mut connection.write,
            &self.parts.method,
            target,
            &self.parts.headers,
            framing,
        );
        let sent = write_all(
            &connection.tcp,
            &connection.write,
            self.settings.body_timeout,
        )
        .await;
        if let Err(error) = sent {
            return if repeatable {
                Outcome::Stale(body)
            } else {
                Outcome::Failed(UpstreamError::Closed(error))
            };
        }
        let mut upload = None;
        let mut waiting = match body {
            RequestBody::Empty => None,
            body => Some(body),
        };
        let expects = self.parts.headers.contains_key(header::EXPECT);
        let head = self
            .read_head(&mut connection, &mut waiting, &mut upload, expects)
            .await;
        match head {
            Ok(head) => {
                let (body_timeout, limits) = (self.settings.body_timeout, self.limits);
                Outcome::Answered(
                    Box::new(head),
                    Answer {
                        connection,
                        upload,
                        body_timeout,
                        limits,
                    },
                )
            }
            Err(UpstreamError::Closed(_)) if repeatable && connection.read.is_empty() => {
                Outcome::Stale(RequestBody::Empty)
            }
            Err(error) => Outcome::Failed(error),
        }
    }

    fn framing(&self, body: &RequestBody) -> Framing {
        match (body, body.size_hint().exact()) {
            // RFC 9110, section 8.6: a method that anticipates content says that there is none.
            (RequestBody::Empty, _)
                if matches!(
                    self.parts.method,
                    Method::POST | Method::PUT | Method::PATCH
                ) =>
            {
                Framing::Length(0)
            }
            (RequestBody::Empty, _) => Framing::None,
            (RequestBody::Stream(_), Some(length)) => Framing::Length(length),
            (RequestBody::Stream(_), None) => Framing::Chunked,
        }
    }

    /// Reads heads until the final one. The body starts at once, or with the upstream's 100, or when the
    /// upstream has thought about it for long enough.
    async fn read_head(
        &self,
        connection: &mut Connection,
        waiting: &mut Option<RequestBody>,
        upload: &mut Option<Upload>,
        expects: bool,
    ) -> Result<ResponseHead, UpstreamError> {
        let mut patience = Patience::new(self.settings.response_timeout);
        let mut hesitation = expects.then(|| Patience::new(EXPECT_PATIENCE));
        let mut scan = HeadScan::default();
        let tcp = Rc::clone(&connection.tcp);
        poll_fn(|cx| {
            loop {
                let go = hesitation
                    .as_mut()
                    .is_none_or(|hesitation| hesitation.poll_expired(cx).is_ready());
                if go && let Some(body) = waiting.take() {
                    let framing = self.framing(&body);
                    *upload = Some(Box::pin(send_body(
                        Rc::clone(&tcp),
                        body,
                        framing,
                        self.settings.body_timeout,
                    )));
                }
                poll_upload(upload, cx)?;
                if upload.is_some() || waiting.is_some() {
                    patience.progress(); // The response timeout runs from the end of the request.
                }
                match scan.response(&mut connection.read, &self.limits, &self.parts.method) {
                    Ok(Some(head)) if head.parts.status == StatusCode::SWITCHING_PROTOCOLS => {
                        return Poll::Ready(Err(UpstreamError::UnexpectedUpgrade));
                    }
                    Ok(Some(head)) if head.is_interim() => {
                        hesitation = None; // A 100 says go; other interim answers say that it is alive.
                        continue;
                    }
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(UpstreamError::Head(error))),
                }
                match connection.poll_read(cx) {
                    Poll::Ready(Ok(0)) => {
                        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
                        return Poll::Ready(Err(UpstreamError::Closed(closed)));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(UpstreamError::Closed(error)));
                    }
                    Poll::Pending => {
                        ready!(patience.poll_expired(cx));
                        return Poll::Ready(Err(UpstreamError::Timeout));
                    }
                }
            }
        })
        .await
    }
}

impl Answer {
    /// The response for the client. Without a body the connection is back in the pool at once.
    pub(super) fn into_response(
        self,
        head: ResponseHead,
        pool: &Rc<Pool>,
        place: Place,
    ) -> (response::Parts, ResponseBody) {
        let mut body = Http1Body {
            connection: Some(self.connection),
            decoder: BodyDecoder::new(head.framing, &self.limits),
            reusable: head.keep_alive,
            upload: self.upload,
            pool: Return::to(pool),
            patience: Patience::new(self.body_timeout),
            place: Some(place),
        };
        if body.decoder.is_end() && body.upload.is_none() {
            body.finish();
            return (head.parts, ResponseBody::Empty);
        }
        (head.parts, ResponseBody::Http1(Box::new(body)))
    }
}

/// A response body, and the connection it comes from.
pub struct Http1Body {
    connection: Option<Connection>,
    decoder: BodyDecoder,
    reusable: bool,
    upload: Option<Upload>,
    pool: Return,
    patience: Patience,
    place: Option<Place>,
}

impl std::fmt::Debug for Http1Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http1Body")
            .field("decoder", &self.decoder)
            .field("reusable", &self.reusable)
            .finish()
    }
}

impl Http1Body {
    pub(super) fn is_end(&self) -> bool {
        self.decoder.is_end()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if let Err(error) = poll_upload(&mut self.upload, cx) {
            self.connection = None;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            match self.decoder.decode(&mut connection.read) {
                Ok(Decoded::Data(data)) => {
                    self.patience.progress();
                    if self.decoder.is_end() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => match ready!(self.poll_more(cx)) {
                    Ok(()) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Err(error) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(UpstreamError::Body(error))));
                }
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(()));
        };
        let failed = match connection.poll_read(cx) {
            Poll::Ready(Ok(0)) => match self.decoder.eof() {
                Ok(()) => {
                    self.reusable = false;
                    return Poll::Ready(Ok(()));
                }
                Err(error) => UpstreamError::Body(error),
            },
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => UpstreamError::Closed(error),
            Poll::Pending => {
                ready!(self.patience.poll_expired(cx));
                UpstreamError::Timeout
            }
        };
        self.connection = None;
        Poll::Ready(Err(failed))
    }

    /// The answer is complete: the connection goes back if the request is too.
    fn finish(&mut self) {
        self.place = None;
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if self.reusable && self.upload.is_none() && connection.read.is_empty() {
            connection.rest();
            self.pool.give_back(connection);
        }
    }
}

fn poll_upload(upload: &mut Option<Upload>, cx: &mut Context<'_>) -> Result<(), UpstreamError> {
    let Some(running) = upload else { return Ok(()) };
    match running.as_mut().poll(cx) {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(())) => {
            *upload = None;
            Ok(())
        }
        Poll::Ready(Err(UploadError::Client(error))) => Err(UpstreamError::Client(error)),
        Poll::Ready(Err(UploadError::Upstream)) => {
            // Never reused: the upload stays in place as a future that does not end.
            *upload = Some(Box::pin(std::future::pending()));
            Ok(())
        }
    }
}

/// Sends a request body, frame by frame.
async fn send_body(
    tcp: Rc<TcpStream>,
    body: RequestBody,
    framing: Framing,
    stall: Duration,
) -> Result<(), UploadError> {
    let mut body = pin!(body);
    let mut line = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(UploadError::Client)?;
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => continue,
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        let write = async {
            if framing != Framing::Chunked {
                return write_all(&tcp, &data, stall).await;
            }
            line.clear();
            encode::chunk_header(&mut line, data.len());
            line.extend_from_slice(&data);
            encode::chunk_end(&mut line);
            write_all(&tcp, &line, stall).await
        };
        write.await.map_err(|_| UploadError::Upstream)?;
    }
    if framing == Framing::Chunked {
        line.clear();
        encode::last_chunk_with_trailers(&mut line, trailers.as_ref());
        write_all(&tcp, &line, stall)
            .await
            .map_err(|_| UploadError::Upstream)?;
    }
    Ok(())
}

async fn write_all(tcp: &TcpStream, mut bytes: &[u8], stall: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        match tcp.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::timeout(stall, tcp.writable())
                    .await
                    .map_err(|_| io::ErrorKind::TimedOut)??;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
