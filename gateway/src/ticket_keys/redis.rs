//! Keys that a fleet shares in Redis: one record, which whoever comes first extends, and all read.
//!
//! Whoever writes says what he read, and only what has not changed meanwhile is replaced. While Redis is away the
//! last key seals on for `max_outage`; a gateway that has never reached it seals with a key of its own. A record
//! that does not unwrap is left as it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::random::Random;
use super::record::{KEYS_MAX, Shared, SharedKey};
use super::scope::scoped;
use super::source::Setup;
use super::wrap::{WrapKeys, WrapSource};
use super::{KeyRing, Look, Rotation, Status, TicketKey, TicketKeysError, Versions};
use crate::fleet::{FleetError, Store};

/// The longest time between looks.
const POLL_MAX: Duration = Duration::from_secs(5);

/// How often a start looks for a store that is not connected yet, and for how long: it goes on without.
const START_LOOK: Duration = Duration::from_millis(20);
const START_WAIT: Duration = Duration::from_secs(1);

/// How often another gateway may be first before this one tries again later.
const ROUNDS: usize = 8;

/// The record of a fleet, and what is known of it.
pub struct RedisKeys {
    setup: Setup,
    store: Arc<Store>,
    /// Of the record; the store puts its prefix before it.
    key: String,
    wrap: WrapSource,
    unwraps: Option<WrapKeys>,
    shared: Shared,
    /// In the order of `shared.keys`.
    tickets: Vec<Arc<TicketKey>>,
    /// Keys that left the record, and until when they open here.
    older: Vec<(Arc<TicketKey>, i64)>,
    /// Seals until Redis has answered once.
    own: Random,
    /// When it last did.
    contact: Option<i64>,
    error: Option<String>,
    failures: u64,
}

/// Seconds in which every gateway is connected again after an outage: the longest pause between two tries, and one for
/// clocks that count whole seconds.
const RETURN: i64 = 3;

impl RedisKeys {
    pub(super) fn new(setup: Setup, store: Arc<Store>, wrap: WrapSource) -> Self {
        Self {
            key: format!("{}:tickets", setup.fleet),
            own: Random::new(setup.clone(), Vec::new()),
            setup,
            store,
            wrap,
            unwraps: None,
            shared: Shared::default(),
            tickets: Vec::new(),
            older: Vec::new(),
            contact: None,
            error: None,
            failures: 0,
        }
    }

    /// The first look. A store that is away is waited for a moment; a file of wrapping keys has to be
    /// there, a token may be away.
    pub(super) async fn begin(&mut self, now: i64) -> Result<Look, TicketKeysError> {
        self.store.connect();
        let wrap = self.read_wrap().await;
        if let (WrapSource::File(_), Err(error)) = (&self.wrap, wrap) {
            return Err(TicketKeysError(error));
        }
        let end = Instant::now() + START_WAIT;
        while !self.store.health().up && Instant::now() < end {
            sleep(START_LOOK).await;
        }
        Ok(self.look(now).await)
    }

    pub(super) async fn look(&mut self, now: i64) -> Look {
        let wrap = self.read_wrap().await;
        let met = self.meet(None, now).await;
        self.error = wrap.and(met).err();
        self.failures += u64::from(self.error.is_some());
        if self.contact.is_none() {
            self.own.look_again(now);
        }
        Look {
            ring: Some(self.ring(now)),
            status: self.status(now),
            again: self.poll(),
        }
    }

    pub(super) async fn rotate(&mut self, rotation: Rotation, now: i64) -> Result<String, String> {
        self.read_wrap().await?;
        self.meet(Some(rotation), now).await?;
        let wait = self.head_start();
        Ok(match rotation {
            Rotation::Keep => format!(
                "another key seals in {wait} s, when every gateway has it; older tickets still open"
            ),
            Rotation::Revoke => {
                format!("another key seals; in {wait} s older tickets do not open on any gateway")
            }
        })
    }

    /// Reads the record and adds what is missing, or what is ordered.
    async fn meet(&mut self, order: Option<Rotation>, now: i64) -> Result<(), String> {
        for _ in 0..ROUNDS {
            let raw = self.store.get(&self.key).await.map_err(|e| self.told(&e))?;
            let wrap = self.unwraps.as_ref().ok_or("there is no wrapping key")?;
            let mut changed = raw.is_none();
            // A store that lost the record gets back what is known here.
            if let Some(raw) = &raw {
                let mut read = Shared::read(raw, wrap, &self.setup.fleet)
                    .map_err(|error| format!("{}: {error}", self.place()))?;
                // One that lost the last write forgets no revocation.
                changed |= read.floor < self.shared.floor;
                read.raise(self.shared.floor);
                self.take(read, now);
            }
            self.reached(now);
            let mut next = self.shared.clone();
            if let Some(rotation) = order {
                let wait = match rotation {
                    Rotation::Keep => self.head_start(),
                    Rotation::Revoke => 0,
                };
                next.rotate(rotation, now, now + wait)?;
                changed = true;
            }
            changed |= next.advance(&self.setup, (now, self.head_start() + RETURN))?;
            if !changed {
                return Ok(());
            }
            // Whoever writes to the store may have set it to anything.
            next.version = next.version.wrapping_add(1);
            next.prune(&self.setup, now);
            let wrap = self.unwraps.as_ref().ok_or("there is no wrapping key")?;
            let new = next.write(wrap, &self.setup.fleet)?;
            let set = self.store.compare_and_set(&self.key, raw.as_deref(), &new);
            if set.await.map_err(|error| self.told(&error))? {
                self.take(next, now);
                return Ok(());
            }
        }
        Err(format!("{}: others write all the time", self.place()))
    }

    /// Takes over what the record says from now on.
    fn take(&mut self, shared: Shared, now: i64) {
        if shared.floor > self.shared.floor {
            self.older.clear();
        }
        let (before, known) = (&self.shared.keys, &self.tickets);
        let known = |key: &SharedKey| {
            let place = before.iter().position(|known| known == key);
            place.map(|place| Arc::clone(&known[place]))
        };
        let tickets: Vec<Arc<TicketKey>> = shared
            .keys
            .iter()
            .map(|key| known(key).unwrap_or_else(|| Arc::new(ticket_key(&self.setup, key))))
            .collect();
        // What left the record without a revocation opens here for as long as its tickets live. It sealed until
        // the next one began, or until now.
        let ends = before.iter().skip(1).map(|next| next.from.min(now));
        let ends = ends.chain([now]);
        for ((key, ticket), end) in before.iter().zip(&self.tickets).zip(ends) {
            if key.id >= shared.floor && !shared.keys.contains(key) {
                let until = end + self.setup.lifetime + self.setup.clock_skew;
                self.older.push((Arc::clone(ticket), until));
            }
        }
        self.older.retain(|(_, until)| now < *until);
        let most = self.older.len().saturating_sub(KEYS_MAX);
        self.older.drain(..most);
        self.shared = shared;
        self.tickets = tickets;
    }

    /// From now on the fleet's keys seal; tickets of our own still open.
    fn reached(&mut self, now: i64) {
        if self.contact.is_none() {
            let until = now + self.setup.lifetime;
            let own = self.own.keys().iter().cloned();
            self.older.extend(own.map(|key| (key, until)));
        }
        self.contact = Some(now);
    }

    fn ring(&self, now: i64) -> KeyRing {
        let Some(contact) = self.contact else {
            let own = self.own.keys();
            return KeyRing::new(own.last().cloned(), own.to_vec());
        };
        let away = now - contact > self.setup.max_outage;
        let seals = match away {
            true => None,
            false => self.tickets.get(self.shared.seals(now)).cloned(),
        };
        let needed = self
            .tickets
            .iter()
            .skip(self.shared.needed(&self.setup, now));
        let older = self.older.iter().filter(|(_, until)| now < *until);
        let older = older.map(|(key, _)| key);
        KeyRing::new(seals, needed.chain(older).cloned().collect())
    }

    /// A file may have changed; what a token derives stays what it is.
    async fn read_wrap(&mut self) -> Result<(), String> {
        if let (WrapSource::Token(_), Some(_)) = (&self.wrap, &self.unwraps) {
            return Ok(());
        }
        self.unwraps = Some(self.wrap.read(&self.setup.fleet).await?);
        Ok(())
    }

    /// Between two looks. Each gateway looks twice before a key seals that was ordered.
    fn poll(&self) -> Duration {
        let rotate = u64::try_from(self.setup.rotate).unwrap_or(1);
        (Duration::from_secs(rotate) / 4).min(POLL_MAX)
    }

    /// Seconds in which every gateway has looked.
    fn head_start(&self) -> i64 {
        let polls = (self.poll() * 2).as_secs_f64().ceil();
        (polls as i64).max(1)
    }

    fn place(&self) -> String {
        let settings = self.store.settings();
        format!("redis {}, {}:{}", settings.name, settings.prefix, self.key)
    }

    fn told(&self, error: &FleetError) -> String {
        let name = &self.store.settings().name;
        match (error, self.store.health().error) {
            (FleetError::Away, Some(why)) => format!("redis {name}: {why}"),
            _ => format!("redis {name}: {error}"),
        }
    }

    fn status(&self, now: i64) -> Status {
        let sealing = self.shared.keys.get(self.shared.seals(now));
        Status {
            source: "redis",
            place: self.place(),
            error: match (&self.error, self.contact) {
                (Some(error), None) => Some(format!("{error}; a key of this gateway alone seals")),
                (error, _) => error.clone(),
            },
            generation: sealing.map(|key| (key.id, self.shared.floor)),
            epoch: sealing.map(|key| key.from.div_euclid(self.setup.rotate)),
            failures: self.failures,
        }
    }
}

impl std::fmt::Debug for RedisKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisKeys")
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

fn ticket_key(setup: &Setup, key: &SharedKey) -> TicketKey {
    let epoch = key.from.div_euclid(setup.rotate);
    let end = epoch.saturating_add(1).saturating_mul(setup.rotate);
    let name = format!("epoch {epoch}, key {}", key.id);
    let secret = scoped(&key.secret, setup);
    TicketKey::new(&secret, Versions::All, name, (key.from, end))
}
