//! Conditions of a rule on header fields: `{ name = "x-env", values = ["prod"] }`.
//!
//! The values are those the client sent, and only as trustworthy as the client is.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::role::patterns;
use crate::schema::one_or_many;

/// What a header field must be like. At least one of the lists is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCondition {
    /// Lower case.
    pub name: String,
    /// The field's value matches one of these; empty means no demand. An absent field never does. Of a field that is
    /// sent several times a rule that allows wants every value to match, one that denies a single one.
    pub values: Vec<ValuePattern>,
    /// The field's value matches none of these. An absent field has none, so it is fine. Of a field that is sent
    /// several times a rule that allows wants that of every value, one that denies of a single one.
    pub not_values: Vec<ValuePattern>,
}

/// A pattern for the value of a header field. Compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuePattern {
    /// `prod`: exactly this.
    Exact(String),
    /// `prod*`: begins with this.
    Prefix(String),
    /// `*prod`: ends with this.
    Suffix(String),
    /// `*`: whatever it is.
    Present,
}

impl ValuePattern {
    /// How it is written in the file.
    pub fn text(&self) -> String {
        match self {
            ValuePattern::Exact(text) => text.clone(),
            ValuePattern::Prefix(text) => format!("{text}*"),
            ValuePattern::Suffix(text) => format!("*{text}"),
            ValuePattern::Present => "*".to_owned(),
        }
    }

    /// Whether a value matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            ValuePattern::Exact(text) => value == text.as_bytes(),
            ValuePattern::Prefix(text) => value.starts_with(text.as_bytes()),
            ValuePattern::Suffix(text) => value.ends_with(text.as_bytes()),
            ValuePattern::Present => true,
        }
    }
}

/// An entry of `headers` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHeaderCondition {
    /// Name of the field, in any case. Required.
    name: Option<Located<String>>,
    /// The value of the field must match one of these: exact, `prefix*`, `*suffix`, or `*` for any. For an allow
    /// every value of a field that is sent several times, for a deny one.
    #[schemars(schema_with = "one_or_many::<String>")]
    values: Option<Vec<Located<String>>>,
    /// The value of the field must match none of these; an absent field is fine.
    #[schemars(schema_with = "one_or_many::<String>")]
    not_values: Option<Vec<Located<String>>>,
}

impl RawHeaderCondition {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span) -> Option<HeaderCondition> {
        let name = check.required(table, "name", self.name);
        let written = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let lost = ["values", "not_values"]
            .iter()
            .any(|key| check.lost_key(table, key));
        if !written(&self.values) && !written(&self.not_values) && !lost {
            check
                .error(table, "this condition asks nothing of the header")
                .help("add `values` or `not_values`; `values = \"*\"` asks that it is there");
        }
        let values = patterns(check, self.values, parse_value);
        let not_values = patterns(check, self.not_values, parse_value);
        let name = name?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.value.is_empty() || name.value.len() > 256 || !name.value.bytes().all(token) {
            check.error(&name.span, "this is no name of a header field");
            return None;
        }
        Some(HeaderCondition {
            name: name.value.to_ascii_lowercase(),
            values,
            not_values,
        })
    }
}

fn parse_value(text: &str) -> Result<ValuePattern, &'static str> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("a header value has no control characters");
    }
    if text == "*" {
        return Ok(ValuePattern::Present);
    }
    let (pattern, rest) = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(rest), None) => (ValuePattern::Suffix(rest.to_owned()), rest),
        (None, Some(rest)) => (ValuePattern::Prefix(rest.to_owned()), rest),
        _ => (ValuePattern::Exact(text.to_owned()), text),
    };
    match rest.contains('*') {
        true => Err("`*` stands only at the beginning or only at the end"),
        false => Ok(pattern),
    }
}
