//! What happens to one signature: it waits for an engine, takes longer, hangs, fails, or ends the process.
//!
//! What it promises: with `delay_us` and `engines` alone the token is an exact queue of that many servers
//! of that one service time.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

use cryptoki_sys::CK_RV;

use crate::settings::{ErrorIn, MILLION, Settings, every};
use crate::{random, watch};

/// How often a hanging signature looks whether it may go on.
const HANG_CHECK: Duration = Duration::from_millis(5);

/// Engines that sign.
static BUSY: Mutex<usize> = Mutex::new(0);
static FREE: Condvar = Condvar::new();

/// What is to be done with a signature.
pub(crate) enum Verdict {
    /// Ask the real module, and free the engine after it.
    Forward(Option<Engine>),
    /// Return this.
    Fail(CK_RV),
}

/// An engine that signs; free again when dropped.
pub(crate) struct Engine;

/// Lets the faults happen to the signature of this number, counted from 1.
pub(crate) fn strike_signature(settings: &Settings, number: u64) -> Verdict {
    if every(settings.crash_every, number) {
        let _ = writeln!(io::stderr(), "fault-module: crash_every ends the process");
        process::abort();
    }
    if every(settings.hang_every, number) {
        // Before an engine is taken: what hangs in a real HSM is mostly its connection.
        hang(settings.hang);
    }
    let engine = work(settings);
    match error(settings, ErrorIn::Sign, number) {
        Some(code) => Verdict::Fail(code),
        None => Verdict::Forward(engine),
    }
}

/// Lets a query of the length cost what it costs.
pub(crate) fn strike_length_query(settings: &Settings) -> Option<Engine> {
    settings
        .charge_length_query
        .then(|| work(settings))
        .flatten()
}

/// What the call of this number of `function` returns instead of asking, if it is to fail.
pub(crate) fn error(settings: &Settings, function: ErrorIn, number: u64) -> Option<CK_RV> {
    if settings.error_every == 0 && settings.error_millionths == 0 {
        return None;
    }
    settings.error(function, number, random::below(MILLION))
}

/// Waits for an engine and keeps it for the delay; it is returned busy.
fn work(settings: &Settings) -> Option<Engine> {
    let engine = (settings.engines > 0).then(|| take_engine(settings.engines));
    let jitter = u64::try_from(settings.jitter.as_micros()).unwrap_or(u64::MAX);
    let jitter = random::below(jitter.saturating_add(1));
    pass(settings.delay + Duration::from_micros(jitter));
    engine
}

/// Hangs for `time`, or until the settings ask for no hanging signature any more.
fn hang(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time && watch::settings().hang_every > 0 {
        pass(HANG_CHECK.min(time));
    }
}

fn take_engine(engines: usize) -> Engine {
    let wait = FREE.wait_while(busy(), |busy| *busy >= engines);
    *wait.unwrap_or_else(PoisonError::into_inner) += 1;
    Engine
}

fn busy() -> MutexGuard<'static, usize> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Engine {
    fn drop(&mut self) {
        *busy() -= 1;
        FREE.notify_one();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "time that passes inside C_Sign is the fault"
)]
fn pass(time: Duration) {
    if !time.is_zero() {
        thread::sleep(time);
    }
}
