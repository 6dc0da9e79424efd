//! Certificates of sites, loaded and proven against their keys; trust anchors of clients.

mod load;

pub use load::{
    CertificateError, ProvenCertificate, Tokens, check_chain, load_certificate, load_trust,
};
