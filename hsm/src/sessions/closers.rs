//! Waiting for the threads of tokens that were dropped, on threads of their own.
//!
//! Whoever drops a token last may be a network thread, which must not wait for a library; and a process must not
//! end while one is at work, for then libraries crash.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Those who wait.
static CLOSERS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Runs `wait`, which is bounded, beside the caller.
pub(super) fn start(wait: impl FnOnce() + Send + 'static) {
    let named = Builder::new().name("hsm-closer".to_owned());
    // Without a thread the session threads still end, by themselves.
    let closer = named.spawn(wait);
    let mut closers = CLOSERS.lock().unwrap_or_else(PoisonError::into_inner);
    closers.retain(|closer| !closer.is_finished());
    closers.extend(closer);
}

/// Waits until the session threads of tokens that were dropped have closed their sessions, at most some
/// seconds. A process that has used a token calls it before it ends, for libraries crash where a thread is
/// inside them while the process is taken down. What hangs in a library is left behind.
pub fn join_closed_tokens() {
    let mut closers = CLOSERS.lock().unwrap_or_else(PoisonError::into_inner);
    let running: Vec<JoinHandle<()>> = closers.drain(..).collect();
    drop(closers);
    for closer in running {
        let _ = closer.join(); // A panic in it was told when it happened.
    }
}
