//! A token, its keeper and its session threads as the model checker runs them.
//!
//! The queue is the real one. A session thread does what `worker::run` does, with a session that is a number;
//! the keeper does what `keeper::run` does, but for time: the checker has no clock, so what is due is due at
//! once, and what hangs is written off by the test.

use std::time::{Duration, Instant};

use cryptoki::error::RvError;
use shuttle::thread::{self, JoinHandle};

use super::super::mode::TokenState;
use super::super::queue::{Bounds, Next, Queue, Receipt, State, Work};
use super::super::ticket::{Answer, Pending};
use crate::error::HsmError;
use crate::link::{KeyName, Request, SignRequest};
use crate::sign::Mechanism;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait};
use crate::uri::Pkcs11Uri;

/// Long after everything: what is real time in the queue never passes while the checker runs.
pub(super) const FAR: Duration = Duration::from_secs(3600);

const ENDED: &str = "a thread that panics ends the run";

/// What the token does. Nothing goes wrong by default, but it gives as many sessions as this says.
#[derive(Debug, Clone, Default)]
pub(super) struct Token {
    /// How many sessions it gives.
    pub(super) sessions: usize,
    /// So many signatures fail as those of a device that is lost.
    pub(super) failures: usize,
    /// So many tries to bring it back fail.
    pub(super) failed_tries: usize,
    /// The job whose signature hangs until it is released.
    pub(super) hangs: Option<u8>,
    /// Whether that call was given up.
    pub(super) written_off: bool,
    /// Sessions that are open.
    pub(super) open: usize,
    /// The jobs that were begun.
    pub(super) begun: Vec<u8>,
}

/// The pool of one token.
pub(super) struct Model {
    pub(super) queue: Queue,
    token: Mutex<Token>,
    /// The call that hangs began, or was released.
    turned: Condvar,
    /// Session threads that were started.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Model {
    pub(super) fn new(token: Token, wanted: usize, capacity: usize) -> Arc<Model> {
        let bounds = Bounds {
            name: "model".to_owned(),
            time_to_live: FAR,
            hang_timeout: FAR,
            max_hung: 8,
            capacity: Some(capacity),
        };
        Arc::new(Model {
            queue: Queue::new(bounds, wanted),
            token: Mutex::new(token),
            turned: Condvar::new(),
            threads: Mutex::new(Vec::new()),
        })
    }

    /// Starts the keeper.
    pub(super) fn start(self: &Arc<Self>) -> Keeper {
        let model = Arc::clone(self);
        Keeper(thread::spawn(move || model.keep()))
    }

    pub(super) fn submit(&self, job: u8) -> Result<Pending, HsmError> {
        self.queue.submit(work(job), None)
    }

    /// Submits and waits for the answer.
    pub(super) fn ask(&self, job: u8) -> Answer {
        shuttle::future::block_on(self.submit(job)?)
    }

    /// How often this job was begun.
    pub(super) fn begun(&self, job: u8) -> usize {
        let token = lock(&self.token);
        token.begun.iter().filter(|begun| **begun == job).count()
    }

    /// Waits until the call that hangs has begun.
    pub(super) fn until_it_hangs(&self) {
        let mut token = lock(&self.token);
        while !token
            .hangs
            .is_some_and(|hanging| token.begun.contains(&hanging))
        {
            token = wait(&self.turned, token);
        }
    }

    /// The call that hung returns.
    pub(super) fn release(&self) {
        lock(&self.token).hangs = None;
        self.turned.notify_all();
    }

    /// The calls in flight are written off, and their threads replaced, as if they had begun long ago.
    pub(super) fn write_off(self: &Arc<Self>) {
        lock(&self.token).written_off = true;
        let lost = self.queue.lock().seats.write_off(Instant::now());
        let lost = lost.iter().flatten();
        lost.for_each(|receipt| self.queue.give_up(receipt));
        while self.start_missing(self.queue.lock()) {}
    }

    fn keep(self: &Arc<Self>) {
        loop {
            let state = self.queue.lock();
            if !state.open {
                return;
            }
            if state.mode.next_try().is_some() {
                drop(state);
                // A try takes time, in which others come further.
                thread::yield_now();
                self.queue.tried(self.probe(), FAR, 0);
                continue;
            }
            if state.seats.live() < state.wanted {
                self.start_missing(state);
                continue;
            }
            drop(self.queue.sleep(state, Instant::now() + FAR));
        }
    }

    /// Starts a session thread if one is missing. Tells whether it did.
    fn start_missing(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> bool {
        let up = state.open && state.mode.state() == TokenState::Up;
        if !up || state.seats.live() >= state.wanted {
            return false;
        }
        let seat = state.seats.take(Instant::now());
        drop(state);
        let model = Arc::clone(self);
        let thread = thread::spawn(move || model.serve(seat));
        lock(&self.threads).push(thread);
        true
    }

    /// A try to bring the token back, which like a restart wants every session closed.
    fn probe(&self) -> Result<(), HsmError> {
        while lock(&self.token).open > 0 {
            thread::yield_now();
        }
        let mut token = lock(&self.token);
        if token.failed_tries == 0 {
            return Ok(());
        }
        token.failed_tries -= 1;
        Err(lost())
    }

    /// A session thread.
    fn serve(&self, seat: usize) {
        let mut session = false;
        loop {
            match self.queue.next(seat, session) {
                Next::End => break,
                Next::Close => session = self.close(session),
                Next::Open => match self.open() {
                    Ok(()) => {
                        self.queue.opened(seat, None);
                        session = true;
                    }
                    Err(error) => self.queue.open_failed(&error),
                },
                Next::Work(Work::Task(_) | Work::Make(Request::Derive(_)), ..) => {
                    unreachable!("the model only signs")
                }
                Next::Work(Work::Make(Request::Sign(request)), receipt, began) => {
                    let given_up = self.sign((&request, &receipt), began, &mut session);
                    if given_up {
                        assert!(
                            matches!(self.queue.next(seat, session), Next::End),
                            "a thread that was written off went on"
                        );
                        break;
                    }
                }
            }
        }
        self.close(session);
        self.queue.leave(seat);
    }

    /// Answers one job. Tells whether the call hung and was given up meanwhile.
    fn sign(
        &self,
        (request, receipt): (&SignRequest, &Receipt),
        began: Instant,
        session: &mut bool,
    ) -> bool {
        let job = request.data[0];
        let mut token = lock(&self.token);
        token.begun.push(job);
        let hangs = token.hangs == Some(job);
        while token.hangs == Some(job) {
            self.turned.notify_all();
            token = wait(&self.turned, token);
        }
        let given_up = hangs && token.written_off;
        let failed = token.failures > 0;
        token.failures -= usize::from(failed);
        drop(token);
        let answer = match failed {
            true => {
                *session = self.close(*session);
                self.queue.strike(&lost(), true);
                Err(lost())
            }
            false => Ok(request.data.clone()),
        };
        self.queue.finish_signature(receipt, began, answer);
        given_up
    }

    fn open(&self) -> Result<(), HsmError> {
        let mut token = lock(&self.token);
        if token.open == token.sessions {
            return Err(HsmError::Call {
                function: "C_OpenSession".to_owned(),
                code: RvError::SessionCount,
            });
        }
        token.open += 1;
        Ok(())
    }

    /// Closes the session, if it is one; there is none afterwards.
    fn close(&self, session: bool) -> bool {
        lock(&self.token).open -= usize::from(session);
        false
    }
}

/// The keeper's thread.
pub(super) struct Keeper(JoinHandle<()>);

impl Keeper {
    /// Waits until every thread of the closed pool has ended and its sessions are closed.
    pub(super) fn ended(self, model: &Model) {
        self.0.join().expect(ENDED);
        for thread in std::mem::take(&mut *lock(&model.threads)) {
            thread.join().expect(ENDED);
        }
        assert_eq!(lock(&model.token).open, 0, "a session was left open");
        let seats = &model.queue.lock().seats;
        assert!(
            seats.hung() == 0 && seats.next_hang(FAR).is_none(),
            "a seat was left taken"
        );
    }
}

pub(super) fn lost() -> HsmError {
    HsmError::Interface("lost".to_owned())
}

/// A job is its number, and so is its answer.
pub(super) fn work(job: u8) -> Work {
    Work::Make(Request::Sign(SignRequest {
        key: Arc::new(KeyName {
            number: 0,
            uri: Pkcs11Uri::default(),
            spki: Vec::new(),
        }),
        mechanism: Mechanism::Ecdsa,
        data: vec![job],
    }))
}
