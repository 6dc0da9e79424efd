//! Keys and tokens in words and in JSON.

use portcullis_hsm::{KeyInfo, TokenInfo};
use serde_json::{Value, json};

/// A key in two lines: its URI, and what is known about it.
pub(super) fn key_text(key: &KeyInfo) -> String {
    format!(
        "{}\n    {}, {} ({})",
        key.uri,
        key.kind,
        key.provenance,
        flags(key).join(", ")
    )
}

/// The attributes of a key that are set, by their names in PKCS#11.
pub(super) fn flags(key: &KeyInfo) -> Vec<&'static str> {
    let flags = [
        (key.sensitive, "sensitive"),
        (key.always_sensitive, "always-sensitive"),
        (key.extractable, "extractable"),
        (key.never_extractable, "never-extractable"),
        (key.local, "local"),
    ];
    let set = flags.into_iter().filter(|(set, _)| *set);
    set.map(|(_, name)| name).collect()
}

pub(super) fn key_json(key: &KeyInfo) -> Value {
    json!({
        "uri": key.uri,
        "label": key.label,
        "id": hex(&key.id),
        "kind": key.kind.to_string(),
        "provenance": key.provenance.to_string(),
        "sensitive": key.sensitive,
        "extractable": key.extractable,
        "never_extractable": key.never_extractable,
        "always_sensitive": key.always_sensitive,
        "local": key.local,
    })
}

pub(super) fn token_json(token: &TokenInfo) -> Value {
    json!({
        "uri": token.uri().to_string(),
        "label": token.label,
        "serial": token.serial,
        "manufacturer": token.manufacturer,
        "model": token.model,
        "slot": token.slot,
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
