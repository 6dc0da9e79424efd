//! The TLS edge: from accepted bytes to a verified, encrypted stream.
//!
//! A handshake step that may sign with a token key runs as a `portcullis_hsm::step`, so that the network
//! thread goes on while the token works. No session is resumed: there are no tickets and no session store,
//! because stock resumption lets expired and revoked clients back in.

pub mod acceleration;
mod acceptor;
mod client_cert;
mod refusal;
mod server_config;
mod stream;

pub use acceptor::{AcceptSettings, Accepted, HandshakeRefused, Resolve, accept};
pub use client_cert::alert_of;
pub use server_config::{SiteTls, SiteTlsError};
pub use stream::TlsStream;
