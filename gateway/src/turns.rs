//! Turns for heavy work on one thread, so that what is light does not stand behind a crowd of it; and rounds, for
//! whoever waits until all that is ready has been done.
//!
//! A round ends when the runtime has looked for events again and the tasks they woke have run. Promises: work that comes alone goes at once. Of a crowd two go at a time, or an eighth where it is large, and
//! everything else that is ready goes in between. Whoever gives up leaves no gap.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

/// Work that comes so long after the end of the last is alone.
const ALONE: Duration = Duration::from_micros(100);
/// Of those who wait this share goes in one round: a crowd that grows is served faster.
const SHARE: usize = 8;
/// And so many at least: looking for events after each would cost more than it gains.
const LEAST: usize = 2;

/// The queue of one thread.
pub struct Turns {
    waiting: RefCell<VecDeque<Weak<Waiter>>>,
    keeper: RefCell<Option<Waker>>,
    round: Cell<u64>,
    listeners: RefCell<Vec<Waker>>,
    last: Cell<Option<Instant>>,
    waited: Counter,
}

/// Somebody in the queue.
struct Waiter {
    called: Cell<bool>,
    waker: RefCell<Waker>,
}

/// A turn that has come.
#[must_use = "the turn is over when this is dropped"]
#[derive(Debug)]
pub struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.last.set(Some(Instant::now()));
    }
}

impl Turns {
    /// An empty queue. `waited` counts who had to wait.
    pub fn new(waited: Counter) -> Self {
        Self {
            waiting: RefCell::default(),
            keeper: RefCell::default(),
            round: Cell::new(0),
            listeners: RefCell::default(),
            last: Cell::new(None),
            waited,
        }
    }

    /// Waits for a turn, which lasts until the returned value is dropped.
    pub async fn turn(&self) -> Turn<'_> {
        let alone = self.last.get().is_none_or(|last| last.elapsed() >= ALONE);
        if alone && self.waiting.borrow().is_empty() {
            return Turn(self);
        }
        self.waited.inc();
        let mut place: Option<Rc<Waiter>> = None;
        poll_fn(|cx| {
            match &place {
                Some(waiter) if waiter.called.get() => return Poll::Ready(()),
                Some(waiter) => waiter.waker.borrow_mut().clone_from(cx.waker()),
                None => {
                    let waiter = Rc::new(Waiter {
                        called: Cell::new(false),
                        waker: RefCell::new(cx.waker().clone()),
                    });
                    self.waiting.borrow_mut().push_back(Rc::downgrade(&waiter));
                    place = Some(waiter);
                    self.wake_keeper();
                }
            }
            Poll::Pending
        })
        .await;
        Turn(self)
    }

    /// Waits for a turn where the work is heavy.
    pub async fn turn_if(&self, heavy: bool) -> Option<Turn<'_>> {
        match heavy {
            true => Some(self.turn().await),
            false => None,
        }
    }

    /// Counts the rounds that somebody waited for.
    pub fn round(&self) -> u64 {
        self.round.get()
    }

    /// Wakes a task when this round is over. Each task has one place at most: it asks again when it was woken.
    pub fn wake_after_round(&self, waker: &Waker) {
        self.listeners.borrow_mut().push(waker.clone());
        self.wake_keeper();
    }

    fn wake_keeper(&self) {
        if let Some(keeper) = self.keeper.borrow_mut().take() {
            keeper.wake();
        }
    }

    /// Calls those who wait, for ever. One task of the thread runs this; without it nobody who waits is called.
    pub async fn keep(&self) {
        loop {
            poll_fn(|cx| {
                if self.waiting.borrow().is_empty() && self.listeners.borrow().is_empty() {
                    *self.keeper.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            // The runtime takes this up again when it has looked for events, behind the tasks they woke.
            tokio::task::yield_now().await;
            self.round.set(self.round.get().wrapping_add(1));
            let listeners = std::mem::take(&mut *self.listeners.borrow_mut());
            listeners.into_iter().for_each(Waker::wake);
            let mut left = (self.waiting.borrow().len() / SHARE).max(LEAST);
            while left > 0 {
                let Some(next) = self.waiting.borrow_mut().pop_front() else {
                    break;
                };
                let Some(waiter) = next.upgrade() else {
                    continue;
                };
                waiter.called.set(true);
                waiter.waker.borrow().wake_by_ref();
                left -= 1;
            }
        }
    }
}

impl Default for Turns {
    /// An empty queue whose waits nobody counts.
    fn default() -> Self {
        Self::new(Counter::default())
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("waiting", &self.waiting.borrow().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::spawn_local;

    use super::*;

    /// What happened, in order.
    type Log = Rc<RefCell<Vec<&'static str>>>;

    fn on_a_worker<T>(test: impl Future<Output = T>) -> T {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default());
        runtime.unwrap().block_on(test)
    }

    fn kept() -> Rc<Turns> {
        let turns = Rc::new(Turns::default());
        let keeper = Rc::clone(&turns);
        spawn_local(async move { keeper.keep().await });
        turns
    }

    /// Heavy work of half a millisecond.
    async fn heavy(turns: Rc<Turns>, log: Log) {
        let _turn = turns.turn().await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(500) {
            std::hint::spin_loop();
        }
        log.borrow_mut().push("heavy");
    }

    #[test]
    fn light_work_that_comes_later_does_not_stand_behind_the_crowd() {
        on_a_worker(async {
            let (turns, log) = (kept(), Log::default());
            let crowd: Vec<_> = (0..8)
                .map(|_| spawn_local(heavy(Rc::clone(&turns), Rc::clone(&log))))
                .collect();
            tokio::task::yield_now().await;
            let light = Rc::clone(&log);
            spawn_local(async move { light.borrow_mut().push("light") });
            for work in crowd {
                work.await.unwrap();
            }
            let log = log.borrow();
            assert_eq!(log.len(), 9);
            assert!(log[..5].contains(&"light"), "{log:?}");
            assert_eq!(turns.waited.get(), 7);
        });
    }

    #[test]
    fn who_gives_up_leaves_no_gap() {
        on_a_worker(async {
            let (turns, log) = (kept(), Log::default());
            drop(turns.turn().await);
            let gone = spawn_local(heavy(Rc::clone(&turns), Rc::clone(&log)));
            let stays = spawn_local(heavy(Rc::clone(&turns), Rc::clone(&log)));
            gone.abort();
            stays.await.unwrap();
            assert_eq!(log.borrow().len(), 1);
            assert!(turns.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn who_comes_alone_goes_at_once() {
        on_a_worker(async {
            // Nobody keeps this one: a wait would last for ever.
            let turns = Turns::default();
            drop(turns.turn().await);
            tokio::time::sleep(ALONE * 2).await;
            drop(turns.turn().await);
            assert_eq!(turns.waited.get(), 0);
        });
    }
}
