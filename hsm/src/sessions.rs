//! The only place that blocks on a token: session threads behind a bounded queue with deadlines.
//!
//! Each thread owns one session and the object handles it has found; work waits in one queue. A waiter
//! gets its answer, or an error at its deadline, whatever the token does: a call that hangs is written off
//! after `hang_timeout` and its thread replaced. A session that returned an error is thrown away. A token
//! that fails as a whole is given up at once, and brought back step by step: a new session, a new login, a new
//! start of the module.

mod canary;
mod closers;
mod keeper;
mod mode;
mod queue;
mod seats;
mod threads;
mod ticket;
mod tune;
mod worker;

#[cfg(all(test, shuttle))]
mod interleavings;

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::HsmError;
use crate::link::{Description, Link, Request, Session};
use crate::settings::{QueueBound, Sessions, TokenSettings};
use crate::stats::TokenStats;
use crate::step;
use crate::sync::{Arc, Mutex, lock};
pub(crate) use canary::Canary;
pub use closers::join_closed_tokens;
pub use mode::TokenState;
use queue::{Bounds, Queue, Work};
use threads::Threads;
pub(crate) use ticket::Pending;

/// Session threads before the token's rate is measured: one may hang, the other goes on.
const SESSIONS_UNMEASURED: usize = 2;

/// The state of a token, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHealth {
    /// How it is.
    pub state: TokenState,
    /// Why it is not up.
    pub cause: Option<String>,
    /// For how long it has been so.
    pub since: Duration,
}

/// The session threads of one token.
pub(crate) struct Pool {
    core: Arc<Core>,
}

/// What the threads of a pool share.
struct Core {
    queue: Queue,
    link: Link,
    recovery: Duration,
    idle_check: Option<Duration>,
    /// The first key that was found: what idle and returned tokens are proven with.
    canary: Mutex<Option<Canary>>,
    /// The check of an idle token that is on its way.
    checking: Mutex<Option<Pending>>,
    description: OnceLock<Description>,
    /// The next try begins with a restart: sessions are there, but they hang.
    restart_first: AtomicBool,
    /// Tries that run.
    probes: AtomicUsize,
    threads: Threads,
    /// The number of sessions was measured.
    tuned: AtomicBool,
}

impl Pool {
    /// Starts the keeper, which opens the token and starts a thread for each session.
    pub(crate) fn start(link: Link, settings: &TokenSettings) -> Result<Pool, HsmError> {
        let bounds = Bounds {
            name: settings.name.clone(),
            time_to_live: settings.deadline,
            hang_timeout: settings.hang_timeout,
            max_hung: settings.max_hung.get(),
            capacity: match settings.queue {
                QueueBound::Auto => None,
                QueueBound::Count(count) => Some(count.get()),
            },
        };
        let wanted = match settings.sessions {
            Sessions::Auto => SESSIONS_UNMEASURED,
            Sessions::Count(count) => count.get(),
        };
        let core = Arc::new(Core {
            queue: Queue::new(bounds, wanted),
            link,
            recovery: settings.recovery,
            idle_check: settings.idle_check,
            canary: Mutex::new(None),
            checking: Mutex::new(None),
            description: OnceLock::new(),
            restart_first: AtomicBool::new(false),
            probes: AtomicUsize::new(0),
            threads: Threads::default(),
            tuned: AtomicBool::new(false),
        });
        let inner = Arc::clone(&core);
        let keeper = thread::Builder::new()
            .name("hsm-keeper".to_owned())
            .spawn(move || keeper::run(&inner));
        keeper.map_err(|error| HsmError::Thread(error.to_string()))?;
        Ok(Pool { core })
    }

    /// Waits until the first try to open the token has ended, and tells how.
    pub(crate) fn settled(&self) -> Result<(), HsmError> {
        self.core.queue.settled(keeper::FIRST_TRY)
    }

    /// Queues a request that is due at `due`, or a deadline from now. Fails at once when the queue is full
    /// or the token away.
    pub(crate) fn make(&self, request: Request, due: Option<Instant>) -> Result<Pending, HsmError> {
        self.core.queue.submit(Work::Make(request), due)
    }

    /// Runs `task` on a session thread and waits for it, at most until the deadline.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Session) -> Result<T, HsmError> + Send + 'static,
    ) -> Result<T, HsmError> {
        step::wait(self.begin(task))
    }

    /// As [`Self::call`]; the answer waits.
    pub(crate) async fn begin<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Session) -> Result<T, HsmError> + Send + 'static,
    ) -> Result<T, HsmError> {
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        let task = move |session: &mut Session| {
            let value = task(session)?;
            *lock(&slot) = Some(value);
            Ok(())
        };
        let pending = self.core.queue.submit(Work::Task(Box::new(task)), None)?;
        pending.await?;
        let value = lock(&answer).take();
        value.ok_or_else(|| HsmError::Interface("a task ended without its answer".to_owned()))
    }

    /// The key that proves the token from now on, if there is none yet.
    pub(crate) fn set_canary(&self, canary: Canary) {
        lock(&self.core.canary).get_or_insert(canary);
    }

    /// What the token told about itself when it was first seen.
    pub(crate) fn description(&self) -> Option<&Description> {
        self.core.description.get()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.core.link
    }

    /// The counts and gauges now.
    pub(crate) fn stats(&self) -> TokenStats {
        self.core.queue.stats()
    }

    /// Whether work that comes now is taken; else why not.
    pub(crate) fn admit(&self) -> Result<(), HsmError> {
        self.core.queue.admit()
    }

    pub(crate) fn is_tuned(&self) -> bool {
        self.core.tuned.load(Ordering::Relaxed)
    }

    /// Signatures that wait or are being made.
    pub(crate) fn outstanding(&self) -> usize {
        self.core.queue.outstanding()
    }

    /// How the token is.
    pub(crate) fn health(&self) -> TokenHealth {
        let state = self.core.queue.lock();
        TokenHealth {
            state: state.mode.state(),
            cause: state.mode.cause().map(ToString::to_string),
            since: state.mode.since().elapsed(),
        }
    }

    /// Finds out how many sessions the token works in parallel, and keeps as many.
    pub(crate) fn tune(&self) -> Result<NonZeroUsize, HsmError> {
        let sessions = tune::tune(&self.core)?;
        self.core.tuned.store(true, Ordering::Relaxed);
        Ok(sessions)
    }
}

impl Drop for Pool {
    /// Refuses work from now on and ends the session threads. Does not wait for them, for a network thread may be
    /// the last to let a token go: a thread of its own does, see [`join_closed_tokens`].
    fn drop(&mut self) {
        self.core.queue.shut();
        let core = Arc::clone(&self.core);
        closers::start(move || core.close());
    }
}

impl Core {
    /// Waits, bounded, for the threads that are not inside a signature.
    fn close(&self) {
        self.queue.close();
        keeper::wait_for_probes(self);
        self.threads.join_those_that_left();
    }

    fn canary(&self) -> Option<Canary> {
        lock(&self.canary).clone()
    }

    fn note_description(&self, description: Description) {
        // What the token is does not change; where it is, its link knows.
        let _ = self.description.set(description);
    }

    fn take_restart_first(&self) -> bool {
        self.restart_first.swap(false, Ordering::Relaxed)
    }

    fn probes_allowed(&self) -> bool {
        self.probes.load(Ordering::Relaxed) <= self.queue.bounds.max_hung
    }

    fn restart(&self) -> Result<(), HsmError> {
        self.link.restart()?;
        self.queue.counters.restarted();
        self.queue.lock().seats.restarted();
        Ok(())
    }
}
