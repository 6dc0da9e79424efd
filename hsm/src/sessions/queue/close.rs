//! The end of a token: no more work, and the threads leave.

use std::time::{Duration, Instant};

use super::{Job, Queue, Receipt};
use crate::error::HsmError;
use crate::sync::wait_timeout;

/// How long dropping a token waits for its threads. They need microseconds; a thread that is inside the module
/// when the process ends can crash there, for the library is taken down around it.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

impl Queue {
    /// A session thread has ended and its session is closed.
    pub(in crate::sessions) fn leave(&self, seat: usize) {
        self.lock().seats.leave(seat);
        self.changed.notify_all();
        self.keeper.notify_all();
    }

    /// Takes no more work, and tells every thread to end.
    pub(in crate::sessions) fn shut(&self) {
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
    pub(in crate::sessions) fn close(&self) {
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

    pub(super) fn closed(&self) -> HsmError {
        HsmError::Closed {
            token: self.bounds.name.clone(),
        }
    }
}
