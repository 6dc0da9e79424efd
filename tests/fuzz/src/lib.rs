//! What must hold for any input, as functions that panic where it does not.
//!
//! `make fuzz` runs them under libFuzzer, which looks for inputs that reach new code; `make test` runs them
//! briefly on mutated seeds (`brief.rs`).

pub mod client_cert;
pub mod crl;
pub mod hello;
pub mod identity;
pub mod ocsp;
pub mod path;
pub mod proxy_protocol;
pub mod session;
pub mod xfcc;
