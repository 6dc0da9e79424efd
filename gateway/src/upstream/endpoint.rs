//! An endpoint as all workers see it.
//!
//! Workers look at it for every request and write only what changed, so that its memory stays with all of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_config::Endpoint as Address;

use super::ejection::Cause;

/// Bits of `out`.
const EJECTED: u8 = 1;
const UNWELL: u8 = 2;

/// The whole share of an endpoint; less while it starts slowly.
const WARM: u32 = 256;
/// What it starts slowly with: a tenth.
const COLD: u32 = 26;

/// One host and port of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// DNS name or IP literal, as it was written.
    pub host: String,
    /// The address of the name that this is, where it was looked up in time.
    pub(super) ip: Option<IpAddr>,
    /// Its place in the configuration, which it shares with the other addresses of its name.
    pub(super) written: usize,
    /// TCP port.
    pub port: u16,
    /// What tells it from the others, at every gateway of a fleet alike.
    pub(super) name: u64,
    weight: u32,
    requests: AtomicU64,
    /// Why it gets no requests; 0 when it does.
    out: AtomicU8,
    /// Of [`WARM`].
    warmth: AtomicU32,
    /// Since when it warms up; 0 when it does not. This and the next are milliseconds of its target's clock.
    pub(super) warms_since: AtomicU64,
    /// When it comes back from an ejection.
    pub(super) back_at: AtomicU64,
    /// Failures in a row.
    pub(super) failures: AtomicU32,
    ejections: [AtomicU64; Cause::ALL.len()],
    /// Answers to health checks in a row: good ones above 0, bad ones below.
    row: AtomicI32,
}

impl Endpoint {
    /// The endpoint that stands at a place in the configuration, or one address of its name.
    pub(super) fn new(
        upstream: &str,
        (written, address): (usize, &Address),
        ip: Option<IpAddr>,
    ) -> Self {
        let host = ip.map_or_else(|| address.host.clone(), |ip| ip.to_string());
        // The upstream's name is in it: who has seen one digest knows nothing of another upstream's.
        let text = format!("{upstream} {host}:{}", address.port);
        let mut name = [0; 8];
        name.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..8]);
        Self {
            host: address.host.clone(),
            ip,
            written,
            port: address.port,
            name: u64::from_be_bytes(name),
            weight: address.weight,
            requests: AtomicU64::new(0),
            out: AtomicU8::new(0),
            warmth: AtomicU32::new(WARM),
            warms_since: AtomicU64::new(0),
            back_at: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            ejections: Default::default(),
            row: AtomicI32::new(0),
        }
    }

    /// `HOST:PORT`, or the address with its port, for people.
    pub fn label(&self) -> String {
        match self.ip {
            Some(ip) => SocketAddr::new(ip, self.port).to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// Requests that were given to it.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether it gets requests: not ejected, and well as far as is known.
    pub fn is_up(&self) -> bool {
        self.out.load(Ordering::Relaxed) == 0
    }

    /// How often it was ejected for this.
    pub fn ejections(&self, cause: Cause) -> u64 {
        self.ejections[cause as usize].load(Ordering::Relaxed)
    }

    /// Its share beside the others' now.
    pub(super) fn weight(&self) -> u32 {
        self.weight * self.warmth.load(Ordering::Relaxed)
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A request to it went well.
    pub(super) fn succeeded(&self) {
        // Read first: a memory that everybody writes to is with nobody.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.out.load(Ordering::Relaxed) & EJECTED != 0
    }

    /// Leaves it out; `false` where it was already.
    pub(super) fn eject(&self, cause: Cause) -> bool {
        let first = self.out.fetch_or(EJECTED, Ordering::Relaxed) & EJECTED == 0;
        if first {
            self.ejections[cause as usize].fetch_add(1, Ordering::Relaxed);
        }
        first
    }

    /// Takes it back.
    pub(super) fn readmit(&self) {
        self.out.fetch_and(!EJECTED, Ordering::Relaxed);
    }

    /// One more good answer to a health check; whether it is well again by that.
    pub(super) fn well(&self, needed: u32) -> bool {
        let row = self.row.load(Ordering::Relaxed).max(0).saturating_add(1);
        self.row.store(row, Ordering::Relaxed);
        let unwell = self.out.load(Ordering::Relaxed) & UNWELL != 0;
        let back = unwell && row.unsigned_abs() >= needed;
        if back {
            self.out.fetch_and(!UNWELL, Ordering::Relaxed);
        }
        back
    }

    /// One more bad answer; whether it is left out by that.
    pub(super) fn unwell(&self, needed: u32) -> bool {
        let row = self.row.load(Ordering::Relaxed).min(0).saturating_sub(1);
        self.row.store(row, Ordering::Relaxed);
        row.unsigned_abs() >= needed && self.out.fetch_or(UNWELL, Ordering::Relaxed) & UNWELL == 0
    }

    /// How warm it is after `age` of a slow start that takes `whole`; whether there is more to come.
    pub(super) fn warm_up(&self, age: Duration, whole: Duration) -> bool {
        let share = age.as_secs_f64() / whole.as_secs_f64();
        let warmth = COLD + (f64::from(WARM - COLD) * share.min(1.0)) as u32;
        self.warmth.store(warmth, Ordering::Relaxed);
        warmth < WARM
    }
}
