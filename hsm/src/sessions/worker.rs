//! One session thread: takes work, keeps its session and object handles, replaces both after an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::queue::{Queue, Work};
use super::{SignRequest, Source};
use crate::error::HsmError;

/// A thread replaces its session no more often than this, for logins and sessions cost a real HSM more
/// than signatures; it doubles while none can be opened.
const REPLACE_EVERY: Duration = Duration::from_millis(100);

/// The longest pause between two tries to open a session.
const REPLACE_AT_LEAST_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Worker {
    queue: Arc<Queue>,
    seat: usize,
    source: Source,
    session: Session,
    /// By [`crate::key::object::KeyObject::number`]. Finding a key for each signature costs five times
    /// the signature.
    handles: HashMap<u64, ObjectHandle>,
    replaced: Option<Instant>,
}

impl Worker {
    pub(super) fn new(queue: Arc<Queue>, seat: usize, source: Source, session: Session) -> Self {
        Worker {
            queue,
            seat,
            source,
            session,
            handles: HashMap::new(),
            replaced: None,
        }
    }

    pub(super) fn run(self) {
        let (queue, seat) = (Arc::clone(&self.queue), self.seat);
        self.work();
        queue.leave(seat);
    }

    /// Ends, and closes its session, when the queue is closed.
    fn work(mut self) {
        while let Some((work, receipt)) = self.queue.next(self.seat) {
            let failure = match work {
                Work::Sign(request) => {
                    let answer = self.sign(&request);
                    let failure = answer.as_ref().err().is_some_and(is_of_session);
                    self.queue.finish_signature(&receipt, answer);
                    failure
                }
                Work::Task(task) => {
                    let answer = task(&self.session);
                    let failure = answer.as_ref().err().is_some_and(is_of_session);
                    self.queue.finish_task(&receipt, answer);
                    failure
                }
            };
            if failure {
                match self.replace_session() {
                    Some(fresh) => self = fresh,
                    None => return,
                }
            }
        }
    }

    /// `C_SignInit` and `C_Sign` with a handle that is searched for once per session.
    fn sign(&mut self, request: &SignRequest) -> Result<Vec<u8>, HsmError> {
        let key = &request.key;
        let handle = match self.handles.get(&key.number()) {
            Some(handle) => *handle,
            None => {
                let handle = key.find(&self.session)?;
                self.handles.insert(key.number(), handle);
                handle
            }
        };
        let mechanism = request.mechanism.to_cryptoki();
        Ok(self.session.sign(&mechanism, handle, &request.data)?)
    }

    /// Closes the session and opens another; `None` when the queue is closed meanwhile.
    fn replace_session(self) -> Option<Worker> {
        let Worker {
            queue,
            seat,
            source,
            session,
            replaced,
            ..
        } = self;
        let mut pause = replaced.map_or(Duration::ZERO, |last| {
            REPLACE_EVERY.saturating_sub(last.elapsed())
        });
        // The seat is marked before `C_CloseSession`, which may hang as well.
        queue.pause(seat, Duration::ZERO);
        drop(session);
        let mut backoff = REPLACE_EVERY;
        while queue.pause(seat, pause) {
            if let Ok(session) = source.open() {
                let mut fresh = Worker::new(queue, seat, source, session);
                fresh.replaced = Some(Instant::now());
                return Some(fresh);
            }
            pause = backoff;
            backoff = (backoff * 2).min(REPLACE_AT_LEAST_EVERY);
        }
        None
    }
}

/// Errors after which a session is not to be trusted: those of a PKCS#11 call.
fn is_of_session(error: &HsmError) -> bool {
    matches!(error, HsmError::Call { .. } | HsmError::Interface(_))
}
