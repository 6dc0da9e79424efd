//! How long to wait for the next sign of life, without a timer per wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A limit on the time between two signs of progress. The timer is made when the first wait happens and moved
/// only when it fires: progress costs a clock reading, not a timer operation.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Starts to wait now.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            last: Instant::now(),
            timer: None,
        }
    }

    /// When something moved last, or when the wait began.
    pub fn since(&self) -> Instant {
        self.last
    }

    /// Something moved.
    pub fn progress(&mut self) {
        self.last = Instant::now();
    }

    /// Ready when nothing has moved for the limit. Call it where the awaited thing is pending.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.last + self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            match timer.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if Instant::now() >= due => return Poll::Ready(()),
                Poll::Ready(()) => timer.as_mut().reset(due),
            }
        }
    }
}

/// The waits for one peer: each has the whole limit, however long nobody asked between them.
#[derive(Debug)]
pub struct Wait {
    patience: Patience,
    waiting: bool,
}

impl Wait {
    /// A wait that has not begun.
    pub fn new(limit: Duration) -> Self {
        Self {
            patience: Patience::new(limit),
            waiting: false,
        }
    }

    /// What was awaited came.
    pub fn over(&mut self) {
        self.waiting = false;
    }

    /// Ready when the limit has passed since the first call after [`over`](Self::over). Time in which nobody
    /// asked does not count: it was somebody else who was slow.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            self.patience.progress();
        }
        self.patience.poll_expired(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_moves_the_end() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(10));
        let early = tokio::time::timeout(
            Duration::from_secs(6),
            poll_fn(|cx| patience.poll_expired(cx)),
        )
        .await;
        assert!(early.is_err());
        patience.progress();
        poll_fn(|cx| patience.poll_expired(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 16);
    }
}
