//! The hand-over of one answer: written once by a session thread or at the deadline, read once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use zeroize::Zeroize;

use crate::error::HsmError;
use crate::sync::{Arc, Mutex, lock};

/// What a session thread answers: a signature, or nothing for a task.
pub(super) type Answer = Result<Vec<u8>, HsmError>;

/// The place where the answer is put.
pub(super) struct Ticket(Mutex<State>);

enum State {
    /// No answer yet; who is to be woken.
    Waiting(Option<Waker>),
    /// The answer, not read yet.
    Answered(Answer),
    /// The answer was read, or nobody waits for it any more.
    Over,
}

/// The waiting end: resolves to the answer. Dropping it tells the session threads not to begin.
pub(crate) struct Pending(Arc<Ticket>);

impl Ticket {
    pub(super) fn issue() -> (Arc<Ticket>, Pending) {
        let ticket = Arc::new(Ticket(Mutex::new(State::Waiting(None))));
        (Arc::clone(&ticket), Pending(ticket))
    }

    /// Whether somebody still waits for an answer.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(*lock(&self.0), State::Waiting(_))
    }

    /// Gives the answer, unless one was given or nobody waits. Tells whether it was taken.
    pub(super) fn answer(&self, answer: Answer) -> bool {
        let mut state = lock(&self.0);
        let State::Waiting(waker) = &mut *state else {
            wipe(answer);
            return false;
        };
        let waker = waker.take();
        *state = State::Answered(answer);
        drop(state);
        // Outside of the lock: the woken thread takes it at once.
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = lock(&self.0.0);
        match &mut *state {
            State::Waiting(waker) => {
                if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            State::Answered(_) | State::Over => match std::mem::replace(&mut *state, State::Over) {
                State::Answered(answer) => Poll::Ready(answer),
                _ => panic!("a signature was asked for after it was handed out"),
            },
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *lock(&self.0.0), State::Over);
        if let State::Answered(answer) = state {
            wipe(answer);
        }
    }
}

/// What nobody reads may have been derived from a secret.
fn wipe(answer: Answer) {
    if let Ok(mut bytes) = answer {
        bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::Ticket;
    use crate::step;

    #[test]
    fn the_first_answer_counts() {
        let (ticket, pending) = Ticket::issue();
        assert!(ticket.answer(Ok(vec![1])));
        assert!(!ticket.answer(Ok(vec![2])));
        assert_eq!(step::wait(pending).unwrap(), [1]);
    }

    #[test]
    fn a_waiter_that_left_is_known() {
        let (ticket, mut pending) = Ticket::issue();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(
            Future::poll(Pin::new(&mut pending), &mut cx),
            Poll::Pending
        ));
        assert!(ticket.is_wanted());
        drop(pending);
        assert!(!ticket.is_wanted() && !ticket.answer(Ok(Vec::new())));
    }

    #[test]
    fn an_answer_from_another_thread_wakes() {
        let (ticket, pending) = Ticket::issue();
        let thread = std::thread::spawn(move || ticket.answer(Ok(vec![3])));
        assert_eq!(step::wait(pending).unwrap(), [3]);
        assert!(thread.join().unwrap());
    }
}
