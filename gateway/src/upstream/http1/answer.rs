//! The body of an answer, and the way of its connection back to the pool.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, response};
use http_body::{Frame, SizeHint};

use super::connection::Connection;
use super::upload::Upload;
use crate::http1::{BodyDecoder, Decoded, HeadLimits, ResponseHead};
use crate::patience::Wait;
use crate::upstream::body::{ResponseBody, Switched};
use crate::upstream::error::UpstreamError;
use crate::upstream::slot::{Return, Slot};
use crate::upstream::target::Place;

/// A connection in the middle of an answer.
pub(in crate::upstream) struct Answer {
    pub(super) connection: Connection,
    pub(super) upload: Upload,
    pub(super) body_timeout: Duration,
    pub(super) limits: HeadLimits,
}

impl Answer {
    /// The response for the client. Without a body the connection is back in the pool at once.
    pub(in crate::upstream) fn into_response(
        self,
        head: ResponseHead,
        slot: &Rc<Slot>,
        place: Place,
    ) -> (response::Parts, ResponseBody) {
        if head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let Connection { stream, read, .. } = self.connection;
            // A request that asks for this has no body, so nobody else holds the connection.
            let body = Rc::into_inner(stream).map_or(ResponseBody::Empty, |stream| {
                ResponseBody::Switched(Box::new(Switched {
                    stream,
                    early: read,
                    _place: place,
                }))
            });
            return (head.parts, body);
        }
        let mut body = Http1Body {
            connection: Some(self.connection),
            decoder: BodyDecoder::new(head.framing, &self.limits),
            reusable: head.keep_alive,
            upload: self.upload,
            failed: None,
            slot: Return::to(slot),
            wait: Wait::new(self.body_timeout),
            place: Some(place),
        };
        if body.decoder.is_end() && !body.upload.is_running() {
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
    upload: Upload,
    /// What went wrong with the upload, until the body is asked for its next frame.
    failed: Option<UpstreamError>,
    slot: Return,
    wait: Wait,
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
    pub(in crate::upstream) fn is_end(&self) -> bool {
        self.decoder.is_end()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }

    /// Sends what can be sent of the request body; a failure is told with the next frame.
    pub(in crate::upstream) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = self.upload.drive(cx) {
            self.failed = Some(error);
        }
    }

    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        self.poll_upload(cx);
        if let Some(error) = self.failed.take() {
            self.connection = None;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            let frame = match self.decoder.decode(&mut connection.read) {
                Ok(Decoded::Data(data)) => Some(Ok(Frame::data(data))),
                Ok(Decoded::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Ok(Decoded::End) => None,
                Ok(Decoded::NeedMore) => match ready!(self.poll_more(cx)) {
                    Ok(()) => continue,
                    Err(error) => Some(Err(error)),
                },
                Err(error) => {
                    self.connection = None;
                    Some(Err(UpstreamError::Body(error)))
                }
            };
            // With the last frame, not after it: whoever sees `is_end` may not ask again.
            if self.decoder.is_end() {
                self.finish();
            }
            return Poll::Ready(frame);
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
            Poll::Ready(Ok(_)) => {
                self.wait.over();
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(error)) => UpstreamError::Closed(error),
            Poll::Pending => {
                ready!(self.wait.poll_expired(cx));
                UpstreamError::Timeout
            }
        };
        self.connection = None;
        Poll::Ready(Err(failed))
    }

    /// The answer is complete: the connection goes back if the request is too, or else ends now.
    fn finish(&mut self) {
        self.place = None;
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if !self.upload.is_done() {
            self.upload = Upload::Broken; // Lets go of its half of the connection.
            return;
        }
        if self.reusable && connection.read.is_empty() {
            connection.rest();
            self.slot.give_back(connection);
        }
    }
}
