//! The crate against every PKCS#11 module that can be had for nothing: each makes every kind of key it
//! has, and each key serves TLS 1.2 and 1.3.
//!
//! Which kinds a module has is written down here, so that a kind that is lost, or gained, is a failure.
//! A module that is not installed is told as skipped. The modules that want daemons as root are the exams.
#![expect(
    clippy::print_stderr,
    reason = "what a module lacks, and why it was skipped, is told"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it relies on does not hold"
)]

#[cfg(feature = "exams")]
mod exams;
mod handshake;
mod kinds;
mod nss;
mod p11_kit;
mod softhsm;
mod stage;
