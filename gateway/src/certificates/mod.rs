//! Certificates of sites, loaded and proven against their keys; trust anchors of clients.

mod load;
mod tokens;

pub use load::{CertificateError, ProvenCertificate, check_chain, load_certificate, load_trust};
pub use tokens::{Tokens, state_dir};
