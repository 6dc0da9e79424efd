//! An endpoint as all workers see it.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_config::Endpoint as Address;

/// One host and port of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// DNS name or IP literal.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What tells it from the others, at every gateway of a fleet alike.
    pub(super) name: u64,
    pub(super) weight: u32,
    requests: AtomicU64,
}

impl Endpoint {
    pub(super) fn new(upstream: &str, address: &Address) -> Self {
        // The upstream's name is in it: who has seen one digest knows nothing of another upstream's.
        let text = format!("{upstream} {}:{}", address.host, address.port);
        let mut name = [0; 8];
        name.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..8]);
        Self {
            host: address.host.clone(),
            port: address.port,
            name: u64::from_be_bytes(name),
            weight: address.weight,
            requests: AtomicU64::new(0),
        }
    }

    /// Requests that were given to it.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// `HOST:PORT`, for people.
    pub fn label(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}
