//! Which parts of a file no error may show.
//!
//! A PIN or a password does not belong into the file, but it will be written there, under the right key or a mistyped one.
//! So what is hidden is decided by the place and by caution, not by whether the key is a known one.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::env::is_variable_name;

/// Keys of `[hsm.NAME]` whose values are harmless; any other value in there may be a PIN.
const HARMLESS: [&str; 14] = [
    "module",
    "isolation",
    "signer",
    "slot",
    "token",
    "serial",
    "login_at_count_low",
    "sessions",
    "queue",
    "deadline",
    "hang_timeout",
    "max_hung",
    "idle_check",
    "recovery",
];

/// The same for `[redis.NAME]`, whose other values may be a password.
const HARMLESS_REDIS: [&str; 10] = [
    "urls",
    "mode",
    "master",
    "user",
    "ca",
    "certificate",
    "key",
    "timeout",
    "connect_timeout",
    "prefix",
];

/// Whose keys a value stands among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// `[hsm]` and below: what is not known to be harmless may be a PIN.
    Hsm,
    /// `[redis]` and below: likewise, and an address may hold a password.
    Redis,
    /// Elsewhere only what is called a secret is one.
    Other,
}

impl Section {
    /// By the first part of a table's name.
    pub(crate) fn of(root: &str) -> Self {
        match root {
            "hsm" => Section::Hsm,
            "redis" => Section::Redis,
            _ => Section::Other,
        }
    }

    /// Whether the value of `key` is known to be no secret, or is looked at as one.
    fn knows(self, key: &str) -> bool {
        match self {
            Section::Hsm => key == "pin" || HARMLESS.contains(&key),
            Section::Redis => key == "password" || HARMLESS_REDIS.contains(&key),
            Section::Other => true,
        }
    }

    /// Whether there may be a password in an address.
    fn holds_password(self, text: &str) -> bool {
        text.contains('@') && (self == Section::Redis || text.contains("://"))
    }
}

/// The ranges (global) of values in a parsed table that may be secrets.
pub(crate) fn in_table(text: &str, table: &DeTable<'_>, base: usize) -> Vec<Range<usize>> {
    let mut found = Finder {
        text,
        base,
        masks: Vec::new(),
    };
    for (key, value) in table {
        let section = Section::of(key.get_ref());
        found.value(key.get_ref(), value.get_ref(), value.span(), section);
    }
    found.masks.dedup();
    found.masks
}

/// The part of a statement that does not parse which may be a secret.
pub(crate) fn in_broken_text(
    text: &str,
    statement: &Range<usize>,
    section: Section,
    base: usize,
) -> Option<Range<usize>> {
    let written = &text[statement.clone()];
    let harmless = written
        .split_once('=')
        .is_some_and(|(key, rest)| section.knows(key.trim()) && !rest.contains('='));
    let risky = is_secret_name(written)
        || section.holds_password(written)
        || (section != Section::Other && !harmless && !is_header(written));
    if !risky {
        return None;
    }
    let begin = written.find(['=', ' ', '\t', ']']).map_or(0, |at| at + 1);
    // A multi-line string that is never closed takes in everything behind it.
    let open = written.contains("\"\"\"") || written.contains("'''");
    let end = if open { text.len() } else { statement.end };
    Some(base + statement.start + begin..base + end)
}

fn is_header(statement: &str) -> bool {
    statement.trim_start().starts_with('[') && !statement.contains('=')
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    ["pin", "pass", "secret"]
        .iter()
        .any(|word| name.contains(word))
}

struct Finder<'a> {
    text: &'a str,
    base: usize,
    masks: Vec<Range<usize>>,
}

impl Finder<'_> {
    fn value(&mut self, key: &str, value: &DeValue<'_>, span: Range<usize>, section: Section) {
        let risky = is_secret_name(key);
        match value {
            DeValue::Table(table) => {
                for (inner, value) in table {
                    let known = matches!(value.get_ref(), DeValue::Table(_))
                        || section.knows(inner.get_ref());
                    if !known {
                        self.mask(value.span());
                    }
                    // Below a risky key everything is a leaf of the secret.
                    let name = if risky { key } else { inner.get_ref() };
                    self.value(name, value.get_ref(), value.span(), section);
                }
            }
            DeValue::Array(items) => {
                for item in items.iter() {
                    self.value(key, item.get_ref(), item.span(), section);
                }
            }
            DeValue::String(text) if text.contains("pin-value") || section.holds_password(text) => {
                self.mask(span);
            }
            _ if risky && !self.is_source(&span) => self.mask(span),
            _ => {}
        }
    }

    /// Whether the value as written (before `${VAR}` is replaced) says where a PIN is.
    fn is_source(&self, span: &Range<usize>) -> bool {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let written = written.trim_matches(['"', '\'']);
        let names_source = match written.split_once(':') {
            Some(("file" | "credential", place)) => !place.is_empty(),
            Some(("env", name)) => is_variable_name(name),
            Some(("fd", number)) => number.parse::<u16>().is_ok(),
            _ => written == "prompt",
        };
        // A default in `${VAR:-...}` may be the PIN.
        names_source && !written.contains("${")
    }

    fn mask(&mut self, span: Range<usize>) {
        self.masks
            .push(self.base + span.start..self.base + span.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> Vec<&str> {
        let (root, _) = DeTable::parse_recoverable(text);
        in_table(text, root.get_ref(), 0)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn literal_pins_are_masked_under_every_spelling_and_type() {
        assert_eq!(masked("[hsm.a]\npin = '1234'"), ["'1234'"]);
        assert_eq!(masked("[hsm.a]\npin = 1234"), ["1234"]);
        assert_eq!(masked("[hsm.a]\nuser = '1234'\nmodule = 'm'"), ["'1234'"]);
        assert_eq!(masked("[hsm]\nPIN = '1234'"), ["'1234'"]);
        assert_eq!(masked("hsm.a.pin = { value = '1234' }"), ["'1234'"]);
        assert_eq!(masked("[hsm.a]\npin = ['1234']"), ["'1234'"]);
        assert_eq!(masked("[[hsm]]\npin = '1234'"), ["'1234'"]);
        assert_eq!(masked("password = '1234'"), ["'1234'"]);
        assert_eq!(masked("[hsm.a]\npin = '${PIN:-1234}'"), ["'${PIN:-1234}'"]);
        assert_eq!(
            masked("[[x]]\nkey = 'pkcs11:object=a?pin-value=1'"),
            ["'pkcs11:object=a?pin-value=1'"]
        );
    }

    #[test]
    fn passwords_of_redis_are_masked_in_addresses_too() {
        assert_eq!(masked("[redis.a]\npassword = 'x1'"), ["'x1'"]);
        assert_eq!(masked("[redis.a]\npwd = 'x1'\nprefix = 'p'"), ["'x1'"]);
        assert_eq!(
            masked("[redis.a]\nurls = ['redis://u:x1@h', 'redis://h']"),
            ["'redis://u:x1@h'"]
        );
        assert_eq!(masked("[redis.a]\nurls = 'u:x1@h'"), ["'u:x1@h'"]);
        assert_eq!(masked("[redis]\na.url = 'redis://h'"), ["'redis://h'"]);
        assert!(
            masked("[redis.a]\npassword = 'env:NAME'\nuser = 'u'\nurls = 'redis://h'").is_empty()
        );
    }

    #[test]
    fn what_only_names_a_source_is_shown() {
        assert!(masked("[hsm.a]\npin = 'file:/run/pin'\nslot = 3\n[limits]\nx = 'y'").is_empty());
        assert!(masked("[hsm.a]\npin = 'prompt'").is_empty());
    }
}
