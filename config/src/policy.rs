//! `[[rule]]`: who may do what. Nothing is allowed without a rule; deny wins.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::host::parse_pattern;
use crate::path::path_pattern;
use crate::role::patterns;
use crate::schema::one_or_many;
use crate::value::{did_you_mean, quoted};
use crate::{HostPattern, Located, PathPattern};

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

impl RawRule {
    pub(crate) fn name(&self) -> Option<Located<String>> {
        self.name.clone()
    }

    /// `served` are the hosts of all sites, or none when they are not all known.
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
