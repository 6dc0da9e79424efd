//! A request body on its way to an HTTP/1.1 upstream, beside the answer's way back.
//!
//! What was announced in the head is what is sent, or the connection is never used again: a body that is too
//! short would swallow the next request, one that is too long would be the next request.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http_body::Body;

use crate::http1::{Framing, encode};
use crate::upstream::body::{ClientBodyError, RequestBody};
use crate::upstream::error::UpstreamError;
use crate::upstream::stream::Stream;

/// How far the request body is.
pub(super) enum Upload {
    /// Everything that was announced was sent.
    Done,
    /// On its way.
    Running(Pin<Box<dyn Future<Output = Result<(), UploadError>>>>),
    /// Not sent, or not to its end, and nothing more will be. The upstream's answer, if any, still counts.
    Broken,
}

/// Why a body was not sent to its end.
pub(super) enum UploadError {
    /// The client's body failed.
    Client(ClientBodyError),
    /// The upstream stopped reading.
    Upstream,
}

impl Upload {
    /// Begins to send a body.
    pub(super) fn start(
        stream: Rc<Stream>,
        body: RequestBody,
        framing: Framing,
        stall: Duration,
    ) -> Self {
        Self::Running(Box::pin(send_body(stream, body, framing, stall)))
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Sends what can be sent now. Fails only where the client's body did.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamError> {
        let Self::Running(running) = self else {
            return Ok(());
        };
        let (next, failed) = match running.as_mut().poll(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => (Self::Done, Ok(())),
            Poll::Ready(Err(UploadError::Upstream)) => (Self::Broken, Ok(())),
            Poll::Ready(Err(UploadError::Client(error))) => {
                (Self::Broken, Err(UpstreamError::Client(error)))
            }
        };
        *self = next;
        failed
    }
}

/// Sends a request body, frame by frame.
async fn send_body(
    stream: Rc<Stream>,
    body: RequestBody,
    framing: Framing,
    stall: Duration,
) -> Result<(), UploadError> {
    let mut body = pin!(body);
    let mut line = BytesMut::new();
    let mut trailers = None;
    let mut left = match framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let data = match frame.map_err(UploadError::Client)?.into_data() {
            Ok(data) if data.is_empty() => continue,
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        if let Some(left) = &mut left {
            let excess = UploadError::Client(ClientBodyError::Malformed);
            *left = left.checked_sub(data.len() as u64).ok_or(excess)?;
            stream.write_all(&data, stall).await
        } else {
            line.clear();
            encode::chunk_header(&mut line, data.len());
            line.extend_from_slice(&data);
            encode::chunk_end(&mut line);
            stream.write_all(&line, stall).await
        }
        .map_err(|_| UploadError::Upstream)?;
    }
    match left {
        Some(0) => Ok(()),
        Some(_) => Err(UploadError::Client(ClientBodyError::Malformed)),
        None => {
            line.clear();
            encode::last_chunk_with_trailers(&mut line, trailers.as_ref());
            stream
                .write_all(&line, stall)
                .await
                .map_err(|_| UploadError::Upstream)
        }
    }
}
