//! `${VAR}` and `${VAR:-default}` in string values; `$${` is a literal `${`.
//!
//! Replacement happens after parsing, so a variable can never add a key or a table.

use std::borrow::Cow;
use std::ops::Range;

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EnvError {
    /// Where in the text.
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// `text` with its variables replaced.
pub(crate) fn expand<'a>(
    text: &'a str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Cow<'a, str>, EnvError> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut offset = 0;
    while let Some(found) = text[offset..].find("${") {
        let at = offset + found;
        if text[offset..at].ends_with('$') {
            expanded.push_str(&text[offset..at - 1]);
            expanded.push_str("${");
            offset = at + 2;
            continue;
        }
        expanded.push_str(&text[offset..at]);
        let Some(length) = text[at..].find('}') else {
            return Err(error(
                at..text.len(),
                "`${` is never closed",
                "write `$${` for a literal `${`",
            ));
        };
        let reference = &text[at + 2..at + length];
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let whole = at..at + length + 1;
        if !is_variable_name(name) {
            let help = "write `${VAR}` or `${VAR:-default}`, and `$${` for a literal `${`";
            return Err(error(
                whole,
                "this is not the name of an environment variable",
                help,
            ));
        }
        match env(name).or_else(|| default.map(str::to_owned)) {
            Some(value) => expanded.push_str(&value),
            None => {
                let message = format!("environment variable `{name}` is not set");
                let help = format!("set it, or give a default: `${{{name}:-default}}`");
                return Err(EnvError {
                    at: whole,
                    message,
                    help,
                });
            }
        }
        offset = at + length + 1;
    }
    expanded.push_str(&text[offset..]);
    Ok(Cow::Owned(expanded))
}

/// `text` so that [`expand`] gives it back.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn error(at: Range<usize>, message: &str, help: &str) -> EnvError {
    EnvError {
        at,
        message: message.to_owned(),
        help: help.to_owned(),
    }
}

/// Whether `name` can name an environment variable.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "A").then(|| "x${B}\"\n[y]".to_owned())
    }

    #[test]
    fn missing_variables_and_broken_references_are_refused_at_their_place() {
        assert_eq!(expand("ab${B}", &env).unwrap_err().at, 2..6);
        assert_eq!(expand("ab${B", &env).unwrap_err().at, 2..5);
        assert!(expand("${}", &env).is_err() && expand("${1A}", &env).is_err());
        assert!(expand("${A B}", &env).is_err() && expand("${A-x}", &env).is_err());
    }

    #[test]
    fn variables_and_defaults_are_replaced_once() {
        assert_eq!(expand("<${A}>", &env).unwrap(), "<x${B}\"\n[y]>");
        assert_eq!(expand("${B:-d:-e}${B:-}", &env).unwrap(), "d:-e");
        assert_eq!(expand("$5 $ {A}", &env).unwrap(), "$5 $ {A}");
    }

    #[test]
    fn escapes_survive_a_round_trip() {
        assert_eq!(expand("$${A} $$${A}", &env).unwrap(), "${A} $${A}");
        for text in ["${A}", "$${A}", "$$${", "a$", "${${"] {
            assert_eq!(expand(&escape(text), &env).unwrap(), text);
        }
    }
}
