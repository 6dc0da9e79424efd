//! Bytes both ways between a client and an upstream, until both have ended: upgraded connections, and those that carry
//! no HTTP.
//!
//! Promises: what was read beforehand goes first; an idle tunnel holds no buffers, a busy one at most [`READ`] bytes a
//! direction beyond what was there; the end of one side is passed on while the other goes on; `timeouts.tunnel` without a byte
//! either way ends it; whether it is still allowed is asked every [`LOOK`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::io::poll_read_buf;

use crate::patience::Patience;
use crate::reason::Reason;

/// How often it is looked whether the tunnel is still allowed. Who is revoked is cut after `timeouts.revoked`.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ: usize = 16 * 1024;
/// Reads of one direction before others have their turn.
const READS: usize = 8;

/// Two directions, and how long they may be silent.
pub(super) struct Tunnel {
    up: Flow,
    down: Flow,
    patience: Patience,
    /// How long the second side may be silent when the first has ended, where that is less.
    rest: Option<Duration>,
    half: bool,
    look: Interval,
}

impl Tunnel {
    /// A tunnel with what goes first in each direction, up and down.
    pub(super) fn new((up, down): (BytesMut, BytesMut), idle: Duration) -> Self {
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            up: Flow::new(up),
            down: Flow::new(down),
            patience: Patience::new(idle),
            rest: None,
            half: false,
            look,
        }
    }

    /// When one side has ended, a silence of `rest` is the end of the other, and no failure.
    pub(super) fn with_rest(mut self, rest: Duration) -> Self {
        self.rest = Some(rest);
        self
    }

    /// Bytes that were handed to the upstream, and to the client.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.up.moved, self.down.moved)
    }

    /// Moves what can be moved. Ready when both sides have ended, or with the reason why they have to; `forbidden` tells
    /// of one now and then.
    pub(super) fn poll<C, U>(
        &mut self,
        (client, upstream): (&mut C, &mut U),
        cx: &mut Context<'_>,
        mut forbidden: impl FnMut() -> Option<Reason>,
    ) -> Poll<io::Result<Option<Reason>>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let before = self.moved();
        let sent = self.up.poll(client, upstream, cx)?;
        let received = self.down.poll(upstream, client, cx)?;
        if self.moved() != before {
            self.patience.progress();
        }
        if sent.is_ready() && received.is_ready() {
            return Poll::Ready(Ok(None));
        }
        while self.look.poll_tick(cx).is_ready() {
            if let Some(reason) = forbidden() {
                return Poll::Ready(Ok(Some(reason)));
            }
        }
        if !self.half && (sent.is_ready() || received.is_ready()) {
            self.half = true;
            if let Some(rest) = self.rest {
                self.patience = Patience::new(rest);
            }
        }
        let silent = self.patience.poll_expired(cx);
        let ended = self.half && self.rest.is_some();
        silent.map(|()| Ok((!ended).then_some(Reason::TunnelIdle)))
    }
}

/// One direction.
struct Flow {
    buffer: BytesMut,
    ended: bool,
    shut: bool,
    moved: u64,
}

impl Flow {
    fn new(buffer: BytesMut) -> Self {
        Self {
            buffer,
            ended: false,
            shut: false,
            moved: 0,
        }
    }

    /// Moves what can be moved. Ready when `from` has ended and `to` was told so.
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..READS {
            while !self.buffer.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.buffer.advance(written);
                self.moved += written as u64;
            }
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            self.buffer.reserve(READ);
            match poll_read_buf(Pin::new(&mut *from), cx, &mut self.buffer) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.buffer = BytesMut::new();
                    ready!(Pin::new(to).poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
