//! A request body, read from the client while it is sent upstream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::SharedIo;
use super::io::Io;
use crate::http1::Decoded;
use crate::patience::Wait;
use crate::proxy::headers::clean_trailers;
use crate::proxy::identity_headers::token_header;
use crate::snapshot::Snapshot;
use crate::upstream::ClientBodyError;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of the request in progress on a connection.
pub(super) struct ClientBody<S> {
    io: SharedIo<S>,
    request: u64,
    limit: Option<u64>,
    /// What trailers may not have either.
    token_header: Option<HeaderName>,
    received: u64,
    wait: Wait,
    /// Bytes of `100 Continue` that are written.
    continued: usize,
}

impl<S> ClientBody<S> {
    pub(super) fn new(io: SharedIo<S>, snapshot: &Snapshot) -> Self {
        let request = io.borrow().request;
        Self {
            io,
            request,
            limit: snapshot.limits.body,
            token_header: token_header(snapshot),
            received: 0,
            wait: Wait::new(snapshot.timeouts.body),
            continued: 0,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Body for ClientBody<S> {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let this = self.get_mut();
        let mut io = this.io.borrow_mut();
        if io.request != this.request {
            return Poll::Ready(Some(Err(ClientBodyError::Closed)));
        }
        loop {
            let io = &mut *io;
            let Some(decoder) = &mut io.decoder else {
                return Poll::Ready(None);
            };
            match decoder.decode(&mut io.read) {
                Ok(Decoded::Data(data)) => {
                    if decoder.is_end() {
                        io.decoder = None;
                    }
                    io.owes_continue = false; // It did not wait.
                    this.wait.over();
                    this.received += data.len() as u64;
                    if this.limit.is_some_and(|limit| this.received > limit) {
                        return Poll::Ready(Some(Err(ClientBodyError::TooLarge)));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(mut trailers)) => {
                    // Not every reader asks again after the trailers.
                    if decoder.is_end() {
                        io.decoder = None;
                    }
                    clean_trailers(&mut trailers, this.token_header.as_ref());
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    io.decoder = None;
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => {}
                Err(_) => return Poll::Ready(Some(Err(ClientBodyError::Malformed))),
            }
            if io.owes_continue && !io.answering && io.read.is_empty() {
                ready!(poll_continue(io, &mut this.continued, cx))?;
                // The client was waiting for us, not we for it.
                this.wait.over();
            }
            match io.poll_read_body(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    return Poll::Ready(Some(Err(ClientBodyError::Closed)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    io.body_waker = Some(cx.waker().clone());
                    ready!(this.wait.poll_expired(cx));
                    return Poll::Ready(Some(Err(ClientBodyError::Timeout)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let io = self.io.borrow();
        io.request != self.request || io.decoder.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.io
            .borrow()
            .decoder
            .as_ref()
            .map_or(SizeHint::with_exact(0), |decoder| decoder.size_hint())
    }
}

/// Tells the client that its body is wanted (RFC 9110, section 10.1.1).
fn poll_continue<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    written: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ClientBodyError>> {
    while *written < CONTINUE.len() {
        match ready!(Pin::new(&mut io.stream).poll_write(cx, &CONTINUE[*written..])) {
            Ok(count) if count > 0 => *written += count,
            _ => return Poll::Ready(Err(ClientBodyError::Closed)),
        }
    }
    ready!(Pin::new(&mut io.stream).poll_flush(cx)).map_err(|_| ClientBodyError::Closed)?;
    io.owes_continue = false;
    Poll::Ready(Ok(()))
}
