//! Early data (0-RTT, RFC 8446, section 2.3): what is read before the handshake is complete.
//!
//! Until the client's Finished nobody knows that this client is there now and not somebody who recorded its first
//! flight. Whoever acts on what was read is told: conservatively, so that a request is taken for early also when the
//! handshake was completed while it lay in a buffer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Whether what is read from a stream, and acted upon now, may be a replay.
#[derive(Debug, Clone)]
pub struct EarlyData(Rc<Marks>);

#[derive(Debug)]
struct Marks {
    replayable: Cell<bool>,
    acted_upon: Cell<bool>,
}

impl EarlyData {
    /// Whether the handshake was still open when the last bytes were read.
    pub fn is_replayable(&self) -> bool {
        self.0.replayable.get()
    }

    /// Everything that was read so far was acted upon: what comes after the handshake is not mixed with it.
    pub fn all_acted_upon(&self) {
        self.0.acted_upon.set(true);
    }
}

/// A stream whose handshake is not complete.
#[derive(Debug)]
pub(super) struct Early {
    handle: EarlyData,
    /// By when the handshake must be complete.
    deadline: Pin<Box<Sleep>>,
    complete: bool,
    /// The reader has seen that there is nothing more since then, and with that has acted on all it had.
    drained: bool,
}

impl Early {
    pub(super) fn new(handshake_by: Instant) -> Self {
        Self {
            handle: EarlyData(Rc::new(Marks {
                replayable: Cell::new(true),
                acted_upon: Cell::new(false),
            })),
            deadline: Box::pin(sleep_until(handshake_by)),
            complete: false,
            drained: false,
        }
    }

    pub(super) fn handle(&self) -> EarlyData {
        self.handle.clone()
    }

    /// Fails when the handshake is not complete in time.
    pub(super) fn poll_in_time(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.complete && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Takes note of what came of a look at the socket.
    pub(super) fn filled(&mut self, is_handshaking: bool, is_empty: bool) {
        self.complete = !is_handshaking;
        self.drained = self.complete && is_empty;
    }

    /// Early data is about to be handed out.
    pub(super) fn hands_out(&self) {
        self.handle.0.acted_upon.set(false);
    }

    /// Whether everything that is read from now on came after the handshake. `beyond`: there is data that did.
    pub(super) fn is_over(&self, beyond: bool) -> bool {
        let over = self.drained || (beyond && self.complete && self.handle.0.acted_upon.get());
        if over {
            self.handle.0.replayable.set(false);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_the_handshake_ended_stays_early_until_it_was_acted_upon() {
        let mut early = Early::new(Instant::now() + Duration::from_secs(1));
        let handle = early.handle();
        early.filled(true, false); // A request came with the first flight,
        assert!(!early.is_over(false) && handle.is_replayable());
        early.filled(false, false); // more came together with Finished,
        assert!(!early.is_over(true) && handle.is_replayable());
        early.filled(false, true); // then nothing: now the requests are acted upon,
        assert!(handle.is_replayable());
        assert!(early.is_over(false) && !handle.is_replayable()); // and this is the next read.
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_handshake_is_not_early_where_all_before_was_acted_upon() {
        let mut early = Early::new(Instant::now() + Duration::from_secs(1));
        let handle = early.handle();
        early.hands_out();
        handle.all_acted_upon();
        early.filled(true, false);
        assert!(!early.is_over(true) && handle.is_replayable());
        early.filled(false, false);
        assert!(early.is_over(true) && !handle.is_replayable());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_is_left_open_ends_the_stream() {
        let mut early = Early::new(Instant::now() + Duration::from_secs(1));
        let ended = std::future::poll_fn(|cx| match early.poll_in_time(cx) {
            Poll::Ready(Ok(())) => Poll::Pending,
            ended => ended,
        });
        assert_eq!(ended.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
