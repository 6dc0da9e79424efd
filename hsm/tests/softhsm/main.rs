//! The crate against a real token: SoftHSM, with the fault module in front of it where the token must fail.
#![expect(
    clippy::print_stderr,
    reason = "what a test measured, and why it was skipped, is told"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it relies on does not hold"
)]

mod backups;
mod certificates;
mod confine;
#[cfg(feature = "exams")]
mod figures;
mod groups;
mod harness;
mod imports;
mod keys;
mod login;
mod outage;
mod rehearsal;
mod secrets;
mod steps;
mod tools;
