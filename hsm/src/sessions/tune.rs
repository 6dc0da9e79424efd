//! How many sessions a token works in parallel: found by asking it, once, at start.
//!
//! More sessions than the device has engines only move the queue into the device, where it has no deadline; fewer
//! leave engines idle. Twice as many sessions are tried until the rate does not grow by a tenth.

use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use super::queue::Work;
use super::{Canary, Core, SESSIONS_UNMEASURED};
use crate::error::HsmError;
use crate::key::proof;
use crate::link::Request;
use crate::step;
use crate::sync::Arc;

/// No device gained from more.
const MOST: usize = 64;

/// One measurement takes at least this long ...
const WINDOW: Duration = Duration::from_millis(30);

/// ... and all of them together not much longer than this.
const LIMIT: Duration = Duration::from_secs(2);

/// What a step up must bring to be worth more sessions.
const GAIN: f64 = 1.1;

pub(super) fn tune(core: &Arc<Core>) -> Result<NonZeroUsize, HsmError> {
    let canary = core.canary().ok_or_else(|| {
        HsmError::Generate("no key is known to measure the token with".to_owned())
    })?;
    let limit = core.description.get().and_then(|token| token.max_sessions);
    // One is left for the anchor, which holds the login.
    let most = limit.map_or(MOST, |max| {
        usize::try_from(max).unwrap_or(MOST).saturating_sub(1)
    });
    let most = most.clamp(1, MOST);
    let end = Instant::now() + LIMIT;
    let (mut best, mut best_rate) = (1, rate(core, &canary, 1)?);
    let mut sessions = 2;
    while sessions <= most && Instant::now() < end {
        let rate = rate(core, &canary, sessions)?;
        if rate < best_rate * GAIN {
            break;
        }
        (best, best_rate) = (sessions, rate);
        sessions *= 2;
    }
    // The hop to a signer leaves an engine idle for a moment after each signature: one more session fills it.
    let hop = usize::from(core.link.local().is_none());
    let chosen = (best + hop).min(most).max(SESSIONS_UNMEASURED.min(most));
    core.queue.resize(chosen);
    NonZeroUsize::new(chosen).ok_or_else(|| HsmError::Generate("no session at all".to_owned()))
}

/// Signatures a second with this many sessions, each busy all the time.
fn rate(core: &Arc<Core>, canary: &Canary, sessions: usize) -> Result<f64, HsmError> {
    core.queue.resize(sessions);
    let begun = Instant::now();
    let counts = thread::scope(|scope| {
        let loops: Vec<_> = (0..sessions)
            .map(|_| scope.spawn(|| sign_for(core, canary, begun)))
            .collect();
        let joined = loops.into_iter().map(|one| one.join());
        let lost = |_| HsmError::Thread("a measuring thread ended".to_owned());
        joined
            .map(|count| count.map_err(lost)?)
            .collect::<Result<Vec<u32>, HsmError>>()
    })?;
    let total: u32 = counts.iter().sum();
    Ok(f64::from(total) / begun.elapsed().as_secs_f64())
}

/// Signs on one session thread until the window is over, but at least four times.
fn sign_for(core: &Arc<Core>, canary: &Canary, begun: Instant) -> Result<u32, HsmError> {
    let (mut count, message) = (0, proof::message()?);
    while count < 4 || begun.elapsed() < WINDOW {
        let (_, request) = canary.request(&message)?;
        step::wait(
            core.queue
                .submit(Work::Make(Request::Sign(request)), None)?,
        )?;
        count += 1;
    }
    Ok(count)
}
