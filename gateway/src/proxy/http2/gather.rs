//! Small writes of many streams, gathered into few records; and the guard over what the client sends.
//!
//! hyper flushes after each answer; with many streams on a connection that is a record, a system call and a packet for
//! each. Here frames wait for one round of the worker while other requests of the connection are in progress, and a
//! millisecond at most while the worker is busy. A worker that has nothing else to do waits for nothing.
//!
//! Promises: at most [`ROOM`] bytes wait; what does not fit, and large frames, are written through, and a client that
//! does not read stops the writer as ever.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::guard::{Guard, Wrong};
use crate::turns::Turns;

/// Bytes that may wait: one TLS record.
const ROOM: usize = 16 * 1024;
/// From this size on a write is not copied.
const LARGE: usize = 4 * 1024;
/// Slices of one write that goes through.
const SLICES: usize = 8;
/// The longest wait for company.
const HOLD: Duration = Duration::from_millis(1);
/// A round that was shorter had little to do: nobody is coming.
const BUSY: Duration = Duration::from_micros(50);
/// Frame type of GOAWAY (RFC 9113, section 6.8).
const GOAWAY: u8 = 7;

/// A stream for hyper.
pub(super) struct Gather<S>(Rc<RefCell<Gathered<S>>>);

/// The other end, for whoever drives the connection.
pub(super) struct Gatherer<S>(Rc<RefCell<Gathered<S>>>);

struct Gathered<S> {
    stream: S,
    out: BytesMut,
    wait: Option<Wait>,
    /// The stream may hold what it took.
    unflushed: bool,
    /// The last write of hyper was taken in part: a frame is half way out.
    halved: bool,
    guard: Guard,
    wrong: Option<Wrong>,
}

/// Since when what is there waits, and the round it waits for.
#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    round: u64,
    round_since: Instant,
}

/// Both ends of a gathering stream.
pub(super) fn gather<S>(stream: S) -> (Gather<S>, Gatherer<S>) {
    let gathered = Rc::new(RefCell::new(Gathered {
        stream,
        out: BytesMut::new(),
        wait: None,
        unflushed: false,
        halved: false,
        guard: Guard::new(),
        wrong: None,
    }));
    (Gather(Rc::clone(&gathered)), Gatherer(gathered))
}

impl<S: AsyncWrite + Unpin> Gatherer<S> {
    /// Sends what was gathered, or waits for more of it where `more` says that more may come. Call it after each
    /// poll of the connection.
    pub(super) fn poll_leave(&self, more: bool, turns: &Turns, cx: &mut Context<'_>) {
        let mut gathered = self.0.borrow_mut();
        if gathered.out.is_empty() && !gathered.unflushed {
            gathered.wait = None;
            return;
        }
        // What the stream has taken waits for the socket alone.
        if more && !gathered.unflushed && gathered.waits(turns, cx) {
            return;
        }
        gathered.wait = None;
        // An error comes up again with the next read or write, which are hyper's to judge.
        let _ = gathered.poll_send(cx);
    }

    /// What the guard did not let pass. hyper has seen a broken stream instead.
    pub(super) fn wrong(&self) -> Option<Wrong> {
        self.0.borrow().wrong
    }

    /// Says goodbye with an error code, unless a frame is half way out, and ends the stream.
    pub(super) async fn go_away(&self, code: u32) -> io::Result<()> {
        let frame = {
            let gathered = self.0.borrow();
            let highest = gathered.guard.highest();
            let head = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
            [&head[..], &highest.to_be_bytes(), &code.to_be_bytes()].concat()
        };
        poll_fn(|cx| {
            let mut gathered = self.0.borrow_mut();
            if !std::mem::replace(&mut gathered.halved, true) {
                gathered.out.extend_from_slice(&frame);
            }
            ready!(gathered.poll_send(cx))?;
            Pin::new(&mut gathered.stream).poll_shutdown(cx)
        })
        .await
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Whether to wait on.
    fn waits(&mut self, turns: &Turns, cx: &mut Context<'_>) -> bool {
        if let Some(wait) = self.wait
            && wait.round == turns.round()
        {
            return true; // Something else of this connection came in the same round.
        }
        let now = Instant::now();
        let since = self.wait.map_or(now, |wait| wait.since);
        let quiet = self.wait.is_some_and(|wait| now - wait.round_since < BUSY);
        if quiet || now - since >= HOLD {
            return false;
        }
        self.wait = Some(Wait {
            since,
            round: turns.round(),
            round_since: now,
        });
        turns.wake_after_round(cx.waker());
        true
    }

    /// Writes everything that was gathered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            self.unflushed = true;
            self.advance(written)?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Takes away what was written of what was gathered.
    fn advance(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if written >= self.out.len() {
            // Between bursts a connection holds no buffer.
            self.out = BytesMut::new();
        } else {
            let _ = self.out.split_to(written);
        }
        Ok(())
    }

    /// Writes what was gathered and these behind it; says how much of these was written.
    fn poll_through(
        &mut self,
        bufs: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let waiting = self.out.len();
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES];
                slices[0] = IoSlice::new(&self.out);
                let mut count = 1;
                for (place, buf) in slices[1..].iter_mut().zip(bufs) {
                    *place = IoSlice::new(buf);
                    count += 1;
                }
                let first = usize::from(waiting == 0);
                let stream = Pin::new(&mut self.stream);
                ready!(stream.poll_write_vectored(cx, &slices[first..count]))?
            };
            self.unflushed = true;
            if waiting > 0 {
                self.advance(written)?;
            }
            if written > waiting || waiting == 0 {
                return Poll::Ready(Ok(written - waiting));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut gathered.stream).poll_read(cx, buf))?;
        if let Err(wrong) = gathered.guard.look(&buf.filled()[before..]) {
            gathered.wrong = Some(wrong);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.borrow_mut();
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total >= LARGE || gathered.out.len() + total > ROOM {
            let written = ready!(gathered.poll_through(bufs, cx))?;
            gathered.guard.sent(written);
            gathered.halved = written < total;
            return Poll::Ready(Ok(written));
        }
        gathered.guard.sent(total);
        gathered.halved = false;
        for buf in bufs {
            gathered.out.extend_from_slice(buf);
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // The gatherer sees to it, within the same poll of the connection.
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn leave<S: AsyncWrite + Unpin>(gatherer: &Gatherer<S>, more: bool, turns: &Turns) {
        poll_fn(|cx| {
            gatherer.poll_leave(more, turns, cx);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_reader_that_stops_stops_the_writer() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut stream, _gatherer) = gather(near);
        let mut written = 0;
        let full = tokio::time::timeout(Duration::from_millis(50), async {
            loop {
                written += stream.write(&[0; 1000]).await.unwrap();
            }
        });
        assert!(full.await.is_err());
        assert!(written <= ROOM + 1024, "{written}");
        // Everything arrives, in order and once, when the reader goes on.
        let mut read = vec![0; 1024];
        far.read_exact(&mut read).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_gathered_goes_in_front_of_what_goes_through() {
        let (near, mut far) = tokio::io::duplex(256 * 1024);
        let (mut stream, gatherer) = gather(near);
        let mut sent = Vec::new();
        for (index, size) in [10, 5000, 9, 4095, 16 * 1024, 100_000, 3]
            .into_iter()
            .enumerate()
        {
            let piece = vec![u8::try_from(index).unwrap(); size];
            stream.write_all(&piece).await.unwrap();
            sent.extend(piece);
        }
        let turns = Turns::default();
        leave(&gatherer, false, &turns).await;
        let mut read = vec![0; sent.len()];
        far.read_exact(&mut read).await.unwrap();
        assert!(read == sent);
    }

    #[tokio::test]
    async fn nothing_waits_where_nothing_else_can_come() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut stream, gatherer) = gather(near);
        let turns = Turns::default();
        stream.write_all(b"first").await.unwrap();
        stream.flush().await.unwrap();
        leave(&gatherer, true, &turns).await;
        let mut read = [0; 5];
        let early = tokio::time::timeout(Duration::from_millis(20), far.read_exact(&mut read));
        assert!(early.await.is_err(), "it waits for the end of the round");
        leave(&gatherer, false, &turns).await;
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"first");
    }
}
