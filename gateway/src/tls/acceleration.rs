//! Which CPU paths AES takes, and how fast they are: an empty `OPENSSL_ia32cap` in the environment alone
//! makes AES thirty times slower, and nobody notices until the bill comes.

use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Plaintext of a full TLS record.
const RECORD: usize = 16 * 1024;
/// The self-measurement takes this long, this many times.
const SLICE: Duration = Duration::from_micros(500);
const SLICES: usize = 8;
/// A CPU with AES instructions does several times this, whatever else the machine is doing.
const SLOW_BYTES_PER_SECOND: f64 = 1.0e9;

/// What was found at start.
#[derive(Debug, Clone, PartialEq)]
pub struct Acceleration {
    /// Instruction sets of this CPU that aws-lc has paths for, by name, and whether they are there.
    pub features: Vec<(&'static str, bool)>,
    /// AES-128-GCM sealing of 16 KiB records on one core.
    pub aes_gcm_bytes_per_second: f64,
    /// The environment masks CPU features for aws-lc.
    pub masked: bool,
}

impl Acceleration {
    /// Asks the CPU and measures for a few milliseconds.
    pub fn measure() -> Self {
        Self {
            features: features(),
            aes_gcm_bytes_per_second: aes_gcm_rate(),
            masked: std::env::var_os("OPENSSL_ia32cap").is_some()
                || std::env::var_os("OPENSSL_armcap").is_some(),
        }
    }

    /// What an operator should be warned about, if anything.
    pub fn warning(&self) -> Option<String> {
        let has_aes = self
            .features
            .iter()
            .any(|(name, present)| matches!(*name, "aes" | "armv8-aes") && *present);
        let rate = self.aes_gcm_bytes_per_second / 1e9;
        if self.masked {
            Some(format!(
                "OPENSSL_ia32cap or OPENSSL_armcap is set and masks CPU features; AES-GCM runs at {rate:.2} GB/s"
            ))
        } else if has_aes && self.aes_gcm_bytes_per_second < SLOW_BYTES_PER_SECOND {
            Some(format!(
                "AES-GCM runs at {rate:.2} GB/s, far below what a CPU with AES instructions can do"
            ))
        } else if !has_aes {
            Some(format!(
                "this CPU has no AES instructions; AES-GCM runs at {rate:.2} GB/s, prefer ChaCha20-Poly1305 suites"
            ))
        } else {
            None
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let present: Vec<_> = self
            .features
            .iter()
            .filter(|(_, present)| *present)
            .map(|(name, _)| *name)
            .collect();
        format!(
            "AES-128-GCM {:.2} GB/s per core; CPU: {}",
            self.aes_gcm_bytes_per_second / 1e9,
            present.join(" ")
        )
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("aes", std::is_x86_feature_detected!("aes")),
        ("pclmulqdq", std::is_x86_feature_detected!("pclmulqdq")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("vaes", std::is_x86_feature_detected!("vaes")),
        ("vpclmulqdq", std::is_x86_feature_detected!("vpclmulqdq")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("sha", std::is_x86_feature_detected!("sha")),
        ("adx", std::is_x86_feature_detected!("adx")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("armv8-aes", std::arch::is_aarch64_feature_detected!("aes")),
        ("pmull", std::arch::is_aarch64_feature_detected!("pmull")),
        ("sha2", std::arch::is_aarch64_feature_detected!("sha2")),
        ("sha3", std::arch::is_aarch64_feature_detected!("sha3")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

fn aes_gcm_rate() -> f64 {
    let Ok(key) = UnboundKey::new(&AES_128_GCM, &[0x42; 16]) else {
        return 0.0;
    };
    let key = LessSafeKey::new(key);
    let mut record = vec![0u8; RECORD];
    let mut seal = || {
        // A fixed nonce is fine: the key was made for this measurement and seals nothing else.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut record)
            .is_ok()
    };
    for _ in 0..8 {
        seal();
    }
    // The best of several slices: on a busy machine the others measure the neighbours.
    let slice = || {
        let start = Instant::now();
        let mut sealed = 0u32;
        while start.elapsed() < SLICE {
            sealed += u32::from(seal());
        }
        f64::from(sealed) * RECORD as f64 / start.elapsed().as_secs_f64()
    };
    std::iter::repeat_with(slice)
        .take(SLICES)
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_or_slow_cpu_is_warned_about() {
        let fine = Acceleration {
            features: vec![("aes", true)],
            aes_gcm_bytes_per_second: 5e9,
            masked: false,
        };
        assert_eq!(fine.warning(), None);
        let masked = Acceleration {
            masked: true,
            ..fine.clone()
        };
        assert!(
            masked
                .warning()
                .is_some_and(|text| text.contains("OPENSSL_ia32cap"))
        );
        let slow = Acceleration {
            aes_gcm_bytes_per_second: 0.3e9,
            ..fine.clone()
        };
        assert!(slow.warning().is_some());
        let none = Acceleration {
            features: vec![("aes", false)],
            ..fine
        };
        assert!(none.warning().is_some_and(|text| text.contains("ChaCha20")));
    }

    #[test]
    fn the_self_measurement_yields_a_rate() {
        assert!(Acceleration::measure().aes_gcm_bytes_per_second > 0.0);
    }
}
