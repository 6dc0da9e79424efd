//! Certificates of sites, loaded and proven against their keys; keys that sign alone; trust anchors of clients.

mod load;
mod tokens;

pub use load::{
    CertificateError, ProvenCertificate, check_chain, load_certificate, load_intermediates,
    load_key, load_trust,
};
pub use tokens::{Tokens, open_alone, prepare_state_dir, state_dir};
