//! What a test is told with: a gateway, its upstream, its clients, and a deadline for everything.
//!
//! `Gateway::builder()` starts the process, `Client` speaks TLS and HTTP to it, `RawTls` sends it bytes no
//! client would, `tools` asks curl and openssl, `Web` and `Responder` tell who is revoked. Nothing here waits longer than [`DEADLINE`].

mod backend;
mod client;
mod connection;
mod desk;
mod download;
pub(crate) mod early;
pub(crate) mod frames;
mod gateway;
mod h3;
pub(crate) mod haproxy;
pub(crate) mod judge;
mod keys;
mod logs;
mod lossy;
mod outage;
pub(crate) mod peer;
mod process;
mod raw;
pub(crate) mod redis;
mod responder;
mod service;
mod sessions;
mod site;
mod token;
pub(crate) mod tools;
mod vault;
mod verifier;
mod web;

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub(crate) use backend::{Backend, Mood};
pub(crate) use client::{Client, Refused};
pub(crate) use connection::{Connection, Response};
pub(crate) use desk::{Desk, text};
pub(crate) use download::Download;
pub(crate) use gateway::{Gateway, GatewayBuilder};
pub(crate) use keys::{CLIENT_CA_NAME, KeyKind, client_ca, client_leaf, server_ca};
pub(crate) use lossy::Lossy;
pub(crate) use outage::{Clients, assert_quick, first_handshake};
pub(crate) use peer::Peer;
pub(crate) use process::SHIM;
pub(crate) use raw::{RawTls, status_of};
pub(crate) use responder::Responder;
pub(crate) use service::{Service, Serving};
pub(crate) use site::Site;
pub(crate) use token::Token;
pub(crate) use vault::{Signer, Vault};
pub(crate) use web::Web;

/// How long anything may take. Far more than it does take: two cores may be busy with a compiler.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(5);

/// Tells a figure beside the outcome of a test.
#[expect(clippy::print_stderr, reason = "a figure is told")]
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

/// The outcome of `future`, or the end of the test.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Asks until there is an answer, or the end of the test.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        sleep(LOOK).await;
    }
}
