//! Handshake steps that wait for a signature without blocking their thread.
//!
//! rustls calls `Signer::sign` in the middle of its own stack and wants the signature as the return
//! value. [`run`] puts such a step on a stack of its own (a stackful coroutine); [`wait`], called below
//! rustls, suspends that stack until the token has signed, and the thread goes on with other connections.
//! No thread waits for the token but its session threads.
//!
//! What it promises: a step stays on the thread that polls it first, because [`Step`] is not `Send`; a
//! panic in the step is a panic of the poll; dropping a suspended step unwinds its stack, so that
//! everything on it is dropped. Where no step runs on the thread, [`wait`] parks the thread, which is only
//! for callers that may block (the command line, tests, the proof when a key is loaded).
#![expect(
    unsafe_code,
    reason = "the running step is found through a pointer to its yielder"
)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Size of the stack of one step, without its guard page. A full rustls handshake step of a debug build
/// (ML-KEM-768, RSA-4096 and P-521 verification) fits into a quarter of it; only touched pages cost memory.
pub const STACK_BYTES: usize = 256 * 1024;

/// Unused stacks that a thread keeps. A new one costs two system calls and page faults.
pub const STACKS_KEPT: usize = 64;

thread_local! {
    static RUNNING: RefCell<Option<Rc<Frame>>> = const { RefCell::new(None) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` as a step: the future resolves to what `f` returns, and is pending while `f` is in [`wait`].
///
/// The gateway calls this only for steps that may sign with a token key; the others need no second stack.
///
/// # Panics
/// When the operating system refuses memory for a stack.
pub fn run<T: 'static>(f: impl FnOnce() -> T + 'static) -> Step<T> {
    let frame = Rc::new(Frame {
        yielder: Cell::new(ptr::null()),
        waker: RefCell::new(None),
    });
    let inside = Rc::clone(&frame);
    // corosensei moves at most 1 KiB onto the new stack, and a ClientHello is larger.
    let f = Box::new(f);
    let coroutine = Coroutine::with_stack(take_stack(), move |yielder: &Yielder<(), ()>, ()| {
        inside.yielder.set(yielder);
        // The frame must not live on the stack whose end it describes.
        drop(inside);
        f()
    });
    Step {
        coroutine: Some(coroutine),
        frame,
    }
}

/// Waits for `future`: suspends the step that runs on this thread, or parks the thread if none does.
pub fn wait<F: Future>(future: F) -> F::Output {
    let frame = RUNNING.with_borrow(Clone::clone);
    match frame {
        // While a panic unwinds, the panic count of the thread must not meet another step: park.
        Some(frame) if !thread::panicking() => frame.wait(future),
        _ => park(future),
    }
}

/// A step that may suspend; see [`run`]. It is not `Send`.
#[must_use = "a step does nothing until it is polled"]
pub struct Step<T> {
    coroutine: Option<Coroutine<(), (), T, DefaultStack>>,
    frame: Rc<Frame>,
}

impl<T> Future for Step<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.frame.set_waker(cx.waker());
        let scope = Scope::enter(Some(Rc::clone(&self.frame)));
        let Some(coroutine) = self.coroutine.as_mut() else {
            panic!("step polled after it ended");
        };
        let result = coroutine.resume(());
        drop(scope);
        match result {
            CoroutineResult::Yield(()) => Poll::Pending,
            CoroutineResult::Return(value) => {
                self.recycle();
                Poll::Ready(value)
            }
        }
    }
}

impl<T> Step<T> {
    /// Keeps the stack of an ended step for the next one.
    fn recycle(&mut self) {
        let Some(coroutine) = self.coroutine.take().filter(Coroutine::done) else {
            return;
        };
        let stack = coroutine.into_stack();
        // At the end of the thread there may be no store any more; the stack is unmapped then.
        let _ = STACKS.try_with(|stacks| {
            let mut stacks = stacks.borrow_mut();
            if stacks.len() < STACKS_KEPT {
                stacks.push(stack);
            }
        });
    }
}

impl<T> Drop for Step<T> {
    fn drop(&mut self) {
        let Some(coroutine) = self.coroutine.as_mut() else {
            return;
        };
        // What is dropped on that stack runs outside of any step: it cannot suspend a stack that unwinds.
        let scope = Scope::enter(None);
        coroutine.force_unwind();
        drop(scope);
        self.recycle();
    }
}

impl<T> fmt::Debug for Step<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("ended", &self.coroutine.is_none())
            .finish()
    }
}

/// What [`wait`] must know about the step it is called in.
struct Frame {
    /// Set by the first instruction on the stack of the step; null before.
    yielder: Cell<*const Yielder<(), ()>>,
    /// The waker of the latest poll.
    waker: RefCell<Option<Waker>>,
}

impl Frame {
    fn set_waker(&self, waker: &Waker) {
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            // Cloned, for the borrow must not be held while the future, or another poll of this step, runs.
            let waker = self
                .waker
                .borrow()
                .clone()
                .unwrap_or_else(|| Waker::noop().clone());
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            drop(waker);
            self.suspend();
        }
    }

    /// Leaves the stack of the step; returns at the next poll, or unwinds when the step is dropped.
    fn suspend(&self) {
        let yielder = self.yielder.get();
        assert!(!yielder.is_null(), "a step that waits has begun");
        // SAFETY: `yielder` points into the stack of the coroutine whose closure set it, where corosensei
        // keeps it until the closure ends. It is alive here because a `Frame` is reached only through
        // `RUNNING`, which holds it only inside `Step::poll`, between entering `resume` and its return
        // (`Scope`, also on a panic; the innermost poll wins, so nested steps see their own frame, and a
        // forced unwind sees none), and this code, called by that `resume`, runs before the closure ended.
        // The thread is the one that owns the coroutine, for `RUNNING` is thread-local and `Step` is not
        // `Send`. The reference does not outlive this call, and `Yielder` has only shared methods.
        unsafe { (*yielder).suspend(()) }
    }
}

/// Makes a frame the running one of this thread, and puts the former one back when dropped.
struct Scope {
    outer: Option<Rc<Frame>>,
}

impl Scope {
    fn enter(frame: Option<Rc<Frame>>) -> Self {
        // A step may be dropped at the end of its thread, when thread-locals are gone and no step runs.
        Scope {
            outer: RUNNING
                .try_with(|running| running.replace(frame))
                .ok()
                .flatten(),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| running.replace(self.outer.take()));
    }
}

fn take_stack() -> DefaultStack {
    if let Some(stack) = STACKS.with_borrow_mut(Vec::pop) {
        return stack;
    }
    match DefaultStack::new(STACK_BYTES) {
        Ok(stack) => stack,
        Err(error) => panic!("no memory for the stack of a handshake step: {error}"),
    }
}

/// Waits on this thread.
fn park<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}

#[cfg(test)]
mod tests;
