//! Small writes of many streams, gathered into few records.
//!
//! hyper flushes after each answer; with many streams on a connection that is a record, a system call and a packet for
//! each. Here frames wait for one round of the worker while other requests of the connection are in progress, and a
//! millisecond at most while the worker is busy. A worker that has nothing else to do waits for nothing.
//!
//! Promises: at most [`ROOM`] bytes wait; what does not fit, and large frames, are written through, and a client that
//! does not read stops the writer as ever.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

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
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
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
            return gathered.poll_through(bufs, cx);
        }
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
    use std::future::poll_fn;

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
