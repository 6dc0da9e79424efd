//! One thread that wakes whoever waits for a moment: for hedging, which no runtime is there for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Resolves at a moment, or never if the system refuses the timer's thread.
pub(crate) struct Sleep {
    until: Instant,
    /// Where it waits, once it was polled.
    entry: Option<u64>,
}

/// Who waits, by moment; the number tells those of one moment apart.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    wakers: BTreeMap::new(),
    next: 0,
});
static EARLIER: Condvar = Condvar::new();
static THREAD: Once = Once::new();

struct Waiting {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

impl Sleep {
    pub(crate) fn until(until: Instant) -> Self {
        Sleep { until, entry: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        THREAD.call_once(|| {
            let named = thread::Builder::new().name("hsm-timer".to_owned());
            // Without the thread nobody is hedged; signatures are made all the same.
            drop(named.spawn(run));
        });
        let mut waiting = lock();
        let entry = *self.entry.get_or_insert_with(|| {
            waiting.next += 1;
            waiting.next
        });
        let key = (self.until, entry);
        let first = waiting
            .wakers
            .first_key_value()
            .is_none_or(|(first, _)| key < *first);
        waiting.wakers.insert(key, cx.waker().clone());
        drop(waiting);
        if first {
            EARLIER.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            lock().wakers.remove(&(self.until, entry));
        }
    }
}

fn run() {
    let mut waiting = lock();
    loop {
        let now = Instant::now();
        let next = waiting
            .wakers
            .first_key_value()
            .map(|((until, _), _)| *until);
        if next.is_some_and(|until| until <= now) {
            let due = waiting.wakers.pop_first();
            drop(waiting);
            due.into_iter().for_each(|(_, waker)| waker.wake());
            waiting = lock();
            continue;
        }
        let pause = next.map_or(Duration::MAX, |until| until - now);
        // A day is as good as for ever, and no clock overflows.
        let pause = pause.min(Duration::from_secs(86_400));
        let waited = EARLIER.wait_timeout(waiting, pause);
        waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn lock() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Sleep;
    use crate::step;

    #[test]
    fn a_sleep_ends_not_before_its_moment() {
        let begun = Instant::now();
        let far = Sleep::until(begun + Duration::from_secs(3600));
        step::wait(Sleep::until(begun + Duration::from_millis(20)));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        drop(far);
    }
}
