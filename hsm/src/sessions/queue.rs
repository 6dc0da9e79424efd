//! Work that waits for a session, work in flight, and the deadline of both.
//!
//! All work of a token has the same time to live, so the queue is in the order of deadlines. That makes
//! the deadline thread cheap: it sleeps to the earliest deadline it knows, and at most one time to live
//! when it knows none, for work that comes later is due later. Nobody ever has to wake it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::session::Session;

use super::ticket::{Answer, Pending, Ticket};
use super::{SignRequest, lock};
use crate::error::HsmError;
use crate::stats::{Counters, TokenStats};
use crate::token::TokenSettings;

/// How long dropping a token waits for its idle threads. They need microseconds.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What a session thread is asked to do.
pub(super) enum Work {
    Sign(SignRequest),
    Task(Task),
}

/// Anything else that needs a session: finding and reading objects.
pub(super) type Task = Box<dyn FnOnce(&Session) -> Result<(), HsmError> + Send>;

/// Work and who waits for it.
pub(super) struct Job {
    pub(super) work: Work,
    receipt: Receipt,
}

/// What remains of a job while it is done: who waits, since when, until when.
#[derive(Clone)]
pub(super) struct Receipt {
    ticket: Arc<Ticket>,
    queued: Instant,
    due: Instant,
}

/// The queue of one token.
pub(super) struct Queue {
    name: String,
    time_to_live: Duration,
    capacity: usize,
    state: Mutex<State>,
    work: Condvar,
    closing: Condvar,
    gone: Condvar,
    counters: Counters,
}

struct State {
    waiting: VecDeque<Job>,
    seats: Vec<Seat>,
    open: bool,
}

/// What a session thread does.
enum Seat {
    /// Waits for work.
    Idle,
    /// Is inside a call of the module, for a job.
    Busy(Receipt),
    /// Has no session; it is replacing it.
    Replacing,
    /// Has ended.
    Gone,
}

impl Queue {
    pub(super) fn new(settings: &TokenSettings) -> Self {
        Queue {
            name: settings.name.clone(),
            time_to_live: settings.deadline,
            capacity: settings.queue.get(),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                seats: Vec::new(),
                open: true,
            }),
            work: Condvar::new(),
            closing: Condvar::new(),
            gone: Condvar::new(),
            counters: Counters::default(),
        }
    }

    /// One more session thread is about to start; seats are numbered in this order.
    pub(super) fn seat_taken(&self) {
        lock(&self.state).seats.push(Seat::Idle);
    }

    pub(super) fn submit(&self, work: Work) -> Result<Pending, HsmError> {
        let (ticket, pending) = Ticket::issue();
        let queued = Instant::now();
        let due = queued + self.time_to_live;
        let mut state = lock(&self.state);
        if !state.open {
            return Err(HsmError::Closed {
                token: self.name.clone(),
            });
        }
        if state.waiting.len() >= self.capacity {
            // Clients that gave up must not keep others out.
            state.waiting.retain(|job| job.receipt.ticket.is_wanted());
        }
        if state.waiting.len() >= self.capacity {
            self.counters.rejected();
            return Err(HsmError::QueueFull {
                token: self.name.clone(),
            });
        }
        state.waiting.push_back(Job {
            work,
            receipt: Receipt {
                ticket,
                queued,
                due,
            },
        });
        drop(state);
        self.work.notify_one();
        Ok(pending)
    }

    /// The next job for a session thread; blocks until there is one. `None`: the thread ends.
    pub(super) fn next(&self, seat: usize) -> Option<(Work, Receipt)> {
        let mut state = lock(&self.state);
        state.seats[seat] = Seat::Idle;
        while state.open {
            let Some(job) = state.waiting.pop_front() else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // Overdue jobs are answered by the deadline thread in its own time; they only must not begin.
            if !job.receipt.ticket.is_wanted() {
                continue;
            }
            if job.receipt.due <= Instant::now() {
                drop(state);
                self.expire(&job.receipt);
                state = lock(&self.state);
                continue;
            }
            state.seats[seat] = Seat::Busy(job.receipt.clone());
            return Some((job.work, job.receipt));
        }
        None
    }

    /// Hands a signature, or why there is none, to whoever waits.
    pub(super) fn finish_signature(&self, receipt: &Receipt, answer: Answer) {
        match &answer {
            Ok(_) => self.counters.signed(receipt.queued.elapsed()),
            Err(_) => self.counters.failed(),
        }
        receipt.ticket.answer(answer);
    }

    /// Tells whoever waits for a task that it ended. Tasks are not signatures and are not counted.
    pub(super) fn finish_task(&self, receipt: &Receipt, answer: Result<(), HsmError>) {
        receipt.ticket.answer(answer.map(|()| Vec::new()));
    }

    /// Blocks a thread without a session for `pause`, or until the queue is closed. Tells if it is open.
    pub(super) fn pause(&self, seat: usize, pause: Duration) -> bool {
        let mut state = lock(&self.state);
        state.seats[seat] = Seat::Replacing;
        let wait = self
            .closing
            .wait_timeout_while(state, pause, |state| state.open);
        let (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        state.open
    }

    /// A session thread has ended and its session is closed.
    pub(super) fn leave(&self, seat: usize) {
        lock(&self.state).seats[seat] = Seat::Gone;
        self.gone.notify_all();
    }

    /// The deadline thread: answers what is overdue, until the queue is closed.
    pub(super) fn enforce_deadlines(&self) {
        let mut state = lock(&self.state);
        while state.open {
            let now = Instant::now();
            let overdue = state.take_overdue(now);
            if !overdue.is_empty() {
                drop(state);
                overdue.iter().for_each(|receipt| self.expire(receipt));
                state = lock(&self.state);
                continue;
            }
            let next = state.earliest_due().unwrap_or(now + self.time_to_live);
            let pause = next.saturating_duration_since(now);
            let wait = self.closing.wait_timeout(state, pause);
            (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        let mut orphans: Vec<Receipt> = state.waiting.drain(..).map(|job| job.receipt).collect();
        orphans.extend(state.busy().cloned());
        drop(state);
        self.work.notify_all();
        self.closing.notify_all();
        for receipt in orphans {
            receipt.ticket.answer(Err(HsmError::Closed {
                token: self.name.clone(),
            }));
        }
        let idle = |state: &mut State| state.seats.iter().any(|seat| matches!(seat, Seat::Idle));
        let wait = self
            .gone
            .wait_timeout_while(lock(&self.state), CLOSE_WAIT, idle);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn stats(&self) -> TokenStats {
        let counts = self.counters.read();
        let state = lock(&self.state);
        let open = |seat: &&Seat| matches!(seat, Seat::Idle | Seat::Busy(_));
        TokenStats {
            waiting: state.waiting.len(),
            in_flight: state.busy().count(),
            sessions: state.seats.iter().filter(open).count(),
            ..counts
        }
    }

    fn expire(&self, receipt: &Receipt) {
        if receipt.ticket.answer(Err(HsmError::Deadline {
            token: self.name.clone(),
        })) {
            self.counters.timed_out();
        }
    }
}

impl State {
    fn busy(&self) -> impl Iterator<Item = &Receipt> {
        self.seats.iter().filter_map(|seat| match seat {
            Seat::Busy(receipt) => Some(receipt),
            _ => None,
        })
    }

    fn take_overdue(&mut self, now: Instant) -> Vec<Receipt> {
        let mut overdue: Vec<Receipt> = self
            .busy()
            .filter(|receipt| receipt.due <= now && receipt.ticket.is_wanted())
            .cloned()
            .collect();
        let late = self
            .waiting
            .iter()
            .take_while(|job| job.receipt.due <= now)
            .count();
        overdue.extend(self.waiting.drain(..late).map(|job| job.receipt));
        overdue
    }

    /// The earliest deadline that somebody still waits for.
    fn earliest_due(&self) -> Option<Instant> {
        let busy = self
            .busy()
            .filter(|receipt| receipt.ticket.is_wanted())
            .map(|receipt| receipt.due);
        busy.chain(self.waiting.front().map(|job| job.receipt.due))
            .min()
    }
}
