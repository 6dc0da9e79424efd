//! A root and its generation, and which generation seals while the fleet takes note of a new one.
//!
//! A generation that was raised to replace a key, and not to revoke one, seals only when every gateway has had the time
//! to look: nobody is given a ticket that another gateway cannot open yet.

use portcullis_hsm::Generation;

use super::LOOK;

/// From the moment a generation is seen here until it seals, seconds: everybody looks once in this time.
pub(super) const HEAD_START: i64 = LOOK + 2;

/// A root with its generation, which is counted for each.
#[derive(Debug)]
pub(super) struct Kept<R> {
    pub(super) root: R,
    /// The highest that was seen; `None` before the first look.
    pub(super) generation: Option<Generation>,
    /// The generation that sealed before, and when the one of now was seen.
    before: Option<(u64, i64)>,
}

impl<R> Kept<R> {
    pub(super) fn new(root: R) -> Self {
        Self {
            root,
            generation: None,
            before: None,
        }
    }

    /// The highest generation that was seen.
    pub(super) fn generation(&self) -> Generation {
        self.generation.unwrap_or_default()
    }

    /// Takes note of what stands in the token at `now`: the generation from now on.
    pub(super) fn note(&mut self, read: Generation, now: i64) -> Generation {
        let known = self.generation();
        let highest = known.max(read);
        if self.generation.is_some() && highest.current > known.current {
            self.before = Some((self.seals(now), now));
        }
        self.generation = Some(highest);
        highest
    }

    /// The generation that seals at `now`. Never one that was revoked.
    pub(super) fn seals(&self, now: i64) -> u64 {
        let Generation { current, floor } = self.generation();
        match self.before {
            Some((before, _)) if self.waits(now) > 0 => before.max(floor),
            _ => current,
        }
    }

    /// Seconds until the generation that was seen last seals. A clock that was set back does not make them more.
    pub(super) fn waits(&self, now: i64) -> i64 {
        let Some((before, seen)) = self.before else {
            return 0;
        };
        let past = now.saturating_sub(seen);
        match before >= self.generation().floor && (0..HEAD_START).contains(&past) {
            true => HEAD_START - past,
            false => 0,
        }
    }
}
