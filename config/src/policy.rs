//! `[[role]]` and `[[rule]]`: who may do what. Nothing is allowed without a rule; deny wins.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::host::parse_pattern;
use crate::schema::one_or_many;
use crate::value::{did_you_mean, quoted};
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

/// Who a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleRef {
    /// `anyone`: everybody, also without a certificate.
    Anyone,
    /// `verified`: every client with a verified certificate.
    Verified,
    /// Index into [`crate::Config::roles`].
    Role(usize),
}

/// One authorization rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Shown in logs; default `rule-N` (counted from 1 in file order).
    pub name: String,
    /// Allow (default) or deny.
    pub action: Action,
    /// Never empty.
    pub roles: Vec<RoleRef>,
    /// Hosts; empty means any.
    pub hosts: Vec<HostPattern>,
    /// Methods, upper case; empty means any.
    pub methods: Vec<String>,
    /// Paths; empty means any.
    pub paths: Vec<PathPattern>,
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// May pass, unless another rule denies.
    Allow,
    /// May not pass, whatever other rules say.
    Deny,
}

/// A path pattern; matching is on the canonical path, by whole segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// `/a/b`: exactly this path.
    Exact(String),
    /// `/a/**`: `/a`, `/a/` and everything below. The value is without the trailing `/**` ("" for `/**`).
    Prefix(String),
}

impl PathPattern {
    /// How it is written in the file.
    pub fn text(&self) -> String {
        match self {
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Prefix(path) => format!("{path}/**"),
        }
    }
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

/// `[[rule]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    /// Shown in logs. Default: `rule-N`, counted from 1.
    name: Option<Located<String>>,
    /// Roles this rule is about; also `verified` (every client with a valid certificate) and `anyone`.
    /// Required.
    #[schemars(schema_with = "one_or_many::<String>")]
    roles: Option<Vec<Located<String>>>,
    /// Hosts: `api.example.com`, `*.example.com`, `*`. Default: any.
    #[schemars(schema_with = "one_or_many::<String>")]
    hosts: Option<Vec<Located<String>>>,
    /// Methods, upper case. Default: any.
    #[schemars(schema_with = "one_or_many::<String>")]
    methods: Option<Vec<Located<String>>>,
    /// Paths: `/a/b` is exactly that path, `/a/**` is `/a` and everything below. Default: any.
    #[schemars(schema_with = "one_or_many::<String>")]
    paths: Option<Vec<Located<String>>>,
    /// What a match does. A deny wins over every allow.
    action: Option<Located<Action>>,
}

/// Role names that are there without a table.
const RESERVED: [&str; 2] = ["anyone", "verified"];

impl RawRole {
    /// The name, for [`Names`].
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

impl RawRule {
    pub(crate) fn name(&self) -> Option<Located<String>> {
        self.name.clone()
    }

    /// `served` are the hosts of all sites.
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        (table, number): (&Span, usize),
        roles: &Names,
        served: &[Located<HostPattern>],
    ) -> Rule {
        let written = check.required(table, "roles", self.roles);
        if written.as_ref().is_some_and(Vec::is_empty) {
            check
                .error(table, "`roles` is empty, so this rule is about nobody")
                .help("use `roles = [\"verified\"]` for every client with a valid certificate");
        }
        let written = written.unwrap_or_default();
        check.distinct(&written, "this role");
        let roles = written.iter().filter_map(|role| match role.value.as_str() {
            "anyone" => Some(RoleRef::Anyone),
            "verified" => Some(RoleRef::Verified),
            _ => roles.index(check, role).map(RoleRef::Role),
        });
        let roles = roles.collect();
        for (key, list) in [
            ("hosts", &self.hosts),
            ("methods", &self.methods),
            ("paths", &self.paths),
        ] {
            // Empty could be read as "none", but the checked form means "any".
            if list.as_ref().is_some_and(Vec::is_empty) {
                let message = format!("`{key}` is empty");
                check
                    .error(table, message)
                    .help("leave the key out to mean any");
            }
        }
        let hosts = self.hosts.unwrap_or_default();
        let paths = self.paths.unwrap_or_default();
        Rule {
            name: self
                .name
                .map_or_else(|| format!("rule-{number}"), |name| name.value),
            action: self.action.map_or(Action::Allow, |action| action.value),
            roles,
            hosts: hosts
                .iter()
                .filter_map(|text| rule_host(check, text, served))
                .collect(),
            methods: patterns(check, self.methods, parse_method),
            paths: paths
                .iter()
                .filter_map(|text| path_pattern(check, text))
                .collect(),
        }
    }
}

fn patterns<T>(
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

/// A host no site has is a mistake that would make a deny rule do nothing.
fn rule_host(
    check: &mut Check<'_>,
    text: &Located<String>,
    served: &[Located<HostPattern>],
) -> Option<HostPattern> {
    let host = match parse_pattern(&text.value) {
        Ok(host) => host,
        Err(problem) => {
            check.error(
                &text.span,
                format!("{} is no host: {problem}", quoted(&text.value)),
            );
            return None;
        }
    };
    if !check.lost_tables() && !served.is_empty() && !served.iter().any(|site| site.overlaps(&host))
    {
        let known: Vec<_> = served.iter().map(|site| site.text()).collect();
        let help = match did_you_mean(&text.value, known.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("the hosts of the sites are {}", known.join(", ")),
        };
        check
            .error(
                &text.span,
                format!("no site has the host {}", quoted(&text.value)),
            )
            .help(help);
    }
    Some(host)
}

fn path_pattern(check: &mut Check<'_>, text: &Located<String>) -> Option<PathPattern> {
    let (path, below) = match text.value.strip_suffix("/**") {
        Some(path) => (path, true),
        None => (text.value.as_str(), false),
    };
    if path.contains('*') {
        check
            .error(
                &text.span,
                "`**` stands only as the whole last segment of a path, and `*` nowhere",
            )
            .help("write \"/a/**\" for `/a` and everything below it");
        return None;
    }
    if below && path.is_empty() {
        return Some(PathPattern::Prefix(String::new()));
    }
    check_path(check, &text.with(path.to_owned()))?;
    let path = path.to_owned();
    Some(if below {
        PathPattern::Prefix(path)
    } else {
        PathPattern::Exact(path)
    })
}

/// A path in the form requests are compared in. Anything else would never match, or match something else.
pub(crate) fn check_path(check: &mut Check<'_>, path: &Located<String>) -> Option<()> {
    let text = path.value.as_str();
    let dots = text
        .split('/')
        .any(|segment| segment == "." || segment == "..");
    let problem = match text {
        _ if !text.starts_with('/') => "a path begins with `/`",
        _ if dots => "a path has no `.` or `..` segments: requests are compared without them",
        _ if text.contains("//") => "a path has no empty segments (`//`)",
        _ if text.contains('%') => "a path is written without percent-encoding",
        _ if text.contains(';') => "a path has no parameters (`;`)",
        _ if text.contains('\\') => "a path has no backslash",
        _ if text.contains(['?', '#']) => "a path has no query and no fragment",
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "a path has only printable ASCII characters"
        }
        _ => return Some(()),
    };
    check.error(&path.span, problem);
    None
}

fn parse_spiffe(text: &str) -> Result<String, &'static str> {
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

fn parse_sha256(text: &str) -> Result<[u8; 32], &'static str> {
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

fn parse_method(text: &str) -> Result<String, &'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text == "*" {
        return Err("leave `methods` out to mean any");
    }
    if text.is_empty() || text.len() > 32 || !text.bytes().all(token) {
        return Err("a method is one word, like `GET`");
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("methods are case-sensitive and written in upper case");
    }
    Ok(text.to_owned())
}
