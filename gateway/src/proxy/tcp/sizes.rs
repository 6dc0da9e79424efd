//! Sizes of what a connection that carries no HTTP keeps in memory, beside its buffers, which an idle one has not.
//!
//! Where one grows: see `proxy/http1/sizes.rs`.

use std::future::Future;

use super::{passthrough, serve};
use crate::telemetry::tcp_log::TcpRecord;

fn future3<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connection_that_waits_for_bytes_is_small() {
    let terminated = future3(serve);
    assert!(terminated <= 896, "{terminated} bytes");
    let handed_on = future3(passthrough::serve);
    assert!(handed_on <= 896, "{handed_on} bytes");
    let record = size_of::<TcpRecord>();
    assert!(record <= 288, "{record} bytes");
}
