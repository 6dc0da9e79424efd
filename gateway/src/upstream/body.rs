//! Bodies on their way through: never gathered, only passed on.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::UpstreamError;
use super::http1::Http1Body;
use super::http2::Upload;
use super::stream::Stream;
use super::target::Place;
use crate::patience::Wait;
use crate::reason::Reason;

/// Why a client's request body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientBodyError {
    /// No byte within `timeouts.body`.
    Timeout,
    /// Larger than `limits.body`.
    TooLarge,
    /// Chunked coding or HTTP/2 framing broken.
    Malformed,
    /// The client went away.
    Closed,
}

impl ClientBodyError {
    /// The refusal code.
    pub fn reason(self) -> Reason {
        match self {
            Self::Timeout | Self::Closed => Reason::RequestTimeout,
            Self::TooLarge => Reason::BodyTooLarge,
            Self::Malformed => Reason::RequestMalformed,
        }
    }
}

impl fmt::Display for ClientBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no byte in time",
            Self::TooLarge => "larger than limits.body",
            Self::Malformed => "broken framing",
            Self::Closed => "client closed",
        })
    }
}

impl std::error::Error for ClientBodyError {}

/// A request body, from whatever protocol the client speaks.
pub enum RequestBody {
    /// None.
    Empty,
    /// A stream of frames.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = ClientBodyError>>>),
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "RequestBody::Empty",
            Self::Stream(_) => "RequestBody::Stream",
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// A response body from an upstream.
#[derive(Debug)]
pub enum ResponseBody {
    /// None.
    Empty,
    /// From an HTTP/1.1 connection, which goes back to its pool at the end.
    Http1(Box<Http1Body>),
    /// From an HTTP/2 stream.
    Http2(Box<Http2Body>),
    /// None: the connection speaks another protocol from here on.
    Switched(Box<Switched>),
}

/// A connection behind a 101 (Switching Protocols), with its place among the requests in progress.
#[derive(Debug)]
pub struct Switched {
    /// The connection.
    pub stream: Stream,
    /// What the upstream sent behind its head.
    pub early: BytesMut,
    pub(super) _place: Place,
}

/// A body of an HTTP/2 stream with the upstream's body timeout and its place among the requests in progress.
#[derive(Debug)]
pub struct Http2Body {
    incoming: Incoming,
    wait: Wait,
    upload: Upload,
    _place: Place,
}

impl Http2Body {
    pub(super) fn new(incoming: Incoming, wait: Wait, upload: Upload, place: Place) -> Self {
        Self {
            incoming,
            wait,
            upload,
            _place: place,
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.wait.over();
                Poll::Ready(frame.map(|frame| frame.map_err(|error| self.upload.blame(error))))
            }
            Poll::Pending => {
                ready!(self.wait.poll_expired(cx));
                Poll::Ready(Some(Err(UpstreamError::Timeout)))
            }
        }
    }
}

impl ResponseBody {
    /// Sends what can be sent of the request body, where that is this body's task. Call it while the client
    /// takes nothing of the answer: some clients read only after they have sent everything.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Self::Http1(body) = self {
            body.poll_upload(cx);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            Self::Empty | Self::Switched(_) => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(cx),
            Self::Http2(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Switched(_) => true,
            Self::Http1(body) => body.is_end(),
            Self::Http2(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Switched(_) => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.incoming.size_hint(),
        }
    }
}
