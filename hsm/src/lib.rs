//! Keys that sign and never leave: PKCS#11 tokens as rustls signing keys.
//!
//! A [`uri::Pkcs11Uri`] names a key. [`Token::open`] loads the module, logs in once and starts session
//! threads behind a bounded queue with deadlines; [`Token::key`] finds exactly one key and
//! [`Key::certify`] joins it with its certificate after a proof. What comes out is a
//! `rustls::sign::CertifiedKey` for any server. Inside [`step::run`] its signatures suspend the
//! handshake step instead of the thread; elsewhere they block the caller.
//!
//! ```no_run
//! use portcullis_hsm::{Extractable, PinSource, Token, TokenSelect, TokenSettings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let edge = TokenSelect::Label("edge".into());
//! let mut settings = TokenSettings::new("edge", "/usr/lib/softhsm/libsofthsm2.so".as_ref(), edge);
//! settings.pin = Some(PinSource::File("/run/secrets/pin".into()));
//! let token = Token::open(settings)?;
//! let key = token.key(&"pkcs11:token=edge;object=site".parse()?, Extractable::Refuse)?;
//! # Ok(()) }
//! ```

pub mod uri;

pub mod pin;

mod module;
mod settings;
mod slots;
mod token;

mod group;
mod holder;

mod link;
mod sessions;
pub mod signer;
mod stats;
pub mod step;
mod sync;
mod timer;

mod key;
mod secret;
mod sign;
mod software;

pub mod generate;

mod der;
mod error;

pub use error::{ErrorClass, HsmError, PinAsked};
pub use group::Group;
pub use key::{Extractable, Key, KeyInfo, KeyKind, Provenance};
pub use pin::{Pin, PinSource};
pub use secret::{Generation, Secret, SecretInfo};
pub use sessions::{TokenHealth, TokenState, join_closed_tokens};
pub use settings::{Isolation, QueueBound, Sessions, TokenSettings};
pub use slots::{TokenInfo, TokenSelect, tokens};
pub use stats::{LATENCY_BOUNDS_US, TokenStats};
pub use token::Token;
