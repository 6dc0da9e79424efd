//! The TLS edge: from accepted bytes to a verified, encrypted stream.
//!
//! A handshake step that may sign with a token key runs as a `portcullis_hsm::step`, so that the network
//! thread goes on while the token works. Which session is resumed is decided before rustls is asked, because stock
//! resumption lets expired and revoked clients back in.

pub mod acceleration;
mod acceptor;
#[doc(hidden)]
pub mod benching;
mod client_cert;
mod client_hello;
mod early_data;
#[doc(hidden)]
pub mod fuzzing;
mod negotiated;
pub mod quic;
mod refusal;
mod resumption;
mod server_config;
mod socket;
mod stream;

pub use acceptor::{
    AcceptSettings, Accepted, Arrived, HandedOn, HandshakeRefused, Resolve, accept, turn_away,
};
pub use client_cert::alert_of;
pub use early_data::EarlyData;
pub use negotiated::Negotiated;
pub use resumption::{
    Declined, Fleet, NotIssued, Outcome, Resources, ResumptionStats, SessionCache, SessionStats,
    Stored,
};
pub use server_config::{Resuming, SiteTls, SiteTlsError};
pub use stream::TlsStream;
