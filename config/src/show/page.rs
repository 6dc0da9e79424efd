//! TOML text, written line by line.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::env::escape;
use crate::value::duration_text;

/// TOML in the making.
#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
}

impl Page {
    pub(super) fn table(&mut self, name: &str) {
        self.header("[", name, "]");
    }

    pub(super) fn item(&mut self, name: &str) {
        self.header("[[", name, "]]");
    }

    pub(super) fn header(&mut self, open: &str, name: &str, close: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.text, "{gap}{open}{name}{close}");
    }

    /// `value` is TOML already.
    pub(super) fn key(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.text, "{key} = {value}");
    }

    pub(super) fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        self.key(key, list(values));
    }

    /// A list that means "any" when it is not there.
    pub(super) fn list_unless_empty(
        &mut self,
        key: &str,
        values: impl ExactSizeIterator<Item = String>,
    ) {
        if values.len() > 0 {
            self.list(key, values);
        }
    }

    pub(super) fn duration(&mut self, key: &str, duration: Duration) {
        self.key(key, quote(duration_text(duration)));
    }

    pub(super) fn duration_or_off(&mut self, key: &str, duration: Option<Duration>) {
        match duration {
            Some(duration) => self.duration(key, duration),
            None => self.key(key, quote("off")),
        }
    }
}

/// A TOML string that loads back to `value`.
pub(super) fn quote<T: Display>(value: T) -> String {
    toml::Value::String(escape(&value.to_string())).to_string()
}

/// A list of values that are TOML already.
pub(super) fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}
