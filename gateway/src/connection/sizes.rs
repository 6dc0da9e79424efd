//! Sizes of the task of a connection and of its handshake.
//!
//! Where one grows: see `proxy/http1/sizes.rs`. A handshake is boxed and gone when it is over, so that its size is that of
//! a flood of handshakes; the size of the task is that of every idle connection.

use std::future::Future;

use super::{Sites, begin, run};
use crate::tls::{self, TlsStream};

fn future3<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

fn future5<A, B, C, D, E, F: Future>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn the_task_of_a_connection_is_small() {
    // A word more for a socket where the tests of the workspace bring in tokio's other runtime.
    let task = future5(run);
    assert!(task <= 1_056 + 8, "{task} bytes");
    let stream = size_of::<TlsStream>();
    assert!(stream <= 64, "{stream} bytes");
}

#[test]
fn a_handshake_in_progress_is_bounded() {
    let accept = future3(tls::accept::<Sites<'_>>);
    assert!(accept <= 6_656, "{accept} bytes");
    let begin = future5(begin);
    // What the allocator gives to all from 6 KiB on, and that word for each of the six places a socket has in it.
    assert!(begin <= 7_168 + 6 * 8, "{begin} bytes");
}
