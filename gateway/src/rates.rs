//! Rate limits of sites and routes: who counts as whom, and whether the process counts or a fleet's Redis.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_config::{Config, RateLimit as Settings, RatePer, WhenAway};
use tokio::time::{MissedTickBehavior, interval};

use crate::fleet::{Store, Stores};
use crate::identity::ClientIdentity;
use crate::limit::{Key, Pace};

/// How often limits are tidied.
const TIDY: Duration = Duration::from_secs(1);

/// A rate limit with its counts. It outlives a reload that does not change it.
#[derive(Debug)]
pub struct RateLimit {
    settings: Settings,
    pace: Pace,
    /// Counts for a fleet.
    store: Option<Arc<Store>>,
    refused: AtomicU64,
    fallbacks: AtomicU64,
    kept: AtomicBool,
}

/// Why a request does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The caller is too fast, and should wait this long.
    TooFast(Duration),
    /// Nobody counts, and then nobody may ask.
    Unknown,
}

impl RateLimit {
    /// The limits of a configuration, in its order.
    pub fn all(config: &Config, stores: &Stores, old: &[Arc<Self>]) -> Vec<Arc<Self>> {
        let limits = config.rate_limits.iter();
        let limits = limits.map(|settings| {
            let store = settings.redis.and_then(|at| stores.get(at)).cloned();
            let same = |old: &&Arc<Self>| {
                let stores = (&old.store, &store);
                let same_store = match stores {
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                    (old, new) => old.is_none() && new.is_none(),
                };
                old.settings == *settings && same_store
            };
            match old.iter().find(same) {
                Some(limit) => Arc::clone(limit),
                None => Arc::new(Self::new(settings, store)),
            }
        });
        limits.collect()
    }

    fn new(settings: &Settings, store: Option<Arc<Store>>) -> Self {
        Self {
            pace: Pace::new(settings.rate.interval(), settings.burst),
            settings: settings.clone(),
            store,
            refused: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
            kept: AtomicBool::new(false),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Counts a request.
    ///
    /// # Errors
    /// It must not go on.
    pub async fn count(&self, source: IpAddr, identity: &ClientIdentity) -> Result<(), Stopped> {
        let key = self.key(source, identity);
        let counted = match &self.store {
            None => self.count_here(key),
            Some(store) => self.count_there(store, key).await,
        };
        if counted.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    fn key(&self, source: IpAddr, identity: &ClientIdentity) -> Key {
        match (self.settings.per, identity.verified()) {
            (RatePer::All, _) => Key::ALL,
            (RatePer::Identity, Some(identity)) => match &identity.spiffe {
                Some(id) => Key::of_name(&[id]),
                None => Key::of_name(&[&identity.issuer, &identity.subject]),
            },
            (RatePer::Identity, None) | (RatePer::Source, _) => Key::of_source(source),
        }
    }

    fn count_here(&self, key: Key) -> Result<(), Stopped> {
        self.pace.count(key).map_err(Stopped::TooFast)
    }

    async fn count_there(&self, store: &Store, key: Key) -> Result<(), Stopped> {
        let name = format!("rate:{}:{}", self.settings.name, key.text());
        let (interval, burst) = (self.settings.rate.interval(), self.settings.burst.get());
        match store.count(&name, interval, burst).await {
            Ok(None) => Ok(()),
            Ok(Some(wait)) => Err(Stopped::TooFast(wait)),
            Err(_) => {
                self.fallbacks.fetch_add(1, Ordering::Relaxed);
                match self.settings.when_away {
                    WhenAway::Local => self.count_here(key),
                    WhenAway::Allow => Ok(()),
                    WhenAway::Refuse => Err(Stopped::Unknown),
                }
            }
        }
    }

    /// Requests that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests for which its Redis did not answer.
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    /// Callers with a count of their own in this process.
    pub fn keys(&self) -> usize {
        self.pace.keys()
    }
}

/// Has a limit forget callers that are even with their rate, for as long as somebody holds it. Call within the control
/// runtime; again does nothing.
pub fn keep(limit: &Arc<RateLimit>) {
    if limit.kept.swap(true, Ordering::Relaxed) {
        return;
    }
    let limit = Arc::downgrade(limit);
    tokio::spawn(async move {
        let mut tick = interval(TIDY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match limit.upgrade() {
                Some(limit) => limit.pace.tidy(),
                None => return,
            }
        }
    });
}
