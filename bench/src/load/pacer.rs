//! When units start: each as soon as it can, or at times that were settled before.
//!
//! In an open loop the times do not wait for anybody. A unit that finds every connection busy starts when one is free and
//! still counts from the time it was to start; otherwise a server that stalls would be asked less while it does,
//! and its stall would hide among the quick answers ("coordinated omission").

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, Semaphore};

/// Says when to start, to all the connections of a thread.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Units a second; none is a closed loop.
    per_second: Option<f64>,
    state: Cell<State>,
    began: Notify,
    /// In an open loop: one for each unit that is due and not started.
    due: Semaphore,
    started: Cell<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// The first unit was due then.
    Going(Instant),
    Over,
}

impl Pacer {
    pub(super) fn new(per_second: Option<f64>) -> Self {
        Self {
            per_second,
            state: Cell::new(State::Waiting),
            began: Notify::new(),
            due: Semaphore::new(0),
            started: Cell::new(0),
        }
    }

    /// Lets units start; in an open loop the first one at `first`.
    pub(super) fn begin(self: &Rc<Self>, first: Instant) -> io::Result<()> {
        self.state.set(State::Going(first));
        if let Some(per_second) = self.per_second {
            let timer = Timer::new()?;
            tokio::task::spawn_local(Rc::clone(self).beat(first, per_second, timer));
        }
        self.began.notify_waiters();
        Ok(())
    }

    /// No unit starts any more.
    pub(super) fn end(&self) {
        self.state.set(State::Over);
        self.due.close();
    }

    /// When the next unit counts from, once it may start; none when it is over.
    pub(super) async fn next(&self) -> Option<Instant> {
        while self.state.get() == State::Waiting {
            self.began.notified().await;
        }
        let Some(per_second) = self.per_second else {
            return (self.state.get() != State::Over).then(Instant::now);
        };
        self.due.acquire().await.ok()?.forget();
        let State::Going(first) = self.state.get() else {
            return None;
        };
        let number = self.started.get();
        self.started.set(number + 1);
        Some(due(first, per_second, number))
    }

    /// Units that were due before `end` and did not start, each with the time it was to start.
    /// Must be asked before [`Self::end`].
    pub(super) fn late(&self, end: Instant) -> Vec<Instant> {
        let (Some(per_second), State::Going(first)) = (self.per_second, self.state.get()) else {
            return Vec::new();
        };
        let all = (self.started.get()..).map(|number| due(first, per_second, number));
        all.take_while(|due| *due < end).collect()
    }

    async fn beat(self: Rc<Self>, first: Instant, per_second: f64, timer: Timer) {
        let mut number = 0;
        while self.state.get() != State::Over {
            let due = due(first, per_second, number);
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                self.due.add_permits(1);
                number += 1;
            } else if timer.sleep(wait).await.is_err() {
                return;
            }
        }
    }
}

fn due(first: Instant, per_second: f64, number: u64) -> Instant {
    first + Duration::from_secs_f64(number as f64 / per_second)
}

/// Tokio's own timer ticks in milliseconds, which is longer than most handshakes take.
#[derive(Debug)]
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    #[expect(
        deprecated,
        reason = "unsound where the descriptor is closed meanwhile; this one is ours"
    )]
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(AsyncFd::new(fd)?))
    }

    async fn sleep(&self, wait: Duration) -> io::Result<()> {
        let zero = Timespec::default();
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            },
        };
        rustix::time::timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0; 8];
            let read =
                |fd: &AsyncFd<OwnedFd>| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?);
            if let Ok(outcome) = ready.try_io(read) {
                return outcome.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_one_thread(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn nothing_starts_before_the_begin_or_after_the_end() {
        on_one_thread(async {
            for per_second in [None, Some(1_000.0)] {
                let pacer = Rc::new(Pacer::new(per_second));
                let wait = tokio::time::timeout(Duration::from_millis(20), pacer.next());
                assert!(wait.await.is_err());
                pacer.begin(Instant::now()).unwrap();
                assert!(pacer.next().await.is_some());
                pacer.end();
                assert!(pacer.next().await.is_none());
            }
        });
    }

    #[test]
    fn an_open_loop_does_not_wait_for_those_it_serves() {
        on_one_thread(async {
            let pacer = Rc::new(Pacer::new(Some(1_000.0)));
            let first = Instant::now();
            pacer.begin(first).unwrap();
            assert_eq!(pacer.next().await, Some(first));
            // Busy for 50 units.
            tokio::time::sleep_until((first + Duration::from_millis(50)).into()).await;
            for number in 1..50 {
                let due = pacer.next().await.unwrap();
                assert_eq!(due, first + Duration::from_millis(number));
                assert!(due < Instant::now());
            }
            let late = pacer.late(first + Duration::from_millis(60));
            assert_eq!(late.len(), 10);
        });
    }

    #[test]
    fn starts_are_on_time_to_a_fraction_of_a_millisecond() {
        on_one_thread(async {
            let pacer = Rc::new(Pacer::new(Some(700.0)));
            pacer.begin(Instant::now()).unwrap();
            let mut delays = Vec::new();
            for _ in 0..100 {
                let due = pacer.next().await.unwrap();
                delays.push(due.elapsed());
            }
            delays.sort();
            // The best third, for other tests want the cores too.
            assert!(delays[33] < Duration::from_micros(500), "{:?}", delays[33]);
        });
    }
}
