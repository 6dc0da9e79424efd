//! One request over one HTTP/1.1 connection to an upstream.
//!
//! The request body and the answer flow at the same time: an upstream may answer before it has read
//! everything. A connection goes back to its pool only when both directions ended as announced.

mod answer;
mod connection;
mod upload;

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Body;
use portcullis_config::Upstream;
use tokio::time::Instant;

use self::answer::Answer;
use self::upload::Upload;
use super::body::RequestBody;
use super::error::UpstreamError;
use super::retry::is_safe;
use crate::http1::{Framing, HeadError, HeadLimits, HeadScan, ResponseHead, encode};
use crate::patience::Patience;

pub(super) use answer::Http1Body;
pub(super) use connection::Connection;

/// How long an upstream may think about `Expect: 100-continue` before the body is sent anyway
/// (RFC 9110, section 10.1.1: a client should not wait for an indefinite period).
const EXPECT_PATIENCE: Duration = Duration::from_secs(1);
/// Interim answers to one request: more than anyone needs, and the end of an upstream that sends nothing else.
const MAX_INTERIM: usize = 16;

/// How a request over a connection went.
pub(super) enum Outcome {
    /// The head of the answer is there.
    Answered(Box<ResponseHead>, Answer),
    /// Not a byte of it was written; it may be sent again, whatever it is.
    Unsent(io::Error, RequestBody),
    /// The pooled connection had been closed before the upstream saw the request; it may be sent again.
    Stale(RequestBody),
    /// It was sent, and no answer began; it may be sent again, for it is safe and has no body.
    Unanswered(UpstreamError),
    /// It failed.
    Failed(UpstreamError),
}

/// A request to be sent, possibly more than once.
pub(super) struct Exchange<'a> {
    pub(super) parts: Parts,
    pub(super) limits: HeadLimits,
    pub(super) settings: &'a Upstream,
    /// How long this try may wait for the head of its answer.
    pub(super) patience: Duration,
    /// When the first try waited for it.
    pub(super) begun: Option<Instant>,
}

impl Exchange<'_> {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn run(&mut self, mut connection: Connection, body: RequestBody) -> Outcome {
        let safe = is_safe(&self.parts.method, &body);
        let framing = self.framing(&body);
        // RFC 9110, section 10.1.4: TE concerns this connection only, which Connection has to say.
        if self.parts.headers.contains_key(header::TE) {
            let te = HeaderValue::from_static("te");
            self.parts.headers.insert(header::CONNECTION, te);
        }
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
        let (stream, stall) = (Rc::clone(&connection.stream), self.settings.body_timeout);
        let mut unsent = &connection.write[..];
        let sent = stream.write_from(&mut unsent, stall).await;
        drop(stream);
        if let Err(error) = sent {
            let none = unsent.len() == connection.write.len();
            return match (none, safe) {
                (true, _) => Outcome::Unsent(error, body),
                (false, true) if connection.used => Outcome::Stale(body),
                (false, true) => Outcome::Unanswered(UpstreamError::Closed(error)),
                (false, false) => Outcome::Failed(UpstreamError::Closed(error)),
            };
        }
        let mut sending = Sending {
            upload: Upload::Done,
            waiting: None,
            framing,
            hesitation: None,
        };
        if let RequestBody::Stream(_) = &body {
            let expects = self.parts.headers.contains_key(header::EXPECT);
            sending.hesitation = expects.then(|| Patience::new(EXPECT_PATIENCE));
            sending.waiting = Some(body);
        }
        match self.read_head(&mut connection, &mut sending).await {
            Ok(head) => {
                let answer = Answer {
                    connection,
                    upload: sending.into_upload(),
                    body_timeout: self.settings.body_timeout,
                    limits: self.limits,
                };
                Outcome::Answered(Box::new(head), answer)
            }
            Err(error) if !safe || !connection.read.is_empty() => Outcome::Failed(error),
            Err(UpstreamError::Closed(_)) if connection.used => Outcome::Stale(RequestBody::Empty),
            Err(error @ (UpstreamError::Closed(_) | UpstreamError::Timeout)) => {
                Outcome::Unanswered(error)
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

    /// Whether a 101 is the answer to what was asked. Nobody but the gateway puts an Upgrade here.
    fn may_switch(&self, head: &ResponseHead) -> bool {
        let asked = self.parts.headers.get(header::UPGRADE);
        let switched = head.parts.headers.get(header::UPGRADE);
        asked.zip(switched).is_some_and(|(asked, switched)| {
            asked.as_bytes().eq_ignore_ascii_case(switched.as_bytes())
        })
    }

    /// Reads heads until the final one, and sends the body meanwhile.
    async fn read_head(
        &mut self,
        connection: &mut Connection,
        sending: &mut Sending,
    ) -> Result<ResponseHead, UpstreamError> {
        let mut patience = Patience::new(self.patience);
        self.begun.get_or_insert(patience.since());
        let mut scan = HeadScan::default();
        let mut interim = 0;
        poll_fn(|cx| {
            loop {
                // Asked before the last piece is sent: the response timeout runs from the end of the request.
                if sending.is_open() {
                    patience.progress();
                }
                sending.drive(connection, self.settings.body_timeout, cx)?;
                match scan.response(&mut connection.read, &self.limits, &self.parts.method) {
                    Ok(Some(head))
                        if head.parts.status == StatusCode::SWITCHING_PROTOCOLS
                            && !self.may_switch(&head) =>
                    {
                        return Poll::Ready(Err(UpstreamError::UnexpectedUpgrade));
                    }
                    Ok(Some(head)) if head.is_interim() => {
                        interim += 1;
                        if interim > MAX_INTERIM {
                            return Poll::Ready(Err(UpstreamError::Head(HeadError::StatusLine)));
                        }
                        // A 100 says go; other interim answers say that it is alive.
                        sending.hesitation = None;
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

/// A request body before and while it is sent. It starts at once, or with the upstream's 100, or when the
/// upstream has thought about it for long enough.
struct Sending {
    upload: Upload,
    /// The body that was announced, until it starts.
    waiting: Option<RequestBody>,
    framing: Framing,
    hesitation: Option<Patience>,
}

impl Sending {
    /// Whether there is more of the request to come.
    fn is_open(&self) -> bool {
        self.waiting.is_some() || self.upload.is_running()
    }

    fn drive(
        &mut self,
        connection: &Connection,
        stall: Duration,
        cx: &mut Context<'_>,
    ) -> Result<(), UpstreamError> {
        let go = match &mut self.hesitation {
            Some(hesitation) if self.waiting.is_some() => hesitation.poll_expired(cx).is_ready(),
            _ => true,
        };
        if go && let Some(body) = self.waiting.take() {
            let stream = Rc::clone(&connection.stream);
            self.upload = Upload::start(stream, body, self.framing, stall);
        }
        self.upload.drive(cx)
    }

    /// The answer is there. A body that has not started by now never will, though it was announced: the
    /// upstream would take the next request for it.
    fn into_upload(self) -> Upload {
        match self.waiting {
            Some(_) => Upload::Broken,
            None => self.upload,
        }
    }
}
