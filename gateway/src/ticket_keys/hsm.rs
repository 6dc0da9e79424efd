//! Keys that are derived from a secret in a token, the same in every gateway that has it.
//!
//! Nobody hands a key to anybody: each gateway derives the keys of the epochs around its own clock, the next ones
//! ahead of time. What it promises: they seal TLS 1.3 sessions alone, for what was derived once can be derived
//! again; while the token is away the ring goes on with what is there, and gives out no more tickets in
//! the end, but opens those that are out; a generation that was seen is never forgotten for an older one.

mod kept;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use portcullis_hsm::{Generation, HsmError, Secret};
use zeroize::Zeroizing;

use self::kept::Kept;
use self::plan::KeyId;
use super::source::Setup;
use super::{KeyRing, Look, Rotation, Status, TicketKey, TicketKeysError, Versions};

/// The longest pause between two looks at the generation in the token, seconds.
const LOOK: i64 = 10;
/// The pause after a failure, seconds. A token that is away refuses at once.
const LOOK_AFTER_FAILURE: i64 = 1;

/// Keys that sealed past their end and are kept for that: one for each outage.
const OVERDUE: usize = 16;

/// Keys that are derived in one look, for each root. What seals comes first; where there are so many that this is
/// not enough, older tickets open some looks after the start.
const DERIVED: usize = 256;

/// What keys are derived from.
pub trait Root: Send + Sync {
    /// Its name for people.
    fn place(&self) -> &str;
    /// 32 bytes of which each context has its own.
    fn derive(
        &self,
        context: &[u8],
    ) -> impl Future<Output = Result<Zeroizing<[u8; 32]>, HsmError>> + Send;
    /// The generation that is kept beside it.
    fn generation(&self) -> impl Future<Output = Result<Generation, HsmError>> + Send;
}

impl Root for Secret {
    fn place(&self) -> &str {
        &self.info().uri
    }

    async fn derive(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, HsmError> {
        Secret::derive(self, context).await
    }

    async fn generation(&self) -> Result<Generation, HsmError> {
        Secret::generation(self).await
    }
}

/// Derives the key of each epoch from one or more roots: the first seals, all open.
#[derive(Debug)]
pub struct Hsm<R = Secret> {
    setup: Setup,
    roots: Vec<Kept<R>>,
    keys: HashMap<KeyId, Arc<TicketKey>>,
    /// The last look at which the first root did all that was asked of it.
    last_success: i64,
    sealing: Option<KeyId>,
    /// Keys that sealed longer than their epoch, and until when: they open for the life of a ticket from then on.
    overdue: VecDeque<(KeyId, i64)>,
    /// What is in the ring that was handed out last, to hand out the next one only where it is another.
    told: Vec<KeyId>,
    /// There was more to derive than is done in one look.
    unfinished: bool,
    error: Option<String>,
    failures: u64,
}

impl<R: Root> Hsm<R> {
    pub(super) fn new(setup: Setup, roots: Vec<R>) -> Self {
        Self {
            setup,
            roots: roots.into_iter().map(Kept::new).collect(),
            keys: HashMap::new(),
            last_success: i64::MIN,
            sealing: None,
            overdue: VecDeque::new(),
            told: Vec::new(),
            unfinished: false,
            error: None,
            failures: 0,
        }
    }

    /// The first look. Without a key to seal with there is nothing to go on with.
    pub(super) async fn begin(&mut self, now: i64) -> Result<Look, TicketKeysError> {
        let look = self.look(now).await;
        match (self.sealing, &self.error) {
            (None, Some(error)) => Err(TicketKeysError(error.clone())),
            _ => Ok(look),
        }
    }

    /// Reads the generations, derives what is missing, and makes a ring of what is there.
    pub(super) async fn look(&mut self, now: i64) -> Look {
        self.error = None;
        self.unfinished = false;
        // A clock that was set back must not make an outage longer.
        self.last_success = self.last_success.min(now);
        for at in 0..self.roots.len() {
            match self.refresh(at, now).await {
                Ok(()) if at == 0 => self.last_success = now,
                Ok(()) => {}
                Err(error) => self.failed(at, &error),
            }
        }
        self.note_overdue(now);
        let there = self.keys.keys().copied();
        let newest = self.roots.first().map_or(0, |kept| kept.seals(now));
        let there = there.filter(|id| id.generation <= newest);
        self.sealing = plan::seals(&self.setup, there, now, self.last_success);
        self.forget(now);
        Look {
            ring: self.ring(),
            status: self.status(),
            again: self.again(now),
        }
    }

    /// Reads the generation now. It is raised in the token, in a session that may write, which no gateway has.
    pub(super) async fn rotate(&mut self, rotation: Rotation, now: i64) -> Result<String, String> {
        for at in 0..self.roots.len() {
            let read = self.read_generation(at, now).await;
            let kept = read.map_err(|error| error.to_string())?;
            if rotation == Rotation::Revoke && kept.floor < kept.current {
                return Err(format!(
                    "`{}` still accepts generation {}: revoke in its token first",
                    self.roots[at].root.place(),
                    kept.floor
                ));
            }
        }
        let Generation { current, floor } = self.generation();
        let when = match self.waits(now) {
            0 => String::new(),
            wait => format!(" in {wait} s, when every gateway has seen it"),
        };
        Ok(format!(
            "generation {current} of the token seals{when}; tickets open from generation {floor} on"
        ))
    }

    async fn read_generation(&mut self, at: usize, now: i64) -> Result<Generation, HsmError> {
        let kept = &mut self.roots[at];
        let read = kept.root.generation().await?;
        let highest = kept.note(read, now);
        if highest != read {
            self.error = Some(format!(
                "`{}` has generation {} in its token and had {} before: the higher one stays in force here, \
                 raise it in the token again",
                kept.root.place(),
                read.current,
                highest.current
            ));
        }
        Ok(highest)
    }

    /// What a root can give, until its first failure: what is away would let each try run into its deadline.
    async fn refresh(&mut self, at: usize, now: i64) -> Result<(), HsmError> {
        let kept = self.read_generation(at, now).await?;
        let mut missing = plan::wanted(&self.setup, at, kept, now);
        missing.retain(|id| !self.keys.contains_key(id));
        self.unfinished |= missing.len() > DERIVED;
        for id in missing.into_iter().take(DERIVED) {
            let context = plan::context(&self.setup, id);
            let secret = self.roots[at].root.derive(&context).await?;
            let name = match id.root {
                0 => format!("epoch {}, generation {}", id.epoch, id.generation),
                other => format!(
                    "epoch {}, generation {}, root {}",
                    id.epoch,
                    id.generation,
                    other + 1
                ),
            };
            let period = plan::period(&self.setup, id.epoch);
            let key = TicketKey::new(&secret, Versions::Tls13, name, period);
            self.keys.insert(id, Arc::new(key));
        }
        Ok(())
    }

    fn failed(&mut self, at: usize, error: &HsmError) {
        self.failures += 1;
        let told = format!("`{}`: {error}", self.roots[at].root.place());
        // The first root is the one that matters most.
        self.error = Some(self.error.take().unwrap_or(told));
    }

    /// Notes that the key which sealed until now did so for longer than its epoch.
    fn note_overdue(&mut self, now: i64) {
        let Some(sealing) = self.sealing else { return };
        let (_, end) = plan::period(&self.setup, sealing.epoch + 1);
        if now < end {
            return;
        }
        self.overdue.retain(|(id, _)| *id != sealing);
        self.overdue.push_back((sealing, now));
        if self.overdue.len() > OVERDUE {
            self.overdue.pop_front();
        }
    }

    /// Drops keys whose tickets have all ended.
    fn forget(&mut self, now: i64) {
        let life = self.setup.lifetime.saturating_add(self.setup.clock_skew);
        self.overdue
            .retain(|(_, sealed)| now <= sealed.saturating_add(life));
        let roots = self.roots.iter().enumerate();
        let wanted: HashSet<KeyId> = roots
            .flat_map(|(at, kept)| plan::wanted(&self.setup, at, kept.generation(), now))
            .chain(self.overdue.iter().map(|(id, _)| *id))
            .chain(self.sealing)
            .collect();
        // A clock that is set back may be set right again while the token is away.
        let current = plan::epoch(&self.setup, now);
        let keep_ahead = self.error.is_some();
        let roots = &self.roots;
        self.keys.retain(|id, _| {
            let ahead = keep_ahead && id.epoch > current;
            (wanted.contains(id) || ahead) && id.generation >= roots[id.root].generation().floor
        });
        // Nothing that was revoked seals, whatever else there is.
        self.sealing = self.sealing.filter(|id| self.keys.contains_key(id));
    }

    /// The ring, if it is another than before.
    fn ring(&mut self) -> Option<KeyRing> {
        let mut ids: Vec<KeyId> = self.keys.keys().copied().collect();
        ids.sort_unstable();
        let mark = ids.iter().copied().chain(self.sealing).collect();
        if self.told == mark {
            return None;
        }
        self.told = mark;
        let key = |id: &KeyId| self.keys.get(id).map(Arc::clone);
        let sealing = self.sealing.as_ref().and_then(key);
        Some(KeyRing::new(sealing, ids.iter().filter_map(key).collect()))
    }

    /// That of the root which seals.
    fn generation(&self) -> Generation {
        self.roots.first().map(Kept::generation).unwrap_or_default()
    }

    /// Seconds until its generation seals.
    fn waits(&self, now: i64) -> i64 {
        self.roots.first().map_or(0, |kept| kept.waits(now))
    }

    fn status(&self) -> Status {
        let places: Vec<_> = self.roots.iter().map(|kept| kept.root.place()).collect();
        let Generation { current, floor } = self.generation();
        Status {
            source: "hsm",
            place: places.join(", "),
            error: self.error.clone(),
            generation: Some((current, floor)),
            epoch: self.sealing.map(|id| id.epoch),
            failures: self.failures,
        }
    }

    fn again(&self, now: i64) -> Duration {
        let (_, end) = plan::period(&self.setup, plan::epoch(&self.setup, now));
        let pause = match self.error {
            Some(_) => LOOK_AFTER_FAILURE,
            None if self.unfinished => 0,
            None => {
                let next = LOOK.min(end.saturating_sub(now));
                match self.waits(now) {
                    0 => next.max(1),
                    wait => next.min(wait).max(1),
                }
            }
        };
        Duration::from_secs(u64::try_from(pause).unwrap_or(1))
    }
}
