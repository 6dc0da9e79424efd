//! Work that waits for a session, work in flight, and the deadline of both.
//!
//! The queue is in the order of deadlines. The keeper, which enforces them, sleeps to the earliest moment it
//! knows of and no longer than the shortest time after which something that comes later could be due; so
//! nobody who submits work ever has to wake it.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::mode::{Mode, STRIKES, TokenState};
use super::seats::{Seat, Seats};
use super::ticket::{Answer, Pending, Ticket};
use crate::error::{ErrorClass, HsmError};
use crate::link::{Session, SignRequest};
use crate::stats::{Counters, TokenStats};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait, wait_timeout};

/// How long dropping a token waits for its threads. They need microseconds; a thread that is inside the module
/// when the process ends can crash there, for the library is taken down around it.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Signatures that may wait before the token's rate is known.
const QUEUE_UNMEASURED: usize = 1024;

/// What a session thread is asked to do.
pub(super) enum Work {
    Sign(SignRequest),
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

    /// Whether work that comes now is taken; a refusal is counted as one of [`Queue::submit`].
    pub(super) fn admit(&self) -> Result<(), HsmError> {
        let mut state = self.lock();
        self.take(&mut state)
    }

    fn take(&self, state: &mut State) -> Result<(), HsmError> {
        if !state.open {
            return Err(self.closed());
        }
        if !state.mode.takes_work() {
            return Err(self.away(&state.mode));
        }
        if state.waiting.len() >= self.capacity(state) {
            // Clients that gave up must not keep others out.
            state.waiting.retain(|job| job.receipt.ticket.is_wanted());
            if state.waiting.len() >= self.capacity(state) {
                self.counters.rejected();
                return Err(HsmError::QueueFull {
                    token: self.bounds.name.clone(),
                });
            }
        }
        Ok(())
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

    /// The thread has a fresh session, which this interrupts.
    pub(super) fn opened(&self, seat: usize, interrupt: Option<Arc<UnixStream>>) {
        self.counters.opened();
        self.lock().seats.opened(seat, interrupt);
    }

    /// No session could be opened. A token that has no more of them to give is driven with those it gave;
    /// anything else is an outage.
    pub(super) fn open_failed(&self, error: &HsmError) {
        let mut state = self.lock();
        let open = state.seats.open();
        if error.class() == ErrorClass::Retry && open > 0 {
            // One less; others that are opening may have been given the last ones.
            let fewer = state.seats.live().saturating_sub(1).max(open);
            state.wanted = state.wanted.min(fewer);
            return;
        }
        drop(state);
        self.strike(error, true);
    }

    /// A call failed. Enough failures in a row, or one that leaves no doubt, make an outage.
    pub(super) fn strike(&self, error: &HsmError, decisive: bool) {
        let class = error.class();
        if !decisive && class == ErrorClass::Configuration {
            return;
        }
        if self.counters.strike() >= STRIKES || decisive {
            let mut state = self.lock();
            if state.mode.failed(Instant::now(), error.clone()) {
                state.seats.ring_all();
                drop(state);
                self.keeper.notify_all();
            }
        }
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

    /// The outcome of a try to bring the token back.
    pub(super) fn tried(&self, outcome: Result<(), HsmError>, longest: Duration, jitter: u8) {
        let mut state = self.lock();
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                self.counters.forgive();
                state.mode.try_succeeded(now);
            }
            Err(error) => state.mode.try_failed(now, error, longest, jitter),
        }
        let refused: Vec<Job> = match state.mode.takes_work() {
            true => Vec::new(),
            false => state.waiting.drain(..).collect(),
        };
        let away = self.away(&state.mode);
        state.seats.ring_all();
        drop(state);
        self.changed.notify_all();
        self.keeper.notify_all();
        for job in refused {
            job.receipt.ticket.answer(Err(away.clone()));
        }
    }

    /// Waits, at most `limit`, until the first try to open the token has ended.
    pub(super) fn settled(&self, limit: Duration) -> Result<(), HsmError> {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while !state.mode.is_settled() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HsmError::Hung {
                    token: self.bounds.name.clone(),
                });
            }
            state = wait_timeout(&self.changed, state, left);
        }
        match state.mode.cause() {
            Some(cause) if state.mode.state() != TokenState::Up => Err(cause.clone()),
            _ => Ok(()),
        }
    }

    /// A session thread has ended and its session is closed.
    pub(super) fn leave(&self, seat: usize) {
        self.lock().seats.leave(seat);
        self.changed.notify_all();
        self.keeper.notify_all();
    }

    /// Changes how many session threads there are; the keeper starts those that are missing.
    pub(super) fn resize(&self, wanted: usize) {
        let mut state = self.lock();
        state.wanted = wanted;
        state.seats.ring_all();
        drop(state);
        self.keeper.notify_all();
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

    /// Takes no more work, and tells every thread to end.
    pub(super) fn shut(&self) {
        let mut state = self.lock();
        state.open = false;
        let unbegun: Vec<Job> = state.waiting.drain(..).collect();
        state.seats.ring_all();
        drop(state);
        self.keeper.notify_all();
        self.changed.notify_all();
        for job in unbegun {
            job.receipt.ticket.answer(Err(self.closed()));
        }
    }

    /// As [`Queue::shut`], and waits, bounded, for the threads.
    pub(super) fn close(&self) {
        self.shut();
        let end = Instant::now() + CLOSE_WAIT;
        let mut state = self.lock();
        while state.seats.any_leaving() && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            state = wait_timeout(&self.changed, state, left);
        }
        let orphans: Vec<Receipt> = state.seats.busy().cloned().collect();
        drop(state);
        for receipt in orphans {
            receipt.ticket.answer(Err(self.closed()));
        }
    }

    pub(super) fn stats(&self) -> TokenStats {
        let counts = self.counters.read();
        let state = self.lock();
        TokenStats {
            waiting: state.waiting.len(),
            in_flight: state.seats.busy().count(),
            sessions: state.seats.open(),
            hung: state.seats.hung(),
            queue_bound: self.capacity(&state),
            capacity_per_second: self.rate(&state),
            ..counts
        }
    }

    /// How many signatures wait or are being made.
    pub(super) fn outstanding(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.seats.busy().count()
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

    /// Signatures that may wait: as many as the token makes within a deadline, if nobody said otherwise.
    fn capacity(&self, state: &State) -> usize {
        if let Some(capacity) = self.bounds.capacity {
            return capacity;
        }
        match self.rate(state) {
            0 => QUEUE_UNMEASURED,
            rate => {
                let within = rate as f64 * self.bounds.time_to_live.as_secs_f64();
                // Never fewer than keep the sessions busy while their callers are woken.
                (within as usize).clamp(2 * state.wanted.max(1), 1 << 20)
            }
        }
    }

    /// Signatures a second, from how long they take; 0 before there was one.
    fn rate(&self, state: &State) -> u64 {
        match self.counters.service().as_secs_f64() {
            0.0 => 0,
            service => (state.wanted as f64 / service) as u64,
        }
    }

    fn closed(&self) -> HsmError {
        HsmError::Closed {
            token: self.bounds.name.clone(),
        }
    }

    pub(super) fn away(&self, mode: &Mode) -> HsmError {
        let cause = mode.cause().map(ToString::to_string);
        HsmError::Away {
            token: self.bounds.name.clone(),
            cause: cause.unwrap_or_default(),
        }
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
