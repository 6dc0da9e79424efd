//! A hash that is the same in every process, and the order in which endpoints stand for a value.

/// FNV-1a, 64 bits, mixed once more. It keeps nobody out: who chooses the value chooses the endpoint anyway.
pub fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(folded)
}

/// How much an endpoint wants a value; the highest bid gets it (weighted rendezvous hashing). An endpoint that
/// goes takes nothing with it but what it had, and weights are met exactly.
pub(super) fn bid(name: u64, key: u64, weight: u32) -> f64 {
    // 53 bits are what a float holds; the half keeps the logarithm away from 0 and from 1.
    let drawn = (mix(name ^ key.rotate_left(32)) >> 11) as f64 + 0.5;
    let uniform = drawn / (1_u64 << 53) as f64;
    f64::from(weight) / -uniform.ln()
}

/// The finalizer of SplitMix64.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
