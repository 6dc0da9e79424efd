//! The keeper of a token: ends what is overdue, gives up calls that hang, brings an absent token back, and asks an
//! idle one how it is.
//!
//! One thread per token, and it never calls the module: what might hang is done by session threads and by
//! probes, threads of their own that it starts and, if need be, leaves behind.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;

use super::mode::TokenState;
use super::queue::{State, Work};
use super::{Core, worker};
use crate::error::{ErrorClass, HsmError};
use crate::sync::{Arc, MutexGuard, lock};

/// The keeper's thread: runs until the token is closed.
pub(super) fn run(core: &Arc<Core>) {
    let mut idle_since = (0, Instant::now());
    loop {
        let now = Instant::now();
        let state = core.queue.lock();
        if !state.open {
            return;
        }
        let Some(mut state) = expire_overdue(core, state, now) else {
            continue;
        };
        // A call that hangs now began before this moment.
        let hung_since = now.checked_sub(core.queue.bounds.hang_timeout);
        let lost = hung_since.map(|since| state.seats.write_off(since));
        if let Some(lost) = lost.filter(|lost| !lost.is_empty()) {
            note_hung(core, &mut state, now);
            drop(state);
            lost.iter()
                .flatten()
                .for_each(|receipt| core.queue.give_up(receipt));
            continue;
        }
        if state.mode.next_try().is_some_and(|next| next <= now) {
            // A probe that hangs must not be the last one.
            state
                .mode
                .trying_until(now + core.queue.bounds.hang_timeout.max(core.recovery));
            drop(state);
            start_probe(core);
            continue;
        }
        if state.mode.state() == TokenState::Up && state.seats.live() < state.wanted {
            let seat = state.seats.take(now);
            drop(state);
            start_session_thread(core, seat);
            continue;
        }
        if idle_check_is_due(core, &state, &mut idle_since, now) {
            drop(state);
            check(core);
            continue;
        }
        let next = next_moment(core, &state, idle_since.1, now);
        drop(core.queue.sleep(state, next));
    }
}

/// Answers what is overdue. Gives the lock back if there was nothing.
fn expire_overdue<'a>(
    core: &Core,
    mut state: MutexGuard<'a, State>,
    now: Instant,
) -> Option<MutexGuard<'a, State>> {
    let overdue = state.take_overdue(now);
    if overdue.is_empty() {
        return Some(state);
    }
    drop(state);
    overdue
        .iter()
        .for_each(|receipt| core.queue.expire(receipt));
    None
}

/// More calls hang than are replaced: the token is as good as absent.
fn note_hung(core: &Core, state: &mut State, now: Instant) {
    let hung = state.seats.hung();
    if hung > core.queue.bounds.max_hung {
        let cause = HsmError::Interface(format!("{hung} calls of it hang"));
        if state.mode.failed(now, cause) {
            // Who waits for work gives up its session, which a restart would wait for.
            state.seats.ring_all();
        }
        core.restart_first.store(true, Ordering::Relaxed);
    }
}

fn next_moment(core: &Core, state: &State, idle_since: Instant, now: Instant) -> Instant {
    let bounds = &core.queue.bounds;
    // What is not known yet, since it comes later, is due no sooner.
    let blind = bounds.time_to_live.min(bounds.hang_timeout);
    let idle = core.idle_check.map(|pause| idle_since + pause);
    [
        state.earliest_due(),
        state.seats.next_hang(bounds.hang_timeout),
        state.mode.next_try(),
        idle.filter(|_| state.mode.state() == TokenState::Up),
    ]
    .into_iter()
    .flatten()
    .fold(now + blind, Instant::min)
}

/// Whether nothing was signed for so long that the token must be asked.
fn idle_check_is_due(
    core: &Core,
    state: &State,
    (seen, since): &mut (u64, Instant),
    now: Instant,
) -> bool {
    let signatures = core.queue.counters.signatures();
    if signatures != *seen || state.mode.state() != TokenState::Up {
        (*seen, *since) = (signatures, now);
        return false;
    }
    let due = core
        .idle_check
        .is_some_and(|pause| now.duration_since(*since) >= pause);
    if due {
        *since = now;
    }
    due
}

/// Asks the token for its state and a signature, on a session thread. What fails there makes the outage.
fn check(core: &Arc<Core>) {
    let canary = core.canary();
    let inner = Arc::clone(core);
    let task = move |session: &mut crate::link::Session| {
        session.describe()?;
        match canary {
            Some(canary) => canary.prove(session).inspect_err(|error| {
                // A signature that does not verify is no error of PKCS#11, but no token to be trusted either.
                if matches!(error, HsmError::ProofFailed { .. }) {
                    inner.queue.strike(error, true);
                }
            }),
            None => Ok(()),
        }
    };
    // Nobody waits for the answer, so the ticket must be kept for the work to be wanted.
    if let Ok(pending) = core.queue.submit(Work::Task(Box::new(task)), None) {
        *lock(&core.checking) = Some(pending);
    }
}

fn start_session_thread(core: &Arc<Core>, seat: usize) {
    let inner = Arc::clone(core);
    let name = format!("hsm-session-{seat}");
    let ended = Arc::clone(core);
    let started = core.threads.start(
        name,
        move || worker::run(&inner, seat),
        move || ended.queue.leave(seat),
    );
    if let Err(error) = started {
        core.queue.leave(seat);
        core.queue
            .strike(&HsmError::Thread(error.to_string()), true);
    }
}

/// Starts a try to bring the token back.
fn start_probe(core: &Arc<Core>) {
    let inner = Arc::clone(core);
    core.probes.fetch_add(1, Ordering::Relaxed);
    let ended = Arc::clone(core);
    let work = move || {
        let outcome = match inner.probes_allowed() {
            true => probe(&inner),
            false => Err(HsmError::Interface("its calls hang".to_owned())),
        };
        inner.queue.tried(outcome, inner.recovery, jitter());
    };
    let gone = move || {
        ended.probes.fetch_sub(1, Ordering::Relaxed);
    };
    let started = core.threads.start("hsm-probe".to_owned(), work, gone);
    if let Err(error) = started {
        core.probes.fetch_sub(1, Ordering::Relaxed);
        let error = HsmError::Thread(error.to_string());
        core.queue.tried(Err(error), core.recovery, jitter());
    }
}

/// The ladder: a session, which logs in again where that is lost; else a restart and a session.
fn probe(core: &Core) -> Result<(), HsmError> {
    let restart_first = core.take_restart_first();
    let first = match restart_first {
        true => core.restart().and_then(|()| once(core)),
        false => once(core),
    };
    match first {
        Err(error) if !restart_first && worth_a_restart(&error) => {
            // Why the restart is not possible says less than why it was wanted.
            core.restart().map_err(|again| match again.class() {
                ErrorClass::Configuration => again,
                _ => error,
            })?;
            once(core)
        }
        outcome => outcome,
    }
}

/// A PIN that is wrong stays wrong; so does a module that is not there.
fn worth_a_restart(error: &HsmError) -> bool {
    error.class() != ErrorClass::Configuration
        || matches!(
            error,
            HsmError::KeySelection { .. } | HsmError::KeyUnsupported { .. }
        )
}

fn once(core: &Core) -> Result<(), HsmError> {
    let mut session = core.link.open()?;
    core.note_description(session.describe()?);
    match core.canary() {
        Some(canary) => canary.prove(&mut session),
        None => Ok(()),
    }
}

fn jitter() -> u8 {
    let mut byte = [0];
    // Without random numbers the pause is just a little longer.
    let _ = rand::fill(&mut byte);
    byte[0]
}

/// Waits, bounded, until no probe is inside the module: see the end of a token.
pub(super) fn wait_for_probes(core: &Core) {
    let end = Instant::now() + Duration::from_secs(1);
    while core.probes.load(Ordering::Relaxed) > 0 && Instant::now() < end {
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// The longest a start waits for the first try: real devices need seconds to initialize and log in.
pub(super) const FIRST_TRY: Duration = Duration::from_secs(60);
