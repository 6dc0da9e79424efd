//! Keys that sign and never leave: PKCS#11 tokens as rustls signing keys.
//!
//! A [`uri::Pkcs11Uri`] names a key. [`Token::open`] loads the module, logs in once and starts session
//! threads behind a bounded queue with deadlines; [`Token::key`] finds exactly one key and
//! [`Key::certify`] joins it with its certificate after a proof. What comes out is a
//! `rustls::sign::CertifiedKey` for any server. Inside [`step::run`] its signatures suspend the
//! handshake step instead of the thread; elsewhere they block the caller.
//!
//! ```no_run
//! use std::{num::NonZeroUsize, time::Duration};
//! use portcullis_hsm::{Extractable, PinSource, Token, TokenSelect, TokenSettings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let token = Token::open(TokenSettings {
//!     name: "edge".into(),
//!     module: "/usr/lib/softhsm/libsofthsm2.so".into(),
//!     select: TokenSelect::Label("edge".into()),
//!     pin: Some(PinSource::File("/run/secrets/pin".into())),
//!     sessions: NonZeroUsize::MIN,
//!     queue: NonZeroUsize::MIN,
//!     deadline: Duration::from_secs(2),
//! })?;
//! let key = token.key(&"pkcs11:token=edge;object=site".parse()?, Extractable::Refuse)?;
//! # Ok(()) }
//! ```

pub mod uri;

pub mod pin;

mod module;
mod token;

mod sessions;
mod stats;
pub mod step;

mod key;
mod sign;
mod software;

pub mod generate;

mod der;
mod error;

pub use error::{HsmError, PinAsked};
pub use key::{Extractable, Key, KeyInfo, KeyKind, Provenance};
pub use pin::{Pin, PinSource};
pub use stats::{LATENCY_BOUNDS_US, TokenStats};
pub use token::{Token, TokenInfo, TokenSelect, TokenSettings, tokens};
