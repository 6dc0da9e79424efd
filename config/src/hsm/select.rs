//! Which token of a module, and where its PIN is.
//!
//! What was written as a PIN source is never told: it may be the PIN.
use std::path::PathBuf;

use crate::Located;
use crate::check::{Check, Span};
use crate::env::is_variable_name;
use crate::value::Number;

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

/// The one selection that was written.
pub(super) fn selector(
    check: &mut Check<'_>,
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
    first
}

/// Reports that a module needs to be told which of its tokens is meant.
pub(super) fn no_token(check: &mut Check<'_>, table: &Span) {
    let lost = ["slot", "token", "serial"]
        .iter()
        .any(|key| check.lost_key(table, key));
    if !lost {
        check
            .error(
                table,
                "this names no token: `token`, `serial` or `slot` is missing",
            )
            .help("prefer `token = \"LABEL\"`; slot ids can change");
    }
}

/// Never says what was written: it may be the PIN.
pub(super) fn pin_source(
    check: &mut Check<'_>,
    text: &Located<String>,
) -> Option<Located<PinSource>> {
    let source = parse_source(check, text);
    if source.is_none() {
        check.error(&text.span, "this does not say where the PIN comes from (and is not shown here)").help(
            "write `file:PATH`, `env:NAME`, `credential:NAME`, `fd:N` or `prompt`; a PIN itself must not \
             stand in the configuration",
        );
    }
    source.map(|source| text.with(source))
}

/// `None`, and nothing said, for what names no source.
pub(crate) fn parse_source(check: &Check<'_>, text: &Located<String>) -> Option<PinSource> {
    match text.value.split_once(':') {
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
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}
