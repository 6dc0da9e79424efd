//! One session thread: takes work, keeps its session, and never uses one again that returned an error.

use super::Core;
use super::queue::{Next, Receipt, Work};
use crate::error::{ErrorClass, HsmError};
use crate::link::{Request, Session, spoils_session};
use crate::sync::Arc;

/// Runs until the token is closed, or this thread is one too many or was written off.
pub(super) fn run(core: &Arc<Core>, seat: usize) {
    let mut session = None;
    loop {
        match core.queue.next(seat, session.is_some()) {
            Next::End => break,
            Next::Close => session = None,
            Next::Open => match core.link.open() {
                Ok(opened) => {
                    core.queue.opened(seat, opened.interrupt());
                    session = Some(opened);
                }
                Err(error) => core.queue.open_failed(&error),
            },
            Next::Work(Work::Make(request), receipt, began) => {
                let answer = make(core, seat, &mut session, &request, &receipt);
                match request {
                    Request::Sign(_) => core.queue.finish_signature(&receipt, began, answer),
                    Request::Derive(_) => core.queue.finish_derivation(&receipt, answer),
                }
            }
            Next::Work(Work::Task(task), receipt, _) => {
                let answer = match &mut session {
                    Some(session) => task(session),
                    None => Err(core.queue.away(&core.queue.lock().mode)),
                };
                drop_if_spoilt(core, &mut session, &answer);
                core.queue.finish_task(&receipt, answer);
            }
        }
    }
}

/// Makes what is asked for; where the session turns out to be lost, once more on a fresh one, for nothing was
/// asked of the key.
fn make(
    core: &Core,
    seat: usize,
    session: &mut Option<Session>,
    request: &Request,
    receipt: &Receipt,
) -> Result<Vec<u8>, HsmError> {
    let first = attempt(core, session, request);
    let lost = |error: &HsmError| matches!(error.class(), ErrorClass::Session | ErrorClass::Device);
    match &first {
        Err(error) if lost(error) && receipt.is_wanted() => match core.link.open() {
            Ok(opened) => {
                core.queue.opened(seat, opened.interrupt());
                *session = Some(opened);
                core.queue.counters.retried();
                attempt(core, session, request)
            }
            Err(error) => {
                core.queue.open_failed(&error);
                Err(error)
            }
        },
        _ => first,
    }
}

fn attempt(
    core: &Core,
    session: &mut Option<Session>,
    request: &Request,
) -> Result<Vec<u8>, HsmError> {
    let Some(open) = session else {
        return Err(HsmError::Interface("there is no session".to_owned()));
    };
    let answer = open.make(request);
    drop_if_spoilt(core, session, &answer);
    answer
}

/// Closes a session that returned an error, and counts the failure.
fn drop_if_spoilt<T>(core: &Core, session: &mut Option<Session>, answer: &Result<T, HsmError>) {
    if let Err(error) = answer
        && spoils_session(error)
    {
        *session = None;
        core.queue.strike(error, false);
    }
}
