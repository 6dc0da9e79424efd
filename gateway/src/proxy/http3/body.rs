//! A request body that comes over an HTTP/3 stream, within the gateway's bounds.
//!
//! Its length is what the head declared, or there is an error: a FIN that comes early never looks like an end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use h3::server::RequestStream;
use http::request::Parts;
use http::{HeaderName, header};
use http_body::{Body, Frame, SizeHint};

use crate::http1::parse_length;
use crate::patience::Wait;
use crate::proxy::headers::clean_trailers;
use crate::proxy::identity_headers::token_header;
use crate::proxy::worker::Worker;
use crate::quic::Receive;
use crate::upstream::{ClientBodyError, RequestBody};

/// The request's half of a stream.
pub(super) type Upload = RequestStream<Receive, Bytes>;

/// The body of a request whose head is `parts`. `None` where its length is not a number.
pub(super) async fn request_body(
    mut upload: Upload,
    parts: &Parts,
    worker: &Worker,
) -> Option<RequestBody> {
    let declared = declared(parts)?;
    // The end mostly comes along with the head.
    let first = std::future::poll_fn(|cx| Poll::Ready(poll_data(&mut upload, cx))).await;
    let (first, stage) = match first {
        Poll::Pending => (None, Stage::Data),
        Poll::Ready(Ok(Some(data))) => (Some(data), Stage::Data),
        Poll::Ready(Ok(None)) => (None, Stage::Trailers),
        Poll::Ready(Err(error)) => (None, Stage::Broken(error)),
    };
    let snapshot = worker.snapshot();
    let mut body = ClientBody {
        upload,
        first,
        stage,
        declared,
        received: 0,
        limit: snapshot.limits.body,
        token_header: token_header(&snapshot),
        wait: Wait::new(snapshot.timeouts.body),
    };
    if matches!(body.stage, Stage::Trailers) && declared.unwrap_or(0) == 0 {
        let end = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
        match end {
            Poll::Ready(None) => return Some(RequestBody::Empty),
            Poll::Ready(Some(Err(error))) => body.stage = Stage::Broken(error),
            // Trailers without a body: nobody misses them.
            Poll::Ready(Some(Ok(_))) => return Some(RequestBody::Empty),
            Poll::Pending => {}
        }
    }
    Some(RequestBody::Stream(Box::pin(body)))
}

/// Content-Length; `None` where it is no number, or two.
fn declared(parts: &Parts) -> Option<Option<u64>> {
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Some(None);
    };
    lengths.next().is_none().then_some(())?;
    parse_length(length.as_bytes()).map(Some)
}

enum Stage {
    Data,
    Trailers,
    Broken(ClientBodyError),
    End,
}

struct ClientBody {
    upload: Upload,
    /// What came along with the head.
    first: Option<Bytes>,
    stage: Stage,
    declared: Option<u64>,
    received: u64,
    limit: Option<u64>,
    /// What trailers may not have either.
    token_header: Option<HeaderName>,
    wait: Wait,
}

impl ClientBody {
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        loop {
            match &self.stage {
                Stage::Data => {
                    let data = match self.first.take() {
                        Some(first) => Some(first),
                        None => ready!(poll_data(&mut self.upload, cx))?,
                    };
                    let Some(data) = data else {
                        self.stage = Stage::Trailers;
                        continue;
                    };
                    self.received += data.len() as u64;
                    if self
                        .declared
                        .is_some_and(|declared| self.received > declared)
                    {
                        return Poll::Ready(Some(Err(self.malformed())));
                    }
                    if self.limit.is_some_and(|limit| self.received > limit) {
                        return Poll::Ready(Some(Err(ClientBodyError::TooLarge)));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Stage::Trailers => {
                    if self
                        .declared
                        .is_some_and(|declared| self.received != declared)
                    {
                        return Poll::Ready(Some(Err(self.malformed())));
                    }
                    let trailers = ready!(self.upload.poll_recv_trailers(cx)).map_err(lost)?;
                    self.stage = Stage::End;
                    let Some(mut trailers) = trailers else {
                        return Poll::Ready(None);
                    };
                    clean_trailers(&mut trailers, self.token_header.as_ref());
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Stage::Broken(error) => {
                    let error = *error;
                    self.stage = Stage::End;
                    return Poll::Ready(Some(Err(error)));
                }
                Stage::End => return Poll::Ready(None),
            }
        }
    }

    /// RFC 9114, section 4.1.2.
    fn malformed(&mut self) -> ClientBodyError {
        self.upload.stop_sending(Code::H3_MESSAGE_ERROR);
        self.stage = Stage::Broken(ClientBodyError::Malformed);
        ClientBodyError::Malformed
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let this = self.get_mut();
        match this.poll_next(cx) {
            Poll::Pending => {
                ready!(this.wait.poll_expired(cx));
                Poll::Ready(Some(Err(ClientBodyError::Timeout)))
            }
            ready => {
                this.wait.over();
                ready
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::End)
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.received)),
            None => SizeHint::default(),
        }
    }
}

fn poll_data(
    upload: &mut Upload,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, ClientBodyError>> {
    let data = ready!(upload.poll_recv_data(cx)).map_err(lost)?;
    Poll::Ready(Ok(data.map(|mut data| data.copy_to_bytes(data.remaining()))))
}

fn lost(error: StreamError) -> ClientBodyError {
    match error {
        StreamError::StreamError { .. } | StreamError::HeaderTooBig { .. } => {
            ClientBodyError::Malformed
        }
        _ => ClientBodyError::Closed,
    }
}
