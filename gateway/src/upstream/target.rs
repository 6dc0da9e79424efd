//! An upstream as all workers see it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use portcullis_config::{Balance, HashOn, Upstream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::endpoint::Endpoint;
use super::error::UpstreamError;
use super::slot::Open;
use super::sticky;
use super::tls::ClientTls;
use crate::balance::{Ask, hash};
use crate::identity::ClientIdentity;

/// An upstream: its settings, its endpoints and the bound on its requests in progress.
#[derive(Debug)]
pub struct Target {
    /// What the operator wrote.
    pub settings: Upstream,
    /// The name, for records.
    pub name: Arc<str>,
    /// How it is spoken to over TLS; `None` for plain TCP.
    pub tls: Option<ArcSwap<ClientTls>>,
    pub(super) endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Counts up when the endpoints change.
    pub(super) edition: AtomicU64,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Held by who decides on an ejection, so that two do not take the last place.
    pub(super) ejecting: Mutex<()>,
    /// Where its clock begins.
    begun: Instant,
    /// Wakes the task that tends it.
    pub(super) wake: Arc<Notify>,
    /// Whether there is that task.
    pub(super) kept: AtomicBool,
}

/// One request in progress at an upstream; given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// The endpoint it is at, where that counts.
    pub(super) open: Option<Open>,
}

impl Target {
    /// Makes the target of an upstream, or keeps the old one if its settings are the same. That one goes on as it is
    /// spoken to until [`Self::adopt`].
    pub fn reuse(
        settings: &Upstream,
        tls: Option<&Arc<ClientTls>>,
        old: &[Arc<Self>],
    ) -> Arc<Self> {
        match old.iter().find(|target| target.settings == *settings) {
            Some(target) => Arc::clone(target),
            None => Arc::new(Self::new(settings, tls)),
        }
    }

    /// Speaks TLS to it so from now on: files were read again, and tokens opened.
    pub fn adopt(&self, tls: &Arc<ClientTls>) {
        if let Some(open) = &self.tls {
            open.store(Arc::clone(tls));
        }
    }

    fn new(settings: &Upstream, tls: Option<&Arc<ClientTls>>) -> Self {
        let endpoints = settings.endpoints.iter().enumerate();
        let endpoints = endpoints.map(|(at, it)| Endpoint::new(&settings.name, (at, it), None));
        Self {
            settings: settings.clone(),
            name: settings.name.as_str().into(),
            endpoints: ArcSwap::from_pointee(endpoints.map(Arc::new).collect()),
            edition: AtomicU64::new(0),
            tls: tls.map(|tls| ArcSwap::new(Arc::clone(tls))),
            places: Arc::new(Semaphore::new(
                settings.connections.min(Semaphore::MAX_PERMITS),
            )),
            waiting: AtomicUsize::new(0),
            ejecting: Mutex::new(()),
            begun: Instant::now(),
            wake: Arc::new(Notify::new()),
            kept: AtomicBool::new(false),
        }
    }

    /// In the order of the configuration; those of now.
    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// How long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What a request says about the endpoint it belongs to; nothing where that does not count.
    pub fn ask(&self, headers: &HeaderMap, identity: &ClientIdentity) -> Ask {
        let key = match &self.settings.balance {
            Balance::Hash(on) => key(on, headers, identity),
            _ => None,
        };
        let cookie = self.settings.sticky.as_deref();
        Ask {
            key,
            sticky: cookie.and_then(|cookie| sticky::read(headers, cookie)),
            ..Ask::default()
        }
    }

    /// [`ClientTls::epoch`], where it counts.
    pub(super) fn epoch(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.load().epoch())
    }

    pub(super) async fn place(self: &Arc<Self>) -> Result<Place, UpstreamError> {
        let place = |permit| Place {
            _permit: permit,
            open: None,
        };
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place(permit));
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.settings.pending {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(UpstreamError::Busy);
        }
        let _waiting = Waiting(self);
        match timeout(
            self.settings.connect_timeout,
            Arc::clone(&self.places).acquire_owned(),
        )
        .await
        {
            Ok(Ok(permit)) => Ok(place(permit)),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Busy),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.wake.notify_one(); // Its task sees that it is gone.
    }
}

/// Counts a waiting request, also when its client goes away meanwhile.
struct Waiting<'a>(&'a Target);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn key(on: &HashOn, headers: &HeaderMap, identity: &ClientIdentity) -> Option<u64> {
    match on {
        HashOn::Header(name) => headers.get(name).map(|value| hash(value.as_bytes())),
        HashOn::Cookie(name) => sticky::cookie(headers, name).map(hash),
        HashOn::Identity => identity.verified().map(|it| hash(&it.sha256)),
    }
}
