//! Whether a token works, and when one that does not is tried again: a state machine without a clock.
//!
//! `Up` → `Recovering` at the first sign of an outage: work waits while the first try runs. A try that fails
//! makes it `Away`: work is refused at once, tries go on with jittered backoff. A try that fails for a
//! reason that only an operator can mend makes it `Refused`: it is looked at now and then, for the reason may
//! have been mended. A try that succeeds makes it `Up`.

use std::time::{Duration, Instant};

use crate::error::{ErrorClass, HsmError};

/// Failures in a row, with no success in between, that make an outage. One in a hundred that fails is none.
pub(super) const STRIKES: u32 = 5;

/// First pause between tries; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// A token that was up for this long begins its backoff anew; one that flaps does not.
const STABLE: Duration = Duration::from_secs(5);

/// The longest pause before the first try of one that flaps.
const FLAPPING: Duration = Duration::from_millis(500);

/// How often what an operator must mend is looked at. A refused PIN is not tried by this.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// How a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenState {
    /// It signs.
    Up,
    /// It failed, and is being brought back; work waits.
    Recovering,
    /// It cannot be brought back yet; work is refused at once.
    Away,
    /// Something is wrong that an operator must mend, such as the PIN; work is refused at once.
    Refused,
}

/// The state of a token, since when, and why.
pub(super) struct Mode {
    state: TokenState,
    since: Instant,
    cause: Option<HsmError>,
    /// When the next try is due, while it is not up.
    next_try: Instant,
    tries: u32,
    /// Whether the outcome of the first try is known.
    settled: bool,
}

impl Mode {
    /// Not tried yet.
    pub(super) fn new(now: Instant) -> Self {
        Mode {
            state: TokenState::Recovering,
            since: now,
            cause: None,
            next_try: now,
            tries: 0,
            settled: false,
        }
    }

    /// Something makes an outage likely. Tells whether that is news.
    pub(super) fn failed(&mut self, now: Instant, cause: HsmError) -> bool {
        if self.state != TokenState::Up {
            return false;
        }
        let pause = if now.duration_since(self.since) >= STABLE {
            self.tries = 0;
            Duration::ZERO
        } else {
            pause(self.tries, FLAPPING)
        };
        self.enter(TokenState::Recovering, now, Some(cause));
        self.next_try = now + pause;
        true
    }

    /// A try failed; the next one comes after at most `longest`, of which `jitter` (0 to 255) takes up to half.
    pub(super) fn try_failed(
        &mut self,
        now: Instant,
        cause: HsmError,
        longest: Duration,
        jitter: u8,
    ) {
        if self.state == TokenState::Up {
            return; // Another try succeeded meanwhile.
        }
        self.settled = true;
        self.tries = self.tries.saturating_add(1);
        let (state, pause) = match cause.class() {
            ErrorClass::Configuration => (TokenState::Refused, REFUSED_PAUSE),
            _ => (TokenState::Away, pause(self.tries, longest)),
        };
        if state == self.state {
            self.cause = Some(cause);
        } else {
            self.enter(state, now, Some(cause));
        }
        self.next_try = now + pause - pause * u32::from(jitter) / 512;
    }

    /// A try succeeded.
    pub(super) fn try_succeeded(&mut self, now: Instant) {
        self.settled = true;
        if self.state != TokenState::Up {
            self.enter(TokenState::Up, now, None);
        }
    }

    /// Another try is due at this moment; `None` while up.
    pub(super) fn next_try(&self) -> Option<Instant> {
        (self.state != TokenState::Up).then_some(self.next_try)
    }

    /// A try has begun: no other before this moment, though its outcome may take longer.
    pub(super) fn trying_until(&mut self, next: Instant) {
        self.next_try = next;
    }

    pub(super) fn state(&self) -> TokenState {
        self.state
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn cause(&self) -> Option<&HsmError> {
        self.cause.as_ref()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether work may wait for a session: it is up, or may be in a moment.
    pub(super) fn takes_work(&self) -> bool {
        matches!(self.state, TokenState::Up | TokenState::Recovering)
    }

    fn enter(&mut self, state: TokenState, now: Instant, cause: Option<HsmError>) {
        (self.state, self.since, self.cause) = (state, now, cause);
    }
}

fn pause(tries: u32, longest: Duration) -> Duration {
    match tries {
        0 => Duration::ZERO,
        tries => (FIRST_PAUSE * 2_u32.saturating_pow((tries - 1).min(16))).min(longest),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Mode, TokenState};
    use crate::error::HsmError;

    const LONGEST: Duration = Duration::from_millis(500);

    fn lost() -> HsmError {
        HsmError::SignerLost {
            reason: "test".to_owned(),
        }
    }

    fn wrong_pin() -> HsmError {
        HsmError::PinUnusable {
            token: "test".to_owned(),
        }
    }

    #[test]
    fn tries_come_at_most_the_longest_pause_apart_and_never_all_at_once() {
        let mut now = Instant::now();
        let mut mode = Mode::new(now);
        assert_eq!(mode.next_try(), Some(now));
        let mut pauses = Vec::new();
        // An hour of an absent token.
        let end = now + Duration::from_secs(3600);
        while now < end {
            mode.try_failed(now, lost(), LONGEST, 255);
            let next = mode.next_try().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert!(
            pauses
                .iter()
                .all(|p| *p <= LONGEST && *p >= Duration::from_millis(12))
        );
        assert!(pauses.len() < 3600 * 5, "{}", pauses.len());
        assert_eq!(mode.state(), TokenState::Away);
        mode.try_succeeded(now);
        assert_eq!((mode.state(), mode.next_try()), (TokenState::Up, None));
    }

    #[test]
    fn the_first_try_after_a_stable_time_comes_at_once_and_that_of_a_flapping_token_later() {
        let now = Instant::now();
        let mut mode = Mode::new(now);
        mode.try_failed(now, lost(), LONGEST, 0);
        mode.try_succeeded(now);
        let later = now + Duration::from_secs(60);
        assert!(mode.failed(later, lost()));
        assert!(mode.takes_work(), "work waits while the first try runs");
        assert!(!mode.failed(later, lost()), "it is known");
        assert_eq!(mode.next_try(), Some(later));
        mode.try_failed(later, lost(), LONGEST, 0);
        assert!(!mode.takes_work());
        mode.try_succeeded(later);
        mode.failed(later, lost());
        assert!(mode.next_try().unwrap() > later);
    }

    #[test]
    fn a_wrong_pin_is_looked_at_slowly() {
        let now = Instant::now();
        let mut mode = Mode::new(now);
        mode.try_failed(now, wrong_pin(), LONGEST, 0);
        assert_eq!(mode.state(), TokenState::Refused);
        assert!(mode.next_try().unwrap() - now >= Duration::from_secs(1));
        assert!(mode.is_settled() && mode.cause().is_some());
    }
}
