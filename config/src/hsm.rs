//! `[hsm.NAME]`: a PKCS#11 token and how hard it may be driven.
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::env::is_variable_name;
use crate::value::{DurationText, Number};

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

/// `[hsm.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHsm {
    /// Path of the PKCS#11 library. Required.
    module: Option<Located<String>>,
    /// Slot id of the token. Slot ids can change when tokens are added; prefer `token` or `serial`.
    slot: Option<Located<Number>>,
    /// Label of the token.
    token: Option<Located<String>>,
    /// Serial number of the token.
    serial: Option<Located<String>>,
    /// Where the user PIN comes from: `file:PATH`, `env:NAME`, `credential:NAME` (systemd), `fd:N` or
    /// `prompt`. Never the PIN itself. Without it the token is used without login.
    pin: Option<Located<String>>,
    /// Sessions (and threads) that sign in parallel.
    sessions: Option<Located<Number>>,
    /// Signatures that may wait for a session.
    queue: Option<Located<Number>>,
    /// How long one signature may take, waiting included.
    deadline: Option<Located<DurationText>>,
}

/// Sessions that no token offers.
const SESSIONS_MAX: usize = 1024;
/// Waiting signatures beyond any deadline.
const QUEUE_MAX: usize = 1 << 20;

impl RawHsm {
    /// `table` is the header, `handshake` the bound every signature must keep.
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        name: &Located<String>,
        table: &Span,
        handshake: Duration,
    ) -> Option<Hsm> {
        let module = check
            .required(table, "module", self.module)
            .map(|text| check.path(&text));
        let token = selector(check, table, self.slot, self.token, self.serial);
        let pin = self.pin.and_then(|text| pin_source(check, &text));
        let sessions = check.count(self.sessions, 4, 1..=SESSIONS_MAX);
        let queue = check.count(self.queue, 1024, 1..=QUEUE_MAX);
        let place = self
            .deadline
            .as_ref()
            .map_or(table, |text| &text.span)
            .clone();
        let longest = Duration::from_secs(3600);
        let deadline = check.duration(
            self.deadline,
            Duration::from_secs(2),
            Duration::from_millis(1)..=longest,
        );
        if deadline > handshake {
            check
                .error(&place, "the deadline of a signature is longer than `timeouts.handshake`")
                .help("a handshake would end before its signature: lower this or raise `timeouts.handshake`");
        }
        Some(Hsm {
            name: name.value.clone(),
            module: module?,
            token: token?,
            pin,
            sessions: NonZeroUsize::new(sessions)?,
            queue: NonZeroUsize::new(queue)?,
            deadline,
        })
    }
}

fn selector(
    check: &mut Check<'_>,
    table: &Span,
    slot: Option<Located<Number>>,
    label: Option<Located<String>>,
    serial: Option<Located<String>>,
) -> Option<Located<TokenSelector>> {
    for text in [&label, &serial]
        .into_iter()
        .flatten()
        .filter(|text| text.value.is_empty())
    {
        check.error(&text.span, "this is empty");
    }
    let given = [
        slot.map(|slot| slot.with(TokenSelector::Slot(slot.value.0))),
        label.map(|label| label.with(TokenSelector::Label(label.value.clone()))),
        serial.map(|serial| serial.with(TokenSelector::Serial(serial.value.clone()))),
    ];
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if let (Some(first), Some(second)) = (&first, given.next()) {
        check
            .error(
                &second.span,
                "a token is chosen by one of `slot`, `token` and `serial`, not by several",
            )
            .related(&first.span, "chosen here already");
    }
    let lost = ["slot", "token", "serial"]
        .iter()
        .any(|key| check.lost_key(table, key));
    if first.is_none() && !lost {
        check
            .error(
                table,
                "this names no token: `token`, `serial` or `slot` is missing",
            )
            .help("prefer `token = \"LABEL\"`; slot ids can change");
    }
    first
}

/// Never says what was written: it may be the PIN.
fn pin_source(check: &mut Check<'_>, text: &Located<String>) -> Option<Located<PinSource>> {
    let source = match text.value.split_once(':') {
        None if text.value == "prompt" => Some(PinSource::Prompt),
        Some(("file", path)) if !path.is_empty() => {
            Some(PinSource::File(check.resolved(&text.span, path)))
        }
        Some(("env", name)) if is_variable_name(name) => Some(PinSource::Env(name.to_owned())),
        Some(("credential", name)) if is_file_name(name) => {
            Some(PinSource::Credential(name.to_owned()))
        }
        Some(("fd", number)) => number.parse().ok().filter(|fd| *fd >= 0).map(PinSource::Fd),
        _ => None,
    };
    if source.is_none() {
        check.error(&text.span, "this does not say where the PIN comes from (and is not shown here)").help(
            "write `file:PATH`, `env:NAME`, `credential:NAME`, `fd:N` or `prompt`; a PIN itself must not \
             stand in the configuration",
        );
    }
    source.map(|source| text.with(source))
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}
