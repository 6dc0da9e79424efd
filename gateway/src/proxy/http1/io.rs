//! The stream of a connection with its buffers, shared by the body's reader and the answer's writer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};
use tokio_util::io::poll_read_buf;

use super::SharedIo;
use crate::http1::BodyDecoder;

/// Bytes read at once of a head that is not complete, and of a body.
pub(super) const HEAD_READ: usize = 4 * 1024;
const BODY_READ: usize = 32 * 1024;
/// Room on the stack for the first bytes of a head: an idle connection needs no buffer to wait.
const FIRST_READ: usize = 2 * 1024;
/// How long, and how much, a client may go on sending what nobody reads after it was answered.
pub(super) const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// Stream, buffers, and how far the request in progress is.
pub(super) struct Io<S> {
    pub(super) stream: S,
    pub(super) read: BytesMut,
    pub(super) write: BytesMut,
    /// The request body, until it ended.
    pub(super) decoder: Option<BodyDecoder>,
    /// Counts requests: a body that outlives its request (an HTTP/2 upstream may hold it) finds another
    /// number here and leaves the stream alone.
    pub(super) request: u64,
    /// Whoever waits for bytes of the body.
    pub(super) body_waker: Option<Waker>,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) owes_continue: bool,
    /// The answer has begun: no interim response may come now.
    pub(super) answering: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(super) fn new(stream: S) -> Self {
        let (read, write) = (BytesMut::new(), BytesMut::new());
        Self {
            stream,
            read,
            write,
            decoder: None,
            request: 0,
            body_waker: None,
            owes_continue: false,
            answering: false,
        }
    }

    /// A request begins.
    pub(super) fn begin(&mut self, decoder: BodyDecoder, expects_continue: bool) {
        self.owes_continue = expects_continue && !decoder.is_end();
        self.decoder = (!decoder.is_end()).then_some(decoder);
        self.answering = false;
        self.request += 1;
    }

    /// The answer is complete, or given up: nobody reads the body any more.
    pub(super) fn end(&mut self) {
        self.request += 1;
        if let Some(waker) = self.body_waker.take() {
            waker.wake();
        }
    }

    /// Nothing to do: no buffers.
    pub(super) fn rest(&mut self) {
        if self.read.capacity() > 0 && self.read.is_empty() {
            self.read = BytesMut::new();
        }
        if self.write.capacity() > 0 {
            self.write = BytesMut::new();
        }
    }

    /// Reads what is there of a head.
    pub(super) fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.read.is_empty() {
            self.read.reserve(HEAD_READ);
            return poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read);
        }
        let mut room = [MaybeUninit::uninit(); FIRST_READ];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        self.read.extend_from_slice(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Reads what is there of a body.
    pub(super) fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(BODY_READ);
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)
    }
}

/// Ends the connection in order: close_notify, FIN.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(io: &SharedIo<S>) {
    let shutdown = poll_fn(|cx| Pin::new(&mut io.borrow_mut().stream).poll_shutdown(cx));
    // The client may be gone already; there is nobody left to tell.
    let _ = timeout_at(Instant::now() + LINGER, shutdown).await;
}

/// Reads and throws away what the client still sends, bounded in time and bytes.
pub(super) async fn discard_rest<S: AsyncRead + AsyncWrite + Unpin>(
    io: &SharedIo<S>,
    until: Instant,
) {
    let shut = poll_fn(|cx| Pin::new(&mut io.borrow_mut().stream).poll_shutdown(cx));
    if !matches!(timeout_at(until, shut).await, Ok(Ok(()))) {
        return;
    }
    let mut left = LINGER_BYTES;
    while left > 0 {
        let read = poll_fn(|cx| {
            let mut io = io.borrow_mut();
            io.read.clear();
            io.poll_read_body(cx)
        });
        match timeout_at(until, read).await {
            Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read),
            _ => return,
        }
    }
    // Enough was read, but a close with unread bytes would overtake the answer: give it its time.
    tokio::time::sleep_until(until).await;
}
