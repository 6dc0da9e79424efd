//! When the token fails and when it is back: strikes, tries, and how many sessions there shall be.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::super::mode::{Mode, STRIKES, TokenState};
use super::{Job, Queue};
use crate::error::{ErrorClass, HsmError};
use crate::sync::{Arc, wait_timeout};

impl Queue {
    /// The thread has a fresh session, which this interrupts.
    pub(in crate::sessions) fn opened(&self, seat: usize, interrupt: Option<Arc<UnixStream>>) {
        self.counters.opened();
        self.lock().seats.opened(seat, interrupt);
    }

    /// No session could be opened. A token that has no more of them to give is driven with those it gave;
    /// anything else is an outage.
    pub(in crate::sessions) fn open_failed(&self, error: &HsmError) {
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
    pub(in crate::sessions) fn strike(&self, error: &HsmError, decisive: bool) {
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

    /// The outcome of a try to bring the token back.
    pub(in crate::sessions) fn tried(
        &self,
        outcome: Result<(), HsmError>,
        longest: Duration,
        jitter: u8,
    ) {
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
    pub(in crate::sessions) fn settled(&self, limit: Duration) -> Result<(), HsmError> {
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

    /// Changes how many session threads there are; the keeper starts those that are missing.
    pub(in crate::sessions) fn resize(&self, wanted: usize) {
        let mut state = self.lock();
        state.wanted = wanted;
        state.seats.ring_all();
        drop(state);
        self.keeper.notify_all();
    }

    pub(in crate::sessions) fn away(&self, mode: &Mode) -> HsmError {
        let cause = mode.cause().map(ToString::to_string);
        HsmError::Away {
            token: self.bounds.name.clone(),
            cause: cause.unwrap_or_default(),
        }
    }
}
