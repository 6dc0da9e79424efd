//! Which token, and how hard it may be driven.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::pin::PinSource;
use crate::slots::TokenSelect;

/// Which token, and how hard it may be driven. Equal settings mean the same token handle: the gateway
/// keeps it over a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Name in the configuration, for errors and metrics.
    pub name: String,
    /// The PKCS#11 library. Not looked at where [`Isolation::Socket`] says who has it.
    pub module: PathBuf,
    /// Which token of the library.
    pub select: TokenSelect,
    /// Where the user PIN comes from; `None` when the token needs none or has a keypad.
    pub pin: Option<PinSource>,
    /// Session threads.
    pub sessions: Sessions,
    /// Signatures that may wait for a session.
    pub queue: QueueBound,
    /// How long a signature may take, waiting and asking again included.
    pub deadline: Duration,
    /// How long one call of the module may take before its session is written off and replaced.
    pub hang_timeout: Duration,
    /// Calls that may hang at once; with more the token is given up until they return.
    pub max_hung: NonZeroUsize,
    /// How long a token may be idle before it is asked for its state and a signature; `None`: for ever.
    pub idle_check: Option<Duration>,
    /// The longest pause between two tries to bring an absent token back.
    pub recovery: Duration,
    /// Whether the PIN is tried though the token says that few tries are left.
    pub login_at_count_low: bool,
    /// Where refused PINs are remembered over restarts; `None`: in this process only.
    pub state_dir: Option<PathBuf>,
    /// Which process has the module loaded.
    pub isolation: Isolation,
}

/// How many session threads a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// As many as [`crate::Token::tune`] finds the token to work in parallel; two before.
    Auto,
    /// This many.
    Count(NonZeroUsize),
}

/// How many signatures may wait for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBound {
    /// As many as the token makes within the deadline: its measured rate times the deadline.
    Auto,
    /// This many.
    Count(NonZeroUsize),
}

/// Which process has the PKCS#11 library loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// This one.
    None,
    /// A signer process that is started, and started again when it ends: this program with these
    /// arguments, followed by those that name module, token and PIN source.
    Process {
        /// The program, [`std::env::current_exe`] for example.
        program: PathBuf,
        /// Its first arguments.
        arguments: Vec<String>,
    },
    /// A signer process that somebody else runs, behind this unix socket.
    Socket(PathBuf),
}

impl TokenSettings {
    /// Settings with the defaults: measured sessions and queue, two seconds for a signature, one for a call,
    /// a check after ten idle seconds, half a second between tries to recover.
    pub fn new(name: &str, module: &Path, select: TokenSelect) -> Self {
        TokenSettings {
            name: name.to_owned(),
            module: module.to_owned(),
            select,
            pin: None,
            sessions: Sessions::Auto,
            queue: QueueBound::Auto,
            deadline: Duration::from_secs(2),
            hang_timeout: Duration::from_secs(1),
            max_hung: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            idle_check: Some(Duration::from_secs(10)),
            recovery: Duration::from_millis(500),
            login_at_count_low: false,
            state_dir: None,
            isolation: Isolation::None,
        }
    }
}
