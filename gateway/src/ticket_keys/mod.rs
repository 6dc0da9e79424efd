//! Where the keys of session tickets come from, and when they change.
//!
//! Network threads look at a [`KeyRing`], which is replaced whole; a source on the control runtime makes the next
//! one ahead of time. A source that fails takes nothing away from the ring that is there, except that in the end
//! nothing is sealed any more: a handshake never waits for a key.

mod file;
mod hsm;
mod random;
mod redis;
mod ring;
mod source;

mod key_file;
mod record;
mod scope;
mod wrap;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use key_file::generate_line;
pub use ring::{Binding, KeyRing, OVERHEAD, OpenError, TicketKey, Versions};
pub use source::{Setup, Source};
pub use wrap::WrapSource;

/// Orders that may wait: people give them.
const ORDERS: usize = 4;
/// How long an order may take.
const ORDER_LIMIT: Duration = Duration::from_secs(30);

/// The ring in force, and the way to its source.
pub struct TicketKeys {
    ring: ArcSwap<KeyRing>,
    status: Mutex<Status>,
    /// The lowest generation that opens, as it was seen last.
    floor: Mutex<Option<Floor>>,
    /// Counts revocations.
    era: AtomicU64,
    orders: mpsc::Sender<Order>,
    /// Taken by the task that keeps the ring fresh.
    begun: Mutex<Option<(Source, mpsc::Receiver<Order>)>>,
}

/// How a source is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// `random`, `hsm`, `file`, `redis`.
    pub source: &'static str,
    /// Where: a URI, a path. Never a secret.
    pub place: String,
    /// What went wrong last; `None` where all is well.
    pub error: Option<String>,
    /// Generation that seals, and the lowest that opens, where the source counts them.
    pub generation: Option<(u64, u64)>,
    /// The epoch that seals.
    pub epoch: Option<i64>,
    /// Failures so far.
    pub failures: u64,
}

/// Whether older keys still open after a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// They do: a key is replaced, nobody loses a session.
    Keep,
    /// They do not: every session ends.
    Revoke,
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketKeysError(pub String);

/// What one look at a source found.
#[derive(Debug)]
pub struct Look {
    /// The ring from now on; `None` leaves it.
    pub ring: Option<KeyRing>,
    /// How the source is.
    pub status: Status,
    /// When to look again.
    pub again: Duration,
}

/// A lowest generation, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Floor {
    source: &'static str,
    place: String,
    lowest: u64,
}

struct Order {
    rotation: Rotation,
    reply: oneshot::Sender<Result<String, String>>,
}

impl fmt::Display for TicketKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TicketKeysError {}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys")
            .field("ring", &self.ring.load())
            .finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// Keys that a source will bring: see [`Self::begin`].
    pub fn new(source: Source) -> Self {
        Self::after(source, None)
    }

    /// The same, in place of the keys of `old`.
    pub fn after(source: Source, old: Option<&Self>) -> Self {
        let (orders, receiver) = mpsc::channel(ORDERS);
        let floor = old.and_then(|old| lock(&old.floor).clone());
        Self {
            ring: ArcSwap::default(),
            status: Mutex::default(),
            floor: Mutex::new(floor),
            era: AtomicU64::new(old.map_or(0, Self::era)),
            orders,
            begun: Mutex::new(Some((source, receiver))),
        }
    }

    /// Takes the first look, and keeps the ring fresh from then on, for as long as somebody holds these keys. Call it
    /// on the control runtime; again does nothing.
    ///
    /// # Errors
    /// The source cannot give keys and will not by itself.
    pub async fn begin(self: &Arc<Self>) -> Result<(), TicketKeysError> {
        let begun = lock(&self.begun).take();
        let Some((mut source, orders)) = begun else {
            return Ok(());
        };
        let look = source.begin(unix_now()).await?;
        let again = look.again;
        self.adopt(look);
        tokio::spawn(keep_fresh(Arc::downgrade(self), source, orders, again));
        Ok(())
    }

    /// The keys of now.
    pub fn ring(&self) -> Guard<Arc<KeyRing>> {
        self.ring.load()
    }

    /// Changes with each revocation, wherever in the fleet it was ordered: no session from before it counts any more,
    /// whether it is sealed or kept.
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// How the source is.
    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Has another key seal from now on, at once and over the fleet, as far as the source reaches. Says what was done.
    ///
    /// # Errors
    /// The source cannot, or does not answer.
    pub async fn rotate(&self, rotation: Rotation) -> Result<String, TicketKeysError> {
        let (reply, answer) = oneshot::channel();
        let order = Order { rotation, reply };
        let gone = || TicketKeysError("the source of ticket keys does not answer".to_owned());
        let asked = async {
            self.orders.send(order).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?.map_err(TicketKeysError)
        };
        match tokio::time::timeout(ORDER_LIMIT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(gone()),
        }
    }

    fn adopt(&self, look: Look) {
        let mut revoked = self.is_raised(&look.status);
        if let Some(ring) = look.ring {
            let ring = Arc::new(ring);
            let before = self.ring.swap(Arc::clone(&ring));
            // A key is in the ring for as long as it may have sealed tickets, unless they are not to count.
            revoked |= before.seals().is_some_and(|key| !ring.has(key));
        }
        if revoked {
            self.era.fetch_add(1, Ordering::Release);
        }
        let mut status = lock(&self.status);
        match (&status.error, &look.status.error) {
            (before, Some(error)) if before.as_ref() != Some(error) => {
                tracing::warn!(source = look.status.source, error, "ticket keys");
            }
            (Some(_), None) => {
                tracing::info!(source = look.status.source, "ticket keys are well again");
            }
            _ => {}
        }
        *status = look.status;
    }

    /// Whether a source tells of a revocation that it had not told of before. After an outage nothing may have been
    /// sealed for a while, so that keys alone do not show it.
    fn is_raised(&self, status: &Status) -> bool {
        let Some((_, lowest)) = status.generation else {
            return false;
        };
        let told = Floor {
            source: status.source,
            place: status.place.clone(),
            lowest,
        };
        let before = lock(&self.floor).replace(told);
        before.is_some_and(|before| {
            let same = (before.source, &before.place) == (status.source, &status.place);
            same && before.lowest < lowest
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_fresh(
    keys: std::sync::Weak<TicketKeys>,
    mut source: Source,
    mut orders: mpsc::Receiver<Order>,
    mut again: Duration,
) {
    let mut due = Instant::now() + again;
    loop {
        let order = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => Some(order),
                None => return, // Nobody holds these keys any more.
            },
            () = tokio::time::sleep_until(due) => None,
        };
        let reply = match order {
            Some(Order { rotation, reply }) => {
                let done = source.rotate(rotation, unix_now()).await;
                Some((reply, done))
            }
            None => None,
        };
        let look = source.look(unix_now()).await;
        again = look.again;
        due = Instant::now() + again;
        let Some(keys) = keys.upgrade() else { return };
        keys.adopt(look);
        // Told when the ring is in force; the asker may be gone.
        if let Some((reply, done)) = reply {
            let _ = reply.send(done);
        }
    }
}

/// Seconds since the Unix epoch.
pub fn unix_now() -> i64 {
    let now = rustls_pki_types::UnixTime::now().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod redis_tests;
#[cfg(test)]
mod tests;
