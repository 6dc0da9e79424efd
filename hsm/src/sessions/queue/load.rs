//! How much the token has to do, how much it can, and whether more is taken.

use super::{Queue, State};
use crate::error::HsmError;
use crate::stats::TokenStats;

/// Signatures that may wait before the token's rate is known.
const QUEUE_UNMEASURED: usize = 1024;

impl Queue {
    /// Whether work that comes now is taken; a refusal is counted as one of [`Queue::submit`].
    pub(in crate::sessions) fn admit(&self) -> Result<(), HsmError> {
        let mut state = self.lock();
        self.take(&mut state)
    }

    pub(super) fn take(&self, state: &mut State) -> Result<(), HsmError> {
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

    pub(in crate::sessions) fn stats(&self) -> TokenStats {
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
    pub(in crate::sessions) fn outstanding(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.seats.busy().count()
    }

    /// Signatures that may wait: as many as the token makes within a deadline, if nobody said otherwise.
    pub(super) fn capacity(&self, state: &State) -> usize {
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
    pub(super) fn rate(&self, state: &State) -> u64 {
        match self.counters.service().as_secs_f64() {
            0.0 => 0,
            service => (state.wanted as f64 / service) as u64,
        }
    }
}
