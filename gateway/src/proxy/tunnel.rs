//! An upgraded connection: bytes both ways until both sides have ended.
//!
//! Promises: what was read beyond the heads goes first; an idle tunnel holds no buffers; the end of one side is
//! passed on while the other goes on, `timeouts.write` longer than its last byte; `timeouts.tunnel` without a byte
//! either way ends it; a tunnel that would not be allowed any more, after a reload or a change of what is trusted, is
//! cut within [`LOOK`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::io::poll_read_buf;

use super::admission::admit;
use super::client::{Client, View};
use super::response::Recorder;
use super::upgrade::Asked;
use super::worker::Worker;
use crate::patience::Patience;
use crate::reason::Reason;
use crate::upstream::{RequestBody, Switched};

/// How often it is looked whether the tunnel is still allowed. Who is revoked is cut after `timeouts.revoked`.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ: usize = 16 * 1024;
/// Reads of one direction before others have their turn.
const READS: usize = 8;

/// Carries bytes between a client and a service that has switched, until the tunnel ends: first what was read of the client
/// already, and what it is sent before anything else.
pub(super) async fn carry<S>(
    mut stream: S,
    (read, write): (BytesMut, BytesMut),
    (mut switched, mut recorder): (Box<Switched>, Recorder),
    client: &Client,
    worker: &Rc<Worker>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Flow::new(read), Flow::new(write));
    let (tunnel, rest) = {
        let timeouts = &worker.snapshot().timeouts;
        (timeouts.tunnel, timeouts.tunnel.min(timeouts.write))
    };
    let (mut patience, mut half) = (Patience::new(tunnel), false);
    let mut look = interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let asked = recorder.take_asked();
    let mut seen: Option<Rc<View>> = None;
    let ended = poll_fn(|cx| {
        let before = up.moved + down.moved;
        let sent = up.poll(&mut stream, &mut switched.tcp, cx)?;
        let received = down.poll(&mut switched.tcp, &mut stream, cx)?;
        if up.moved + down.moved != before {
            patience.progress();
        }
        if sent.is_ready() && received.is_ready() {
            return Poll::Ready(Ok(None));
        }
        while look.poll_tick(cx).is_ready() {
            let view = client.view(worker);
            if !seen.as_ref().is_some_and(|seen| Rc::ptr_eq(&view, seen))
                && let Some(reason) = forbidden(&view, client, asked.as_deref())
            {
                return Poll::Ready(Ok(Some(reason)));
            }
            seen = Some(view);
        }
        if !half && (sent.is_ready() || received.is_ready()) {
            (patience, half) = (Patience::new(rest), true);
        }
        let idle = patience.poll_expired(cx);
        idle.map(|()| Ok::<_, io::Error>((!half).then_some(Reason::TunnelIdle)))
    })
    .await;
    recorder.record().response_bytes = down.moved;
    match ended {
        Ok(None) => recorder.record().complete = true,
        Ok(Some(reason)) => recorder.tell(reason, None),
        Err(_) => {} // One of them is gone; the record says that it was not complete.
    }
}

/// Why the request would be refused now, if it would.
fn forbidden(view: &View, client: &Client, asked: Option<&Asked>) -> Option<Reason> {
    let asked = asked?;
    let request = (&asked.parts, Some(&asked.host));
    match admit(view, client, request, &RequestBody::Empty) {
        // An OCSP answer on its way: the register looks after that.
        Err(stopped) if stopped.pending.is_none() => Some(stopped.reason),
        _ => None,
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
