//! How often somebody may come (GCRA), exact over all workers.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Callers with a count of their own. An entry takes some 50 bytes.
const KEYS_MAX: usize = 100_000;
/// Counts that are shared while there are more.
const SHARED: u128 = 1024;

/// Who has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// Everybody together.
    pub const ALL: Self = Self(0);

    /// An IPv4 address, or an IPv6 network of 64 bits, which is what one customer usually has (RFC 6177).
    pub fn of_source(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u128::from(address.to_bits())),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }

    /// A name, such as a SPIFFE ID.
    pub fn of_name(parts: &[&str]) -> Self {
        // With a separator that no name has: ("a", "b") is not ("ab", "").
        let sum = digest(&SHA256, parts.join("\0").as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&sum.as_ref()[..16]);
        Self(u128::from_be_bytes(first))
    }

    /// As text, for a store.
    pub fn text(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// So many in the long run, and so many at once, for each caller.
pub struct Pace {
    limiter: DefaultKeyedRateLimiter<u128>,
    clock: DefaultClock,
    /// There are more callers than have counts of their own.
    crowded: AtomicBool,
}

impl Pace {
    /// One each `interval`, a nanosecond at least, and `burst` at once.
    pub fn new(interval: Duration, burst: NonZeroU32) -> Self {
        // Only a period of zero is none.
        let quota = Quota::with_period(interval);
        let quota = quota.unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX));
        Self {
            limiter: RateLimiter::keyed(quota.allow_burst(burst)),
            clock: DefaultClock::default(),
            crowded: AtomicBool::new(false),
        }
    }

    /// Counts a caller.
    ///
    /// # Errors
    /// It is too fast, and should wait this long.
    pub fn count(&self, key: Key) -> Result<(), Duration> {
        let key = match self.crowded.load(Ordering::Relaxed) {
            true => key.0 % SHARED,
            false => key.0,
        };
        let counted = self.limiter.check_key(&key);
        counted.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Callers with a count of their own.
    pub fn keys(&self) -> usize {
        self.limiter.len()
    }

    /// Forgets who has a full burst again. To be called every second or so.
    pub fn tidy(&self) {
        if self.limiter.len() > KEYS_MAX / 8 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let crowded = self.limiter.len() >= KEYS_MAX;
        self.crowded.store(crowded, Ordering::Relaxed);
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("keys", &self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(interval: Duration, burst: u32) -> Pace {
        Pace::new(interval, NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn the_burst_goes_at_once_and_then_somebody_has_to_wait() {
        let pace = pace(Duration::from_secs(3600), 3);
        let (a, b) = (Key::of_name(&["a"]), Key::of_name(&["b"]));
        for _ in 0..3 {
            assert_eq!(pace.count(a), Ok(()));
        }
        let wait = pace.count(a).unwrap_err();
        assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600));
        assert_eq!(pace.count(b), Ok(()), "another caller's count");
        assert_eq!(pace.keys(), 2);
    }

    #[test]
    fn four_threads_together_get_what_the_rate_gives() {
        let pace = pace(Duration::from_secs(3600), 500);
        let served = |_| (0..1000).filter(|_| pace.count(Key::ALL).is_ok()).count();
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|at| scope.spawn(move || served(at))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(all, 500);
    }

    #[test]
    fn more_callers_than_there_is_room_for_share_counts() {
        let pace = pace(Duration::from_secs(3600), 1);
        for caller in 1..=KEYS_MAX {
            assert_eq!(pace.count(Key(caller as u128)), Ok(()));
        }
        pace.tidy();
        let served = (0..100_000u128).filter(|at| pace.count(Key((1 << 64) + at)).is_ok());
        assert!(served.count() <= SHARED as usize);
        assert!(pace.keys() <= KEYS_MAX + SHARED as usize);
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_ipv6() {
        let key = |text: &str| Key::of_source(text.parse().unwrap());
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }
}
