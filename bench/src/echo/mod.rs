//! An upstream that tells what it was sent: HTTP/1.1 and HTTP/2 with prior knowledge on one port.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET` anything | 200, JSON of method, path, version and header fields as they arrived |
//! | `POST`, `PUT`, `PATCH` anything | 200, the body as it comes in, trailers too |
//! | any method, `/status/N` | status N without a body |
//! | any method, `/bytes/N` | 200, N bytes |
//! | any method, `/slow/MS` | 200 after this many milliseconds (at most a minute) |
//! | any method, `/upload` | 200, JSON of the body's length and SHA-256, once it was read |
//! | any method, `/trailers` | 200, a body and the trailer `x-echo-trailer: end` |
//!
//! Everything that arrived is recorded, also the raw bytes, so that a test can see what the gateway
//! really wrote.

mod answer;
mod record;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use record::{Record, SeenRequest};

use record::Recorded;

/// Connections served at the same time; more wait.
const MAX_CONNECTIONS: usize = 4_096;

/// A running echo upstream. It ends when this is dropped.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    record: Record,
    // Aborts the accept loop, and with it every connection, on drop.
    _accepting: JoinSet<()>,
}

impl Echo {
    /// Starts on a free port of the loopback interface, on the current runtime.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts on this address.
    pub async fn start_on(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr()?;
        let record = Record::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, record.clone()));
        Ok(Self {
            address,
            record,
            _accepting: accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived so far.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

async fn accept(listener: TcpListener, record: Record) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    // The semaphore is never closed, so this ends only when the task is aborted.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        // A failed accept is a client that went away or a lack of descriptors; both pass.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let record = record.clone();
        connections.spawn(async move {
            serve(stream, record).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One connection. How it ends is the client's business.
async fn serve(stream: TcpStream, record: Record) {
    // An answer is often head and body in two writes; Nagle's algorithm would hold the second back.
    let _ = stream.set_nodelay(true);
    let stream = Recorded::new(stream, record.open_connection());
    let service = service_fn(|request| {
        record.note(&request);
        answer::answer(request)
    });
    let _ = Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests;
