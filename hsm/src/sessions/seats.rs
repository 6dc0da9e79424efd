//! What each session thread does, since when, and which of them hang.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::queue::Receipt;
use crate::sync::{Arc, Condvar};

/// What a session thread does. The thread writes it down before each call that may block.
pub(super) enum Seat {
    /// There is no thread.
    Vacant,
    /// It has a session and waits for work.
    Idle,
    /// It has no session and waits for the token.
    Resting,
    /// It opens, replaces or closes its session.
    Between(Instant),
    /// It is one too many, or the token is closed: it closes its session and ends.
    Ending(Instant),
    /// It is inside a call of the module, for a job.
    Busy(Receipt, Instant),
    /// A call of it hung and it was given up. It ends when the call returns.
    WrittenOff,
}

/// All session threads of a token.
#[derive(Default)]
pub(super) struct Seats {
    seats: Vec<(Seat, Option<Arc<UnixStream>>)>,
    /// What each thread waits on, by seat.
    bells: Vec<Arc<Condvar>>,
    /// Written off since the last restart and ended by force: their calls still hang in the signer.
    abandoned: usize,
}

impl Seats {
    /// A place for one more thread.
    pub(super) fn take(&mut self, now: Instant) -> usize {
        let vacant = self
            .seats
            .iter()
            .position(|(seat, _)| matches!(seat, Seat::Vacant));
        let index = vacant.unwrap_or_else(|| {
            self.seats.push((Seat::Vacant, None));
            self.bells.push(Arc::default());
            self.seats.len() - 1
        });
        self.seats[index] = (Seat::Between(now), None);
        index
    }

    /// What wakes a thread.
    pub(super) fn bell(&self, index: usize) -> Arc<Condvar> {
        Arc::clone(&self.bells[index])
    }

    /// Wakes every thread: the token, or how many there shall be, has changed.
    pub(super) fn ring_all(&self) {
        self.bells.iter().for_each(|bell| bell.notify_all());
    }

    /// Notes what a thread does now. Tells whether it may go on: one that was written off may not.
    pub(super) fn set(&mut self, index: usize, seat: Seat) -> bool {
        if matches!(self.seats[index].0, Seat::WrittenOff) {
            return false;
        }
        self.seats[index].0 = seat;
        true
    }

    /// The thread has a fresh session; what ends the calls on it when they hang.
    pub(super) fn opened(&mut self, index: usize, interrupt: Option<Arc<UnixStream>>) {
        let (seat, ends) = &mut self.seats[index];
        if matches!(seat, Seat::Between(_)) {
            // Counted from now on, not only when it asks for work.
            *seat = Seat::Idle;
        }
        *ends = interrupt;
    }

    /// The thread has ended and its session is closed.
    pub(super) fn leave(&mut self, index: usize) {
        self.seats[index] = (Seat::Vacant, None);
    }

    /// Threads that are of use: not vacant, not at their end, not written off.
    pub(super) fn live(&self) -> usize {
        let gone = |seat: &Seat| matches!(seat, Seat::Vacant | Seat::Ending(_) | Seat::WrittenOff);
        let live = |(seat, _): &&(Seat, _)| !gone(seat);
        self.seats.iter().filter(live).count()
    }

    /// Threads with an open session.
    pub(super) fn open(&self) -> usize {
        let open = |(seat, _): &&(Seat, _)| matches!(seat, Seat::Idle | Seat::Busy(..));
        self.seats.iter().filter(open).count()
    }

    /// Calls that hang.
    pub(super) fn hung(&self) -> usize {
        let hung = |(seat, _): &&(Seat, _)| matches!(seat, Seat::WrittenOff);
        self.seats.iter().filter(hung).count() + self.abandoned
    }

    /// Whether a thread is about to end once the token is closed: it waits, it opens or closes its session, or
    /// its job is done. One that is inside a call may take long.
    pub(super) fn any_leaving(&self) -> bool {
        self.seats.iter().any(|(seat, _)| match seat {
            Seat::Vacant | Seat::WrittenOff => false,
            Seat::Idle | Seat::Resting | Seat::Between(_) | Seat::Ending(_) => true,
            Seat::Busy(receipt, _) => receipt.is_done(),
        })
    }

    /// The jobs in flight.
    pub(super) fn busy(&self) -> impl Iterator<Item = &Receipt> {
        self.seats.iter().filter_map(|(seat, _)| match seat {
            Seat::Busy(receipt, _) => Some(receipt),
            _ => None,
        })
    }

    /// Gives up the threads whose call began before `since`. The jobs they had.
    pub(super) fn write_off(&mut self, since: Instant) -> Vec<Option<Receipt>> {
        let mut lost = Vec::new();
        for (seat, interrupt) in &mut self.seats {
            let receipt = match seat {
                Seat::Busy(receipt, began) if *began <= since => Some(receipt.clone()),
                Seat::Between(began) | Seat::Ending(began) if *began <= since => None,
                _ => continue,
            };
            lost.push(receipt);
            *seat = Seat::WrittenOff;
            if let Some(stream) = interrupt.take() {
                // The thread ends at once; the call goes on hanging at the other end.
                let _ = stream.shutdown(std::net::Shutdown::Both);
                self.abandoned += 1;
            }
        }
        lost
    }

    /// When the oldest call in flight will have taken `limit`.
    pub(super) fn next_hang(&self, limit: Duration) -> Option<Instant> {
        let began = self.seats.iter().filter_map(|(seat, _)| match seat {
            Seat::Busy(_, began) | Seat::Between(began) | Seat::Ending(began) => Some(*began),
            _ => None,
        });
        began.min().map(|began| began + limit)
    }

    /// The signer process is a new one: nothing hangs in it.
    pub(super) fn restarted(&mut self) {
        self.abandoned = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Seat, Seats};

    #[test]
    fn closing_waits_for_who_closes_its_session_and_not_for_who_hangs() {
        let mut seats = Seats::default();
        assert!(!seats.any_leaving());
        let (began, seat) = (Instant::now(), seats.take(Instant::now()));
        assert!(seats.any_leaving(), "it opens its session");
        assert!(seats.set(seat, Seat::Idle) && seats.any_leaving());
        assert!(seats.set(seat, Seat::Between(began)) && seats.any_leaving());
        seats.write_off(began + Duration::from_secs(1));
        assert!(!seats.any_leaving(), "it hangs");
        seats.leave(seat);
        assert!(!seats.any_leaving());
    }
}
