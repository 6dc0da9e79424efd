//! `[[role]]`: named groups of clients.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Span};
use crate::host::parse_pattern;
use crate::schema::one_or_many;
use crate::value::quoted;
use crate::{HostPattern, Located};

/// A named group of identities: an identity has the role when any one of the patterns matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Unique; `anyone` and `verified` are reserved.
    pub name: String,
    /// SPIFFE IDs, exact (`spiffe://td/ns/a`) or with a last segment `*` that matches one segment, or `**`
    /// that matches one or more segments.
    pub spiffe: Vec<String>,
    /// DNS SANs, exact or with a leftmost `*` label. Lower case.
    pub dns: Vec<String>,
    /// Subject common names, exact.
    pub common_name: Vec<String>,
    /// SHA-256 of the leaf certificate (DER).
    pub sha256: Vec<[u8; 32]>,
}

/// `[[role]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRole {
    /// Name. Required.
    name: Option<Located<String>>,
    /// SPIFFE IDs, exact, or with `*` (one segment) or `**` (one or more) as last segment.
    #[schemars(schema_with = "one_or_many::<String>")]
    spiffe: Option<Vec<Located<String>>>,
    /// DNS names of the certificate, exact, or with a leftmost `*` label.
    #[schemars(schema_with = "one_or_many::<String>")]
    dns: Option<Vec<Located<String>>>,
    /// Subject common names, exact.
    #[schemars(schema_with = "one_or_many::<String>")]
    common_name: Option<Vec<Located<String>>>,
    /// SHA-256 of the client certificate (DER), in hex, with or without colons.
    #[schemars(schema_with = "one_or_many::<String>")]
    sha256: Option<Vec<Located<String>>>,
}

/// Role names that are there without a table.
const RESERVED: [&str; 2] = ["anyone", "verified"];

impl RawRole {
    /// The name, for the check of names.
    pub(crate) fn name(&self) -> Option<Located<String>> {
        self.name.clone()
    }

    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span) -> Option<Role> {
        let name = check.required(table, "name", self.name);
        if let Some(name) = name
            .as_ref()
            .filter(|name| RESERVED.contains(&name.value.as_str()))
        {
            let message = format!("{} is a role that is always there", quoted(&name.value));
            check.error(&name.span, message).help("choose another name");
        }
        let lists = [&self.spiffe, &self.dns, &self.common_name, &self.sha256];
        let empty = lists
            .iter()
            .all(|list| list.as_ref().is_none_or(Vec::is_empty));
        let lost = ["spiffe", "dns", "common_name", "sha256"]
            .iter()
            .any(|key| check.lost_key(table, key));
        if empty && !lost {
            check
                .error(table, "this role matches nobody: it has no pattern")
                .help("add at least one of `spiffe`, `dns`, `common_name` and `sha256`");
        }
        Some(Role {
            spiffe: patterns(check, self.spiffe, parse_spiffe),
            dns: patterns(check, self.dns, parse_dns),
            common_name: patterns(check, self.common_name, |text| match text.is_empty() {
                true => Err("a common name is not empty"),
                false => Ok(text.to_owned()),
            }),
            sha256: patterns(check, self.sha256, parse_sha256),
            name: name?.value,
        })
    }
}

/// Reads each of a list, and reports those that are wrong.
pub(crate) fn patterns<T>(
    check: &mut Check<'_>,
    written: Option<Vec<Located<String>>>,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Vec<T> {
    let mut patterns = Vec::new();
    for text in written.unwrap_or_default() {
        match parse(&text.value) {
            Ok(pattern) => patterns.push(pattern),
            Err(problem) => {
                check.error(
                    &text.span,
                    format!("{} does not work: {problem}", quoted(&text.value)),
                );
            }
        }
    }
    patterns
}

/// Reads a SPIFFE ID or a pattern of one: `*` as last segment matches one segment, `**` one or more.
pub fn parse_spiffe(text: &str) -> Result<String, &'static str> {
    let rest = text
        .strip_prefix("spiffe://")
        .ok_or("a SPIFFE ID begins with `spiffe://`")?;
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    let in_domain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(in_domain) {
        return Err("a trust domain has lower-case letters, digits, `.`, `-` and `_`");
    }
    if path.is_empty() && !rest.contains('/') {
        return Ok(text.to_owned());
    }
    let segments: Vec<_> = path.split('/').collect();
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    for (index, segment) in segments.iter().enumerate() {
        if matches!(*segment, "*" | "**") && index + 1 == segments.len() {
            continue;
        }
        if segment.contains('*') {
            return Err("`*` and `**` stand only as the whole last segment");
        }
        if segment.is_empty() || matches!(*segment, "." | "..") || !segment.bytes().all(in_path) {
            return Err("the segments of a SPIFFE ID have letters, digits, `.`, `-` and `_`");
        }
    }
    Ok(text.to_owned())
}

fn parse_dns(text: &str) -> Result<String, &'static str> {
    match parse_pattern(text)? {
        HostPattern::Any => Err("it would match every certificate; use the role `verified`"),
        HostPattern::Exact(host) if host.parse::<std::net::IpAddr>().is_ok() => {
            Err("an address is no DNS name")
        }
        pattern => Ok(pattern.text()),
    }
}

/// Reads a SHA-256 in hex, with or without colons.
pub fn parse_sha256(text: &str) -> Result<[u8; 32], &'static str> {
    const SHAPE: &str = "a SHA-256 has 64 hex digits, with or without colons between bytes";
    let digits = match text.len() {
        64 => text.to_owned(),
        95 if text.bytes().skip(2).step_by(3).all(|byte| byte == b':') => text.replace(':', ""),
        _ => return Err(SHAPE),
    };
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(SHAPE);
    }
    let mut sha256 = [0; 32];
    for (index, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).map_err(|_| SHAPE)?;
    }
    Ok(sha256)
}
