//! Whether a client certificate, or a CA above it, was revoked: lists (CRL) and answers (OCSP).
//!
//! A chain is verified first; then this room is asked about the path. [`CrlStore`] answers from memory, without
//! a lock and without waiting; what is fetched is fetched elsewhere. What cannot be read, or is not signed by
//! the issuer, never counts, and never takes the place of what does.

// What is asked.
mod certificate;
mod ocsp;
mod stats;
mod store;

// Lists: what they say, where they are, how they stay fresh.
mod crl;
mod entry;
mod fetch;
mod files;
mod index;
mod names;
mod refresh;
mod renew;
mod source;

// What both lists and answers are made of.
mod der;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod signature;

use crate::reason::Reason;

pub use certificate::PathCert;
pub use der::Malformed;
pub use error::{Problem, RevocationError};
pub use ocsp::{OcspCache, OcspStats, Verdict, answer_questions};
pub use refresh::keep_fresh;
pub use stats::{CrlStats, Finding, ListFinding, ListStats};
pub use store::CrlStore;

/// A certificate that does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// For logs and metrics.
    pub reason: Reason,
    /// For the operator: which certificate, by which list.
    pub detail: String,
}

/// A wait, a tenth longer or shorter by chance, so that a fleet does not ask at once.
fn jittered(wait: std::time::Duration) -> std::time::Duration {
    let mut byte = [128];
    // Without randomness nothing is spread, which harms nobody.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    wait.mul_f64(0.9 + f64::from(byte[0]) / 255.0 * 0.2)
}

/// Seconds since the Unix epoch for people.
pub fn date(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| seconds.to_string())
}

/// CRLReason (RFC 5280, section 5.3.1).
fn reason_word(reason: u8) -> &'static str {
    match reason {
        1 => "keyCompromise",
        2 => "cACompromise",
        3 => "affiliationChanged",
        4 => "superseded",
        5 => "cessationOfOperation",
        6 => "certificateHold",
        8 => "removeFromCRL",
        9 => "privilegeWithdrawn",
        10 => "aACompromise",
        _ => "unspecified",
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
