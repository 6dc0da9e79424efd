//! Whether a client certificate, or a CA above it, was revoked: lists (CRL) and answers (OCSP).
//!
//! A chain is verified first; then this room is asked about the path. [`CrlStore`] answers from memory, without
//! a lock and without waiting; what is fetched is fetched elsewhere. What cannot be read, or is not signed by
//! the issuer, never counts, and never takes the place of what does.

mod certificate;
mod crl;
mod der;
mod error;
mod index;
mod names;
mod signature;

pub use certificate::PathCert;
pub use der::Malformed;
pub use error::{Problem, RevocationError};

#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;
