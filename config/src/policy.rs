//! `[[rule]]`: who may do what. Nothing is allowed without a rule; deny wins.
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::condition::RawHeaderCondition;
use crate::forwarding::address_block;
use crate::host::parse_pattern;
use crate::path::path_pattern;
use crate::role::patterns;
use crate::schema::one_or_many;
use crate::value::{did_you_mean, quoted};
use crate::{HeaderCondition, HostPattern, IpNet, Located, PathPattern};

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

/// One authorization rule. It matches where all that is written does, and nothing of the `not_` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Shown in logs; default `rule-N` (counted from 1 in file order).
    pub name: String,
    /// What a match does.
    pub action: Action,
    /// Never empty.
    pub roles: Vec<RoleRef>,
    /// Who has one of these is not meant.
    pub not_roles: Vec<RoleRef>,
    /// Hosts; empty means any.
    pub hosts: Vec<HostPattern>,
    /// Hosts that are not meant.
    pub not_hosts: Vec<HostPattern>,
    /// Methods, upper case; empty means any.
    pub methods: Vec<String>,
    /// Methods that are not meant.
    pub not_methods: Vec<String>,
    /// Paths; empty means any.
    pub paths: Vec<PathPattern>,
    /// Paths that are not meant.
    pub not_paths: Vec<PathPattern>,
    /// Addresses of clients; empty means any.
    pub from: Vec<IpNet>,
    /// Addresses that are not meant.
    pub not_from: Vec<IpNet>,
    /// Conditions on header fields, all of which must hold.
    pub headers: Vec<HeaderCondition>,
    /// Where its table was written.
    pub span: Range<usize>,
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// May pass, unless another rule denies.
    Allow,
    /// May not pass, whatever other rules say.
    Deny,
    /// A deny on trial (`shadow = true`): what it would deny is counted and logged, and passes.
    ShadowDeny,
}

/// `action` as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RawAction {
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
    /// Roles this rule is not about: who has one of them is not meant.
    #[schemars(schema_with = "one_or_many::<String>")]
    not_roles: Option<Vec<Located<String>>>,
    /// Hosts: `api.example.com`, `*.example.com`, `*`. Default: any.
    #[schemars(schema_with = "one_or_many::<String>")]
    hosts: Option<Vec<Located<String>>>,
    /// Hosts that are not meant.
    #[schemars(schema_with = "one_or_many::<String>")]
    not_hosts: Option<Vec<Located<String>>>,
    /// Methods, upper case. Default: any.
    #[schemars(schema_with = "one_or_many::<String>")]
    methods: Option<Vec<Located<String>>>,
    /// Methods that are not meant.
    #[schemars(schema_with = "one_or_many::<String>")]
    not_methods: Option<Vec<Located<String>>>,
    /// Paths: `/a/b` is exactly that path, `/a/**` is `/a` and everything below, in `/a/{id}/b` `{id}` (or
    /// `*`) is exactly one segment. Default: any.
    #[schemars(schema_with = "one_or_many::<String>")]
    paths: Option<Vec<Located<String>>>,
    /// Paths that are not meant.
    #[schemars(schema_with = "one_or_many::<String>")]
    not_paths: Option<Vec<Located<String>>>,
    /// Address blocks of clients: `10.0.0.0/8`, or one address. Default: any.
    #[schemars(schema_with = "one_or_many::<String>")]
    from: Option<Vec<Located<String>>>,
    /// Address blocks that are not meant.
    #[schemars(schema_with = "one_or_many::<String>")]
    not_from: Option<Vec<Located<String>>>,
    /// Conditions on header fields; all must hold.
    #[schemars(schema_with = "one_or_many::<RawHeaderCondition>")]
    headers: Option<Vec<Located<RawHeaderCondition>>>,
    /// What a match does. A deny wins over every allow.
    action: Option<Located<RawAction>>,
    /// A deny on trial: it counts and logs what it would deny, and denies nothing.
    shadow: Option<Located<bool>>,
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
        names: &Names,
        served: &[Located<HostPattern>],
    ) -> Rule {
        let written = check.required(table, "roles", self.roles.as_ref().map(|_| ()));
        if written.is_some() && self.roles.as_ref().is_some_and(Vec::is_empty) {
            check
                .error(table, "`roles` is empty, so this rule is about nobody")
                .help("use `roles = [\"verified\"]` for every client with a valid certificate");
        }
        self.no_empty_list(check, table);
        let headers = self.headers.unwrap_or_default().into_iter();
        let headers = headers
            .filter_map(|raw| raw.value.check(check, &raw.span))
            .collect();
        Rule {
            name: self
                .name
                .map_or_else(|| format!("rule-{number}"), |name| name.value),
            action: action(check, self.action, self.shadow),
            roles: roles(check, self.roles, names),
            not_roles: roles(check, self.not_roles, names),
            hosts: each(self.hosts, |text| rule_host(check, text, served)),
            not_hosts: each(self.not_hosts, |text| rule_host(check, text, served)),
            methods: patterns(check, self.methods, parse_method),
            not_methods: patterns(check, self.not_methods, parse_method),
            paths: each(self.paths, |text| path_pattern(check, text)),
            not_paths: each(self.not_paths, |text| path_pattern(check, text)),
            from: each(self.from, |text| address_block(check, text)),
            not_from: each(self.not_from, |text| address_block(check, text)),
            headers,
            span: table.clone(),
        }
    }

    /// An empty list could be read as "none", but the checked form means "any".
    fn no_empty_list(&self, check: &mut Check<'_>, table: &Span) {
        for (key, list) in [
            ("hosts", &self.hosts),
            ("methods", &self.methods),
            ("paths", &self.paths),
            ("from", &self.from),
        ] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                let message = format!("`{key}` is empty");
                check
                    .error(table, message)
                    .help("leave the key out to mean any");
            }
        }
    }
}

fn each<T>(
    list: Option<Vec<Located<String>>>,
    read: impl FnMut(&Located<String>) -> Option<T>,
) -> Vec<T> {
    list.unwrap_or_default().iter().filter_map(read).collect()
}

fn roles(
    check: &mut Check<'_>,
    written: Option<Vec<Located<String>>>,
    names: &Names,
) -> Vec<RoleRef> {
    let written = written.unwrap_or_default();
    check.distinct(&written, "this role");
    let role = |role: &Located<String>| match role.value.as_str() {
        "anyone" => Some(RoleRef::Anyone),
        "verified" => Some(RoleRef::Verified),
        _ => names.index(check, role).map(RoleRef::Role),
    };
    written.iter().filter_map(role).collect()
}

fn action(
    check: &mut Check<'_>,
    action: Option<Located<RawAction>>,
    shadow: Option<Located<bool>>,
) -> Action {
    let on_trial = shadow.as_ref().is_some_and(|shadow| shadow.value);
    match (action.map(|action| action.value), shadow) {
        (Some(RawAction::Deny), _) if on_trial => Action::ShadowDeny,
        (Some(RawAction::Deny), _) => Action::Deny,
        (_, Some(shadow)) if on_trial => {
            check
                .error(&shadow.span, "`shadow` is for `action = \"deny\"` only")
                .help("a rule that allows nothing yet is a rule that is not there");
            Action::Allow
        }
        _ => Action::Allow,
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
