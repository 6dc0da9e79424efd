//! Why a command was not answered, or a connection not made.
//!
//! What a server says is told by its code alone: the rest of its text may repeat what was sent.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What went wrong. None of it names a password, nor a value that was to be stored.
#[derive(Debug)]
pub enum FleetError {
    /// Nothing is connected.
    Away,
    /// As many commands as may be are under way.
    Busy,
    /// No answer within `timeout`.
    Late,
    /// The server, or the way to it.
    Redis(String),
    /// An address that cannot be used.
    Address(&'static str),
    /// A file of the connection, or the password.
    Unreadable {
        /// The file, or the source of the password.
        what: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("not connected"),
            Self::Busy => f.write_str("too many commands under way"),
            Self::Late => f.write_str("no answer in time"),
            Self::Redis(what) => f.write_str(what),
            Self::Address(what) => f.write_str(what),
            Self::Unreadable { what, error } => write!(f, "{}: {error}", what.display()),
        }
    }
}

impl std::error::Error for FleetError {}

impl From<redis::RedisError> for FleetError {
    fn from(error: redis::RedisError) -> Self {
        if error.is_timeout() {
            return Self::Late;
        }
        Self::Redis(match (error.code(), error.kind()) {
            (_, redis::ErrorKind::AuthenticationFailed) => {
                "the server refuses the user or the password".to_owned()
            }
            (Some(code @ "NOPERM"), _) => format!("answer {code}: the user lacks a right"),
            (Some(code), _) => format!("answer {code}"),
            (None, redis::ErrorKind::Io) => error.to_string(),
            (None, redis::ErrorKind::MasterNameNotFoundBySentinel) => {
                "no sentinel knows a working master of this name".to_owned()
            }
            (None, _) => error.category().to_owned(),
        })
    }
}
