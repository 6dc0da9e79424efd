//! Work that waits for a session, work in flight, and the deadline of both.
//!
//! The queue is in the order of deadlines. The keeper, which enforces them, sleeps to the earliest moment it
//! knows of and no longer than the shortest time after which something that comes later could be due; so
//! nobody who submits work ever has to wake it.

mod close;
mod load;
mod outage;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::mode::{Mode, TokenState};
use super::seats::{Seat, Seats};
use super::ticket::{Answer, Pending, Ticket};
use crate::error::HsmError;
use crate::link::{Request, Session};
use crate::stats::Counters;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait, wait_timeout};

/// What a session thread is asked to do.
pub(super) enum Work {
    Make(Request),
    Task(Task),
}

/// Anything else that needs a session: finding and reading objects. It is not done twice.
pub(super) type Task = Box<dyn FnOnce(&mut Session) -> Result<(), HsmError> + Send>;

/// Work and who waits for it.
struct Job {
    work: Work,
    receipt: Receipt,
}

/// What remains of a job while it is done: who waits, since when, until when.
#[derive(Clone)]
pub(super) struct Receipt {
    ticket: Arc<Ticket>,
    queued: Instant,
    due: Instant,
}

/// What a session thread does next.
pub(super) enum Next {
    /// Open a session.
    Open,
    /// Close the session, for the token is being given up.
    Close,
    /// Do this; it began at the moment told.
    Work(Work, Receipt, Instant),
    /// End.
    End,
}

/// Bounds of a queue.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) name: String,
    pub(super) time_to_live: Duration,
    pub(super) hang_timeout: Duration,
    pub(super) max_hung: usize,
    /// `None`: what the token can sign within a deadline.
    pub(super) capacity: Option<usize>,
}

/// The queue of one token.
pub(super) struct Queue {
    pub(super) bounds: Bounds,
    state: Mutex<State>,
    /// The keeper waits for the next moment.
    keeper: Condvar,
    /// Whoever waits for the first outcome, or for threads to leave.
    changed: Condvar,
    pub(super) counters: Counters,
}

pub(super) struct State {
    waiting: VecDeque<Job>,
    pub(super) seats: Seats,
    /// Threads that wait for work with a session, the one that worked last at the end. It is woken first: its
    /// caches and those of its session are warm, and a token that is not busy keeps one core busy, not many.
    idle: Vec<usize>,
    /// Session threads wanted.
    pub(super) wanted: usize,
    pub(super) mode: Mode,
    pub(super) open: bool,
}

impl Receipt {
    pub(super) fn is_wanted(&self) -> bool {
        self.ticket.is_wanted() && Instant::now() < self.due
    }

    /// Whether the answer was given, or is not wanted any more, in time: what was ended by its deadline may hang.
    pub(super) fn is_done(&self) -> bool {
        !self.ticket.is_wanted() && Instant::now() < self.due
    }
}

impl Queue {
    pub(super) fn new(bounds: Bounds, wanted: usize) -> Self {
        Queue {
            bounds,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                seats: Seats::default(),
                idle: Vec::new(),
                wanted,
                mode: Mode::new(Instant::now()),
                open: true,
            }),
            keeper: Condvar::new(),
            changed: Condvar::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Queues work that is due at `due`, or a time to live from now. Fails at once when the queue is full or
    /// the token away.
    pub(super) fn submit(&self, work: Work, due: Option<Instant>) -> Result<Pending, HsmError> {
        let queued = Instant::now();
        let due = due.unwrap_or(queued + self.bounds.time_to_live);
        let mut state = self.lock();
        self.take(&mut state)?;
        let (ticket, pending) = Ticket::issue();
        let receipt = Receipt {
            ticket,
            queued,
            due,
        };
        // All work of a token has the same time to live; what is asked again has less left.
        let earlier = state.waiting.iter().rev();
        let later = earlier.take_while(|job| job.receipt.due > due).count();
        let at = state.waiting.len() - later;
        state.waiting.insert(at, Job { work, receipt });
        let wake = state.next_idle();
        drop(state);
        if let Some(bell) = wake {
            bell.notify_one();
        }
        Ok(pending)
    }

    /// What a session thread does next; blocks until there is something.
    pub(super) fn next(&self, seat: usize, has_session: bool) -> Next {
        let mut state = self.lock();
        loop {
            state.idle.retain(|idle| *idle != seat);
            if !state.open || state.seats.live() > state.wanted {
                state.seats.set(seat, Seat::Ending(Instant::now()));
                // It may have been woken for work, which another does now.
                if !state.waiting.is_empty()
                    && let Some(bell) = state.next_idle()
                {
                    bell.notify_one();
                }
                return Next::End;
            }
            let up = state.mode.state() == TokenState::Up;
            if up != has_session {
                let between = Seat::Between(Instant::now());
                if !up && !has_session {
                    // Rests below.
                } else if !state.seats.set(seat, between) {
                    return Next::End;
                } else {
                    return if up { Next::Open } else { Next::Close };
                }
            }
            if has_session && let Some(job) = self.pop(&mut state) {
                let began = Instant::now();
                if !state
                    .seats
                    .set(seat, Seat::Busy(job.receipt.clone(), began))
                {
                    state.waiting.push_front(job);
                    return Next::End;
                }
                return Next::Work(job.work, job.receipt, began);
            }
            let rest = if has_session {
                Seat::Idle
            } else {
                Seat::Resting
            };
            if !state.seats.set(seat, rest) {
                return Next::End;
            }
            if has_session {
                state.idle.push(seat);
            }
            let bell = state.seats.bell(seat);
            state = wait(&bell, state);
        }
    }

    /// The next job that is still wanted and not overdue; those that are not are dropped.
    fn pop(&self, state: &mut State) -> Option<Job> {
        while let Some(job) = state.waiting.pop_front() {
            if !job.receipt.ticket.is_wanted() {
                continue;
            }
            if job.receipt.due <= Instant::now() {
                self.expire(&job.receipt);
                continue;
            }
            return Some(job);
        }
        None
    }

    /// Hands a signature, or why there is none, to whoever waits.
    pub(super) fn finish_signature(&self, receipt: &Receipt, began: Instant, answer: Answer) {
        match &answer {
            Ok(_) => {
                let now = Instant::now();
                self.counters.signed(now - receipt.queued, now - began);
            }
            Err(_) => self.counters.failed(),
        }
        receipt.ticket.answer(answer);
    }

    /// Tells whoever waits for a task that it ended. Tasks are not signatures and are not counted.
    pub(super) fn finish_task(&self, receipt: &Receipt, answer: Result<(), HsmError>) {
        receipt.ticket.answer(answer.map(|()| Vec::new()));
    }

    /// Hands what was derived to whoever waits. It is not counted as a signature: how long it took says nothing
    /// of the rate of the token.
    pub(super) fn finish_derivation(&self, receipt: &Receipt, answer: Answer) {
        if answer.is_ok() {
            self.counters.forgive();
        }
        receipt.ticket.answer(answer);
    }

    /// Sleeps until `until`, or until something happened that the keeper must see.
    pub(super) fn sleep<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        until: Instant,
    ) -> MutexGuard<'a, State> {
        let pause = until.saturating_duration_since(Instant::now());
        wait_timeout(&self.keeper, state, pause)
    }

    pub(super) fn expire(&self, receipt: &Receipt) {
        if receipt.ticket.answer(Err(HsmError::Deadline {
            token: self.bounds.name.clone(),
        })) {
            self.counters.timed_out();
        }
    }

    /// A call hung and was given up; whoever waits may ask elsewhere.
    pub(super) fn give_up(&self, receipt: &Receipt) {
        receipt.ticket.answer(Err(HsmError::Hung {
            token: self.bounds.name.clone(),
        }));
    }
}

impl State {
    /// What wakes the thread that is to do the next work, if one has none.
    fn next_idle(&mut self) -> Option<Arc<Condvar>> {
        let seat = self.idle.pop()?;
        Some(self.seats.bell(seat))
    }

    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Receipt> {
        let busy = self.seats.busy();
        let late = busy.filter(|receipt| receipt.due <= now && receipt.ticket.is_wanted());
        let mut overdue: Vec<Receipt> = late.cloned().collect();
        let late = self.waiting.iter();
        let late = late.take_while(|job| job.receipt.due <= now).count();
        overdue.extend(self.waiting.drain(..late).map(|job| job.receipt));
        overdue
    }

    /// The earliest deadline that somebody still waits for.
    pub(super) fn earliest_due(&self) -> Option<Instant> {
        let busy = self.seats.busy();
        let wanted = busy.filter(|receipt| receipt.ticket.is_wanted());
        let first = self.waiting.front().map(|job| job.receipt.due);
        wanted.map(|receipt| receipt.due).chain(first).min()
    }
}
