//! Answers on their way to the client, with the record that is written when they end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::client::{OpenRequest, Resting, SendClock};
use super::upgrade::Asked;
use super::worker::Worker;
use crate::reason::Reason;
use crate::telemetry::{RefusalRecord, RequestRecord};
use crate::upstream::{ResponseBody, Switched, UpstreamError};

/// What the log says of a request whose client left before there was an answer (nginx's number).
const CLIENT_LEFT: u16 = 499;

/// A response body that knows what is to be said about its request when it ends, however it ends.
#[derive(Debug)]
pub(super) struct AnswerBody {
    inner: ResponseBody,
    recorder: Recorder,
}

/// Writes the access log line and the counters of one request on drop.
#[derive(Debug)]
pub(super) struct Recorder {
    worker: Rc<Worker>,
    record: Box<RequestRecord>,
    start: Instant,
    _open: OpenRequest,
    /// Set for HTTP/2, where many answers share a connection and one may stall.
    clock: Option<Rc<SendClock>>,
    /// Set where it asked for a WebSocket.
    asked: Option<Box<Asked>>,
    /// Set where its route asks for more than the handshake did.
    resting: Option<Rc<Resting>>,
}

impl Recorder {
    /// The request has begun.
    pub(super) fn new(worker: Rc<Worker>, record: Box<RequestRecord>, open: OpenRequest) -> Self {
        worker.shared.metrics.requests_open.inc();
        Self {
            worker,
            record,
            start: Instant::now(),
            _open: open,
            clock: None,
            asked: None,
            resting: None,
        }
    }

    /// Has the answer's progress towards the client watched.
    pub(super) fn watch(&mut self, clock: Rc<SendClock>) {
        self.clock = Some(clock);
    }

    /// Has what its route asked looked after until the answer ends.
    pub(super) fn rest_on(&mut self, resting: Option<Rc<Resting>>) {
        self.resting = resting;
    }

    /// Keeps the request for a WebSocket, to be decided on again while it lasts.
    pub(super) fn ask(&mut self, asked: Option<Box<Asked>>) {
        self.asked = asked;
    }

    /// The request for a WebSocket.
    pub(super) fn take_asked(&mut self) -> Option<Box<Asked>> {
        self.asked.take()
    }

    /// Whose request it is to answer.
    pub(super) fn worker(&self) -> Rc<Worker> {
        Rc::clone(&self.worker)
    }

    /// What is known so far.
    pub(super) fn record(&mut self) -> &mut RequestRecord {
        &mut self.record
    }

    /// A bare answer that says nothing but the status; the reason is for the operator.
    pub(super) fn refuse(mut self, reason: Reason, detail: Option<&str>) -> Response<AnswerBody> {
        self.tell(reason, detail);
        let mut response = self.answer(reason.status(), HeaderMap::new(), ResponseBody::Empty);
        let length = HeaderValue::from_static("0");
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
        super::headers::prepare_response(response.headers_mut());
        response
    }

    /// Counts and logs why the request, or what it led to, does not go on.
    pub(super) fn tell(&mut self, reason: Reason, detail: Option<&str>) {
        self.record.reason = Some(reason);
        self.worker.refuse(&RefusalRecord {
            request_id: self.record.request_id.to_str().ok(),
            detail,
            ..RefusalRecord::of_client(reason, &self.record.connection)
        });
    }

    /// The answer of an upstream.
    pub(super) fn answer(
        mut self,
        status: StatusCode,
        headers: HeaderMap,
        inner: ResponseBody,
    ) -> Response<AnswerBody> {
        self.record.status = status.as_u16();
        self.record.complete = inner.is_end_stream();
        if let Some(clock) = &self.clock {
            clock.handed_out();
        }
        let alternative = self.record.connection.alt_svc.clone();
        let mut response = Response::new(AnswerBody {
            inner,
            recorder: self,
        });
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(alternative) = alternative {
            response
                .headers_mut()
                .insert(header::ALT_SVC, HeaderValue::clone(&alternative));
        }
        response
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let metrics = &self.worker.shared.metrics;
        self.record.duration = self.start.elapsed();
        if self.record.status == 0 {
            self.record.status = CLIENT_LEFT;
        }
        metrics.requests_open.dec();
        metrics.request_done(self.record.status, self.record.duration);
        self.worker.access.append(|lines| self.record.write(lines));
    }
}

impl AnswerBody {
    /// The connection behind a 101, with the record of its request.
    pub(super) fn into_switched(self) -> Option<(Box<Switched>, Recorder)> {
        let mut recorder = self.recorder;
        recorder.clock = None; // No answer waits for its reader; the tunnel looks after itself.
        match self.inner {
            ResponseBody::Switched(switched) => Some((switched, recorder)),
            _ => None,
        }
    }

    /// A refusal in the place of an answer that cannot be passed on.
    pub(super) fn into_refusal(self, reason: Reason, detail: &str) -> Response<Self> {
        self.recorder.refuse(reason, Some(detail))
    }

    /// Lets the request's body go on while the answer waits for the client: an upstream may read and answer
    /// at the same time, and a client may read only after it has sent.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        self.inner.poll_upload(cx);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = self.get_mut();
        if let Some(clock) = &this.recorder.clock {
            clock.asked();
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let (Some(clock), Some(Ok(_))) = (&this.recorder.clock, &frame) {
            clock.handed_out();
        }
        let record = this.recorder.record();
        match &frame {
            None => record.complete = true,
            Some(Ok(frame)) => {
                record.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                record.complete = this.inner.is_end_stream();
            }
            Some(Err(error)) => {
                record.complete = false;
                record.reason = Some(error.reason());
                this.recorder.worker.shared.metrics.refused(error.reason());
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
