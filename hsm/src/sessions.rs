//! The only place that blocks on a token: session threads behind a bounded queue with deadlines.
//!
//! Each thread owns one session and the object handles it has found; work waits in one queue. A waiter
//! gets its answer, or an error at its deadline, whatever the token does: a hung `C_Sign` costs its
//! session thread, not the waiter and not the other threads. A session that returned an error is thrown
//! away and replaced, for modules leave operations behind (`CKR_OPERATION_ACTIVE`).

mod queue;
mod ticket;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::error::HsmError;
use crate::key::object::KeyObject;
use crate::module::Module;
use crate::sign::Mechanism;
use crate::stats::TokenStats;
use crate::step;
use crate::token::TokenSettings;
use queue::{Queue, Work};
pub(crate) use ticket::Pending;

/// Where sessions come from: a slot of a loaded module.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) module: Arc<Module>,
    pub(crate) slot: Slot,
}

/// One signature, as the session thread needs it.
pub(crate) struct SignRequest {
    pub(crate) key: Arc<KeyObject>,
    pub(crate) mechanism: Mechanism,
    pub(crate) data: Vec<u8>,
}

/// The session threads of one token.
pub(crate) struct Pool {
    queue: Arc<Queue>,
}

impl Source {
    /// `C_OpenSession`, read-only, which is enough to find keys and to sign.
    pub(crate) fn open(&self) -> Result<Session, HsmError> {
        Ok(self.module.pkcs11().open_ro_session(self.slot)?)
    }
}

impl Pool {
    /// Opens all sessions on the calling thread, then starts a thread for each. The user is logged in
    /// already: a login counts for all sessions of a token (PKCS#11 section 5.6, `C_Login`).
    pub(crate) fn start(source: &Source, settings: &TokenSettings) -> Result<Pool, HsmError> {
        let sessions: Vec<Session> = (0..settings.sessions.get())
            .map(|_| source.open())
            .collect::<Result<_, _>>()?;
        // Made first, so that threads already started end if a later one cannot be.
        let pool = Pool {
            queue: Arc::new(Queue::new(settings)),
        };
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name).spawn(run);
            thread
                .map(drop)
                .map_err(|error| HsmError::Thread(error.to_string()))
        };
        for (seat, session) in sessions.into_iter().enumerate() {
            let (queue, source) = (Arc::clone(&pool.queue), source.clone());
            queue.seat_taken();
            let worker = worker::Worker::new(queue, seat, source, session);
            spawn(
                format!("hsm-session-{seat}"),
                Box::new(move || worker.run()),
            )?;
        }
        let queue = Arc::clone(&pool.queue);
        spawn(
            "hsm-deadlines".to_owned(),
            Box::new(move || queue.enforce_deadlines()),
        )?;
        Ok(pool)
    }

    /// Queues a signature. Fails at once when the queue is full.
    pub(crate) fn sign(&self, request: SignRequest) -> Result<Pending, HsmError> {
        self.queue.submit(Work::Sign(request))
    }

    /// Runs `task` on a session thread and waits for it, at most until the deadline.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Session) -> Result<T, HsmError> + Send + 'static,
    ) -> Result<T, HsmError> {
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        let pending = self.queue.submit(Work::Task(Box::new(move |session| {
            let value = task(session)?;
            *lock(&slot) = Some(value);
            Ok(())
        })))?;
        step::wait(pending)?;
        let value = lock(&answer).take();
        value.ok_or_else(|| HsmError::Interface("a task ended without its answer".to_owned()))
    }

    /// The counts and gauges now.
    pub(crate) fn stats(&self) -> TokenStats {
        self.queue.stats()
    }
}

impl Drop for Pool {
    /// Ends the session threads. Waits, bounded, for those that are idle, so that their sessions are
    /// closed when this returns; a thread inside a call of the module ends by itself after it.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A panic while a lock was held leaves nothing half-done in this room: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
