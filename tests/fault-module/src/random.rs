//! Random numbers for jitter and chance; nothing secret comes of them.

use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Distance of two states of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, 2014): 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number drawn evenly from `0..bound`; 0 if there is none.
pub(crate) fn below(bound: u64) -> u64 {
    // The high half of a product instead of a remainder: even enough, and without a division.
    let wide = u128::from(next()) * u128::from(bound);
    u64::try_from(wide >> 64).unwrap_or_default()
}

fn next() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let seed = *SEED.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        mix(u64::try_from(now).unwrap_or_default() ^ (u64::from(process::id()) << 32))
    });
    mix(seed.wrapping_add(DRAWN.fetch_add(STEP, Ordering::Relaxed)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn numbers_are_drawn_evenly_and_within_bounds() {
        assert_eq!((below(0), below(1)), (0, 0));
        let mut seen = [0_u32; 10];
        for _ in 0..100_000 {
            seen[usize::try_from(below(10)).unwrap()] += 1;
        }
        // Nine standard deviations.
        assert!(seen.iter().all(|n| (9_100..10_900).contains(n)), "{seen:?}");
    }
}
