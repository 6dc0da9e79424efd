//! Threads that have been inside a PKCS#11 library, and are joined when they have left it.
//!
//! A library keeps state for each thread and tears it down when the thread ends; one that still does so while
//! the process ends crashes it (OpenSSL does, behind SoftHSM). Threads that hang are left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crate::sync::{Mutex, lock};

/// The threads of a pool.
#[derive(Default)]
pub(super) struct Threads(Mutex<Vec<(Arc<AtomicBool>, JoinHandle<()>)>>);

impl Threads {
    /// Starts a thread that does `work` and then tells with `gone` that it will be joined without a wait. Those
    /// that have ended meanwhile are joined.
    pub(super) fn start(
        &self,
        name: String,
        work: impl FnOnce() + Send + 'static,
        gone: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let left = Arc::new(AtomicBool::new(false));
        let mark = Left(Arc::clone(&left));
        let handle = Builder::new().name(name).spawn(move || {
            work();
            drop(mark);
            gone();
        })?;
        self.join_those_that_left();
        lock(&self.0).push((left, handle));
        Ok(())
    }

    /// Waits for the threads that have done their work, to the end of their teardown.
    pub(super) fn join_those_that_left(&self) {
        let mut threads = lock(&self.0);
        let (left, running) = threads
            .drain(..)
            .partition(|(left, _)| left.load(Ordering::Acquire));
        *threads = running;
        drop(threads);
        let left: Vec<(Arc<AtomicBool>, JoinHandle<()>)> = left;
        for (_, handle) in left {
            let _ = handle.join(); // A panic in it was told when it happened.
        }
    }
}

/// Set when the work of a thread is over, also by a panic.
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
