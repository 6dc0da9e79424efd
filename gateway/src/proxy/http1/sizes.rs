//! Sizes of what a connection and its requests keep in memory.
//!
//! A future has room for whatever lives across its longest wait, and for every future it waits for. Where one grows: box
//! the branch that is seldom taken, let go of what is not needed before the wait (heads, snapshots, arrays), and borrow
//! what the caller has anyway. What is in it is told by
//! `RUSTC_BOOTSTRAP=1 cargo rustc -p portcullis --lib -- -Zprint-type-sizes`. A bound is raised only where memory per idle
//! connection (`make exams`) says that it is worth it.

use std::future::Future;
use std::pin::Pin;

use super::super::exchange;
use super::super::http2;
use super::{Io, next_request, serve, serve_one};
use crate::proxy::Client;
use crate::telemetry::RequestRecord;
use crate::telemetry::access_log::ConnectionFacts;
use crate::tls::TlsStream;

fn future3<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

fn future4<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connection_that_waits_for_a_request_is_small() {
    let next = future4(next_request::<TlsStream, Pin<Box<dyn Future<Output = ()>>>>);
    assert!(next <= 352, "{next} bytes");
    let serve = future3(serve::<TlsStream>);
    assert!(serve <= 848, "{serve} bytes");
    let io = size_of::<Io<TlsStream>>();
    assert!(io <= 216, "{io} bytes");
    let facts = size_of::<Client>() + size_of::<ConnectionFacts>();
    assert!(facts <= 448, "{facts} bytes");
}

#[test]
fn an_http2_connection_is_small() {
    let serve = future3(http2::serve::<TlsStream>);
    assert!(serve <= 2_560, "{serve} bytes");
}

#[test]
fn a_request_in_progress_is_bounded() {
    let exchange = future4(exchange::answer);
    assert!(exchange <= 4_352, "{exchange} bytes");
    let request = future4(serve_one::<TlsStream>);
    assert!(request <= 5_312, "{request} bytes");
    let record = size_of::<RequestRecord>();
    assert!(record <= 288, "{record} bytes");
}
