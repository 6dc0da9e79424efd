//! Steps that wait, interleave, nest, panic and are given up.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{RUNNING, STACKS, STACKS_KEPT, Step, run, wait};

/// A gate that is opened by hand and wakes who waits at it.
#[derive(Clone, Default)]
struct Gate(Rc<RefCell<(bool, Vec<Waker>)>>);

impl Gate {
    fn open(&self) {
        let mut gate = self.0.borrow_mut();
        gate.0 = true;
        gate.1.drain(..).for_each(Waker::wake);
    }

    fn pass(&self) -> impl Future<Output = ()> {
        let gate = self.clone();
        poll_fn(move |cx| {
            let mut gate = gate.0.borrow_mut();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(cx.waker().clone());
            Poll::Pending
        })
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<T: 'static>(step: &mut Step<T>) -> Poll<T> {
    Pin::new(step).poll(&mut Context::from_waker(Waker::noop()))
}

fn no_step_runs() -> bool {
    RUNNING.with_borrow(Option::is_none)
}

#[test]
fn a_step_waits_and_is_woken() {
    let (gate, wakes) = (Gate::default(), Arc::new(Wakes::default()));
    let waker = Waker::from(Arc::clone(&wakes));
    let inside = gate.clone();
    let mut step = run(move || {
        wait(inside.pass());
        7
    });
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut step).poll(&mut cx).is_pending());
    assert!(Pin::new(&mut step).poll(&mut cx).is_pending());
    assert!(no_step_runs());
    gate.open();
    assert!(wakes.0.load(Ordering::Relaxed) > 0);
    assert_eq!(Pin::new(&mut step).poll(&mut cx), Poll::Ready(7));
}

#[test]
fn steps_interleave_on_one_thread() {
    let gates: Vec<Gate> = (0..20).map(|_| Gate::default()).collect();
    let mut steps: Vec<Step<usize>> = Vec::new();
    for (i, gate) in gates.iter().enumerate() {
        let gate = gate.clone();
        steps.push(run(move || {
            let on_the_stack = [i; 64];
            wait(gate.pass());
            on_the_stack.iter().sum::<usize>() / 64
        }));
    }
    assert!(steps.iter_mut().all(|step| poll(step).is_pending()));
    for (i, gate) in gates.iter().enumerate().rev() {
        gate.open();
        assert_eq!(poll(&mut steps[i]), Poll::Ready(i));
        assert!(steps[..i].iter_mut().all(|step| poll(step).is_pending()));
    }
}

#[test]
fn dropping_a_suspended_step_drops_what_is_on_its_stack() {
    struct Told(Rc<Cell<bool>>);
    impl Drop for Told {
        fn drop(&mut self) {
            // A destructor that waits does not suspend a stack that unwinds.
            assert_eq!(wait(std::future::ready(1)), 1);
            self.0.set(true);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let told = Told(Rc::clone(&dropped));
    let mut step = run(move || {
        let _told = told;
        wait(std::future::pending::<()>());
    });
    assert!(poll(&mut step).is_pending());
    let before = STACKS.with_borrow(Vec::len);
    drop(step);
    assert!(dropped.get() && no_step_runs());
    assert_eq!(STACKS.with_borrow(Vec::len), before + 1);

    let dropped = Rc::new(Cell::new(false));
    let told = Told(Rc::clone(&dropped));
    drop(run(move || drop(told)));
    assert!(dropped.get(), "a step that never began drops its closure");
}

#[test]
fn a_panic_in_the_step_is_a_panic_of_the_poll() {
    let gate = Gate::default();
    let inside = gate.clone();
    let mut step = run(move || {
        wait(inside.pass());
        std::panic::resume_unwind(Box::new("from the step"));
    });
    assert!(poll(&mut step).is_pending());
    gate.open();
    let panic = catch_unwind(AssertUnwindSafe(|| poll::<()>(&mut step))).expect_err("propagates");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"from the step"));
    assert!(no_step_runs());
}

#[test]
fn a_step_dropped_while_its_thread_panics_unwinds() {
    let dropped = Rc::new(Cell::new(0));
    let told = Rc::clone(&dropped);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let inner = Rc::clone(&told);
        let mut step = run(move || {
            let _guard = Guard(inner);
            wait(std::future::pending::<()>());
        });
        assert!(poll(&mut step).is_pending());
        std::panic::resume_unwind(Box::new("outside"));
    }));
    assert!(panic.is_err() && dropped.get() == 1);

    struct Guard(Rc<Cell<usize>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
}

#[test]
fn steps_nest() {
    let (outer_gate, inner_gate) = (Gate::default(), Gate::default());
    let (outer, inner) = (outer_gate.clone(), inner_gate.clone());
    let mut step = run(move || {
        let mut nested = run(move || {
            wait(inner.pass());
            1
        });
        assert!(poll(&mut nested).is_pending());
        wait(outer.pass());
        // A step is a future, so another step can wait for it.
        wait(nested) + 1
    });
    assert!(poll(&mut step).is_pending());
    outer_gate.open();
    assert!(poll(&mut step).is_pending());
    inner_gate.open();
    assert_eq!(poll(&mut step), Poll::Ready(2));
}

#[test]
fn a_nested_step_is_given_up_with_its_outer_step() {
    let dropped = Rc::new(Cell::new(false));
    let told = Rc::clone(&dropped);
    let mut step = run(move || {
        let mut nested = run(move || {
            let _told = scope(told);
            wait(std::future::pending::<()>());
        });
        assert!(poll(&mut nested).is_pending());
        wait(std::future::pending::<()>());
    });
    assert!(poll(&mut step).is_pending());
    drop(step);
    assert!(dropped.get() && no_step_runs());

    fn scope(told: Rc<Cell<bool>>) -> impl Drop {
        struct Told(Rc<Cell<bool>>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        Told(told)
    }
}

#[test]
fn a_step_and_its_result_may_be_large() {
    let large = [7_u8; 16 * 1024];
    let mut step = run(move || {
        wait(std::future::ready(()));
        large
    });
    assert_eq!(poll(&mut step), Poll::Ready(large));
}

#[test]
fn stacks_are_used_again_and_bounded() {
    let mut steps: Vec<_> = (0..STACKS_KEPT + 10).map(|i| run(move || i)).collect();
    assert!(steps.iter_mut().all(|step| poll(step).is_ready()));
    assert_eq!(STACKS.with_borrow(Vec::len), STACKS_KEPT);
    drop(run(|| ()));
    assert_eq!(STACKS.with_borrow(Vec::len), STACKS_KEPT);
}

#[test]
fn without_a_step_the_thread_is_parked_until_woken() {
    let (mut turns, caller) = (0, std::thread::current().id());
    let value = wait(poll_fn(move |cx| {
        assert_eq!(std::thread::current().id(), caller);
        turns += 1;
        if turns == 3 {
            return Poll::Ready(turns);
        }
        let waker = cx.waker().clone();
        std::thread::spawn(move || waker.wake());
        Poll::Pending
    }));
    assert_eq!(value, 3);
}
