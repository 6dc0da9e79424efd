//! `[hsm.NAME]`: a PKCS#11 token and how hard it may be driven.
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::Located;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsm {
    /// NAME of the table.
    pub name: String,
    /// The PKCS#11 library.
    pub module: Located<PathBuf>,
    /// Which token of the module.
    pub token: Located<TokenSelector>,
    /// Where the user PIN comes from; `None` when the token needs none.
    pub pin: Option<Located<PinSource>>,
    /// Session threads. Default 4.
    pub sessions: NonZeroUsize,
    /// Signatures that may wait for a session. Default 1024.
    pub queue: NonZeroUsize,
    /// How long one signature may take, waiting included. Default 2 s.
    pub deadline: Duration,
}

/// How a token is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSelector {
    /// `slot = N`: the slot id (slot ids move; prefer the label).
    Slot(u64),
    /// `token = "LABEL"`.
    Label(String),
    /// `serial = "SERIAL"`.
    Serial(String),
}

/// Where a PIN comes from; the PIN itself is never in the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// `file:PATH`, first line.
    File(PathBuf),
    /// `env:NAME`.
    Env(String),
    /// `credential:NAME`, a file in `$CREDENTIALS_DIRECTORY` (systemd).
    Credential(String),
    /// `fd:N`, read once at start.
    Fd(i32),
    /// `prompt`, asked on the terminal at start.
    Prompt,
}
