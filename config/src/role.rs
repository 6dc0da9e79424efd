//! `[[role]]`: named groups of clients.
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::attribute::{RawNamePattern, is_oid};
use crate::check::{Check, Span};
use crate::host::parse_pattern;
use crate::schema::one_or_many;
use crate::value::quoted;
use crate::{HostPattern, Located, NamePattern};

/// A named group of identities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Unique; `anyone` and `verified` are reserved.
    pub name: String,
    /// How many of the patterns must match.
    pub matching: RoleMatch,
    /// SPIFFE IDs, exact (`spiffe://td/ns/a`) or with a last segment `*` that matches one segment, or `**`
    /// that matches one or more segments. `spiffe://**` is every SPIFFE ID.
    pub spiffe: Vec<String>,
    /// Trust domains of SPIFFE IDs.
    pub trust_domain: Vec<String>,
    /// URI SANs, exact or with a last segment `*` or `**`.
    pub uri: Vec<String>,
    /// DNS SANs, exact or with a leftmost `*` label. Lower case.
    pub dns: Vec<String>,
    /// Subject common names, exact.
    pub common_name: Vec<String>,
    /// Attributes of the subject.
    pub subject: Vec<NamePattern>,
    /// Attributes of the issuer.
    pub issuer: Vec<NamePattern>,
    /// Certificate policies, as dotted object identifiers.
    pub policies: Vec<String>,
    /// SHA-256 of the leaf certificate (DER).
    pub sha256: Vec<[u8; 32]>,
    /// Where its table was written.
    pub span: Range<usize>,
}

/// How many of a role's patterns must match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleMatch {
    /// One pattern of any kind is enough.
    #[default]
    Any,
    /// Of each kind that is written one pattern.
    All,
}

impl RoleMatch {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            RoleMatch::Any => "any",
            RoleMatch::All => "all",
        }
    }
}

/// `[[role]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRole {
    /// Name. Required.
    name: Option<Located<String>>,
    /// Whether one pattern of any kind is enough (`any`), or each kind that is written must have one (`all`).
    #[serde(rename = "match")]
    matching: Option<Located<RoleMatch>>,
    /// SPIFFE IDs, exact, or with `*` (one segment) or `**` (one or more) as last segment.
    #[schemars(schema_with = "one_or_many::<String>")]
    spiffe: Option<Vec<Located<String>>>,
    /// Trust domains: every SPIFFE ID in them.
    #[schemars(schema_with = "one_or_many::<String>")]
    trust_domain: Option<Vec<Located<String>>>,
    /// URIs of the certificate, exact, or with `*` (one segment) or `**` (one or more) as last segment.
    #[schemars(schema_with = "one_or_many::<String>")]
    uri: Option<Vec<Located<String>>>,
    /// DNS names of the certificate, exact, or with a leftmost `*` label.
    #[schemars(schema_with = "one_or_many::<String>")]
    dns: Option<Vec<Located<String>>>,
    /// Subject common names, exact.
    #[schemars(schema_with = "one_or_many::<String>")]
    common_name: Option<Vec<Located<String>>>,
    /// Attributes of the subject, all of one table: `{ O = "Acme", OU = "Payments" }`.
    #[schemars(schema_with = "one_or_many::<RawNamePattern>")]
    subject: Option<Vec<Located<RawNamePattern>>>,
    /// Attributes of the issuer, all of one table.
    #[schemars(schema_with = "one_or_many::<RawNamePattern>")]
    issuer: Option<Vec<Located<RawNamePattern>>>,
    /// Certificate policies, as dotted object identifiers.
    #[schemars(schema_with = "one_or_many::<String>")]
    policies: Option<Vec<Located<String>>>,
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
        self.means_somebody(check, table);
        let name = check.required(table, "name", self.name);
        if let Some(name) = name
            .as_ref()
            .filter(|name| RESERVED.contains(&name.value.as_str()))
        {
            let message = format!("{} is a role that is always there", quoted(&name.value));
            check.error(&name.span, message).help("choose another name");
        }
        let plain = |name: &'static str| {
            move |text: &str| match text.is_empty() {
                true => Err(name),
                false => Ok(text.to_owned()),
            }
        };
        Some(Role {
            matching: self.matching.map_or(RoleMatch::Any, |word| word.value),
            spiffe: patterns(check, self.spiffe, parse_spiffe),
            trust_domain: patterns(check, self.trust_domain, parse_trust_domain),
            uri: patterns(check, self.uri, parse_uri),
            dns: patterns(check, self.dns, parse_dns),
            common_name: patterns(check, self.common_name, plain("a common name is not empty")),
            subject: name_patterns(check, self.subject),
            issuer: name_patterns(check, self.issuer),
            policies: patterns(check, self.policies, |text| match is_oid(text) {
                true => Ok(text.to_owned()),
                false => Err("a policy is a dotted object identifier, like `1.3.6.1.4.1.99999.1`"),
            }),
            sha256: patterns(check, self.sha256, parse_sha256),
            name: name?.value,
            span: table.clone(),
        })
    }

    /// Reports a role without any pattern.
    fn means_somebody(&self, check: &mut Check<'_>, table: &Span) {
        const KINDS: [&str; 9] = [
            "spiffe",
            "trust_domain",
            "uri",
            "dns",
            "common_name",
            "subject",
            "issuer",
            "policies",
            "sha256",
        ];
        let texts = [
            &self.spiffe,
            &self.trust_domain,
            &self.uri,
            &self.dns,
            &self.common_name,
            &self.policies,
            &self.sha256,
        ];
        let names = [&self.subject, &self.issuer];
        let written = |length: Option<usize>| length.is_some_and(|length| length > 0);
        let some = texts
            .iter()
            .any(|list| written(list.as_ref().map(Vec::len)))
            || names
                .iter()
                .any(|list| written(list.as_ref().map(Vec::len)));
        if !some && !KINDS.iter().any(|key| check.lost_key(table, key)) {
            let kinds = KINDS.map(|kind| format!("`{kind}`")).join(", ");
            check
                .error(table, "this role matches nobody: it has no pattern")
                .help(format!("add at least one of {kinds}"));
        }
    }
}

fn name_patterns(
    check: &mut Check<'_>,
    written: Option<Vec<Located<RawNamePattern>>>,
) -> Vec<NamePattern> {
    let written = written.unwrap_or_default().into_iter();
    written.filter_map(|pattern| pattern.check(check)).collect()
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
    if rest == "**" {
        return Ok(text.to_owned());
    }
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    parse_trust_domain(domain)?;
    if path.is_empty() && !rest.contains('/') {
        return Ok(text.to_owned());
    }
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    for segment in fixed_segments(path)? {
        if segment.is_empty() || matches!(segment, "." | "..") || !segment.bytes().all(in_path) {
            return Err("the segments of a SPIFFE ID have letters, digits, `.`, `-` and `_`");
        }
    }
    Ok(text.to_owned())
}

fn parse_trust_domain(text: &str) -> Result<String, &'static str> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(plain) {
        return Err("a trust domain has lower-case letters, digits, `.`, `-` and `_`");
    }
    Ok(text.to_owned())
}

fn parse_uri(text: &str) -> Result<String, &'static str> {
    let (scheme, rest) = text
        .split_once(':')
        .ok_or("a URI begins with its scheme, as in `https://` or `urn:`")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(plain) {
        return Err("a URI begins with its scheme, as in `https://` or `urn:`");
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => ("", rest),
    };
    let below = text.ends_with("/*") || text.ends_with("/**");
    if authority.contains('*') || (text.contains('*') && !below) {
        return Err("`*` and `**` stand only as the whole last segment");
    }
    fixed_segments(path)?;
    if rest.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a URI has only printable ASCII characters");
    }
    Ok(text.to_owned())
}

/// The segments of a path without a wildcard at the end; a wildcard elsewhere is wrong.
fn fixed_segments(path: &str) -> Result<Vec<&str>, &'static str> {
    let mut segments: Vec<_> = path.split('/').collect();
    if matches!(segments.last(), Some(&("*" | "**"))) {
        segments.pop();
    }
    match segments.iter().any(|segment| segment.contains('*')) {
        true => Err("`*` and `**` stand only as the whole last segment"),
        false => Ok(segments),
    }
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
