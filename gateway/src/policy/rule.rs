//! One rule against one request, part by part.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use portcullis_config::{
    Action, HeaderCondition, HostPattern, IpNet, PathPattern, PathTemplate, RoleRef, Rule,
    TemplateEnd, TemplateSegment, ValuePattern,
};

use super::{ConnectionFacts, RequestFacts, RoleSet, host_matches};
use crate::path::CanonicalPath;

/// A rule, ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    pub(super) name: Arc<str>,
    rule: Rule,
    from: Nets,
    not_from: Nets,
}

/// Which parts of a rule a request satisfies, for `portcullis explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTrace {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// Its place in the configuration, counted from 0.
    pub number: usize,
    /// Where it was written.
    pub span: Range<usize>,
    /// What it does.
    pub action: Action,
    /// The client has one of its roles and none that is excepted.
    pub roles: bool,
    /// The host is meant.
    pub host: bool,
    /// The method is meant.
    pub method: bool,
    /// The path is meant.
    pub path: bool,
    /// The address is meant.
    pub from: bool,
    /// All conditions on headers hold.
    pub headers: bool,
}

impl RuleTrace {
    /// Whether the rule applies.
    pub fn matches(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The parts that are not satisfied, in the words of the configuration.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        [
            ("roles", self.roles),
            ("hosts", self.host),
            ("methods", self.method),
            ("paths", self.path),
            ("from", self.from),
            ("headers", self.headers),
        ]
        .into_iter()
        .filter_map(|(part, holds)| (!holds).then_some(part))
    }
}

impl CompiledRule {
    pub(super) fn new(rule: &Rule) -> Self {
        Self {
            name: rule.name.as_str().into(),
            from: Nets::new(&rule.from),
            not_from: Nets::new(&rule.not_from),
            rule: rule.clone(),
        }
    }

    pub(super) fn action(&self) -> Action {
        self.rule.action
    }

    /// Asks what the index does not: all but hosts, roles and `paths`.
    pub(super) fn rest_holds(&self, facts: &RequestFacts<'_>) -> bool {
        self.method_is_meant(facts.method)
            && self.address_is_meant(facts.source)
            && !any_path(&self.rule.not_paths, facts.path)
            && self.headers_hold(facts.headers)
    }

    /// Asks what the index does not, of a connection that carries no HTTP: all but hosts and roles. What a rule says about
    /// requests is true of none there is.
    pub(super) fn connection_holds(&self, source: IpAddr) -> bool {
        let (method, path, headers) = self.says_nothing_of();
        method && path && headers && self.address_is_meant(source)
    }

    /// The same of a connection without a name, and its roles and hosts, too.
    pub(super) fn nameless_holds(&self, roles: &RoleSet, source: IpAddr) -> bool {
        self.roles_are_meant(roles) && self.connection_holds(source) && self.any_host_is_meant()
    }

    /// Whether it is about a connection that may be for any host: what takes a right away is, whichever host it names; what
    /// gives one must name none, nor except one.
    fn any_host_is_meant(&self) -> bool {
        let (hosts, not_hosts) = (&self.rule.hosts, &self.rule.not_hosts);
        let any = |patterns: &[HostPattern]| patterns.contains(&HostPattern::Any);
        match self.rule.action {
            Action::Allow => (hosts.is_empty() || any(hosts)) && not_hosts.is_empty(),
            Action::Deny | Action::ShadowDeny => !any(not_hosts),
        }
    }

    /// Whether it says nothing of methods, of paths, of headers.
    fn says_nothing_of(&self) -> (bool, bool, bool) {
        let rule = &self.rule;
        (
            rule.methods.is_empty() && rule.not_methods.is_empty(),
            rule.paths.is_empty() && rule.not_paths.is_empty(),
            rule.headers.is_empty(),
        )
    }

    /// Asks everything of a connection that carries no HTTP, without the index.
    pub(super) fn trace_connection(
        &self,
        number: usize,
        roles: &RoleSet,
        facts: &ConnectionFacts<'_>,
    ) -> RuleTrace {
        let (method, path, headers) = self.says_nothing_of();
        RuleTrace {
            rule: Arc::clone(&self.name),
            number,
            span: self.rule.span.clone(),
            action: self.rule.action,
            roles: self.roles_are_meant(roles),
            host: facts
                .host
                .map_or_else(|| self.any_host_is_meant(), |host| self.host_is_meant(host)),
            method,
            path,
            from: self.address_is_meant(facts.source),
            headers,
        }
    }

    /// Asks everything, one part after the other, without the index.
    pub(super) fn trace(
        &self,
        number: usize,
        roles: &RoleSet,
        facts: &RequestFacts<'_>,
    ) -> RuleTrace {
        let rule = &self.rule;
        RuleTrace {
            rule: Arc::clone(&self.name),
            number,
            span: rule.span.clone(),
            action: rule.action,
            roles: self.roles_are_meant(roles),
            host: self.host_is_meant(facts.host),
            method: self.method_is_meant(facts.method),
            path: (rule.paths.is_empty() || any_path(&rule.paths, facts.path))
                && !any_path(&rule.not_paths, facts.path),
            from: self.address_is_meant(facts.source),
            headers: self.headers_hold(facts.headers),
        }
    }

    fn roles_are_meant(&self, roles: &RoleSet) -> bool {
        let any = |listed: &[RoleRef]| listed.iter().any(|role| roles.has(role));
        any(&self.rule.roles) && !any(&self.rule.not_roles)
    }

    fn host_is_meant(&self, host: &str) -> bool {
        let any = |patterns: &[_]| patterns.iter().any(|pattern| host_matches(pattern, host));
        (self.rule.hosts.is_empty() || any(&self.rule.hosts)) && !any(&self.rule.not_hosts)
    }

    /// Methods are case-sensitive (RFC 9110, section 9.1), but some upstreams take `delete` for `DELETE`: what
    /// takes a right away counts in any case, what gives one in upper case alone.
    fn method_is_meant(&self, method: &str) -> bool {
        let (methods, not_methods) = (&self.rule.methods, &self.rule.not_methods);
        let exact = |listed: &[String]| listed.iter().any(|listed| listed == method);
        let folded = |listed: &[String]| {
            let mut listed = listed.iter();
            listed.any(|listed| listed.eq_ignore_ascii_case(method))
        };
        match self.rule.action {
            Action::Allow => (methods.is_empty() || exact(methods)) && !folded(not_methods),
            Action::Deny | Action::ShadowDeny => {
                (methods.is_empty() || folded(methods)) && !exact(not_methods)
            }
        }
    }

    fn address_is_meant(&self, source: IpAddr) -> bool {
        (self.rule.from.is_empty() || self.from.contain(source)) && !self.not_from.contain(source)
    }

    fn headers_hold(&self, headers: &HeaderMap) -> bool {
        self.rule
            .headers
            .iter()
            .all(|condition| header_holds(condition, headers, self.rule.action))
    }
}

/// A field that is sent several times says what its reader makes of it: the first, the last, or all of them. So a
/// rule that allows wants every value to be right, and for one that denies a single wrong one is enough.
fn header_holds(condition: &HeaderCondition, headers: &HeaderMap, action: Action) -> bool {
    let values = || headers.get_all(&condition.name).iter();
    let any = |patterns: &[ValuePattern]| {
        let one = |value: &HeaderValue| patterns.iter().any(|it| it.matches(value.as_bytes()));
        values().any(one)
    };
    let every = |patterns: &[ValuePattern]| {
        let one = |value: &HeaderValue| patterns.iter().any(|it| it.matches(value.as_bytes()));
        values().next().is_some() && values().all(one)
    };
    let (wanted, unwanted) = match action {
        Action::Allow => (every(&condition.values), any(&condition.not_values)),
        Action::Deny | Action::ShadowDeny => (any(&condition.values), every(&condition.not_values)),
    };
    (condition.values.is_empty() || wanted) && !unwanted
}

fn any_path(patterns: &[PathPattern], path: &CanonicalPath<'_>) -> bool {
    patterns.iter().any(|pattern| match pattern {
        PathPattern::Exact(exact) => path.as_str() == exact,
        // `/**` is everything, also the `*` of OPTIONS.
        PathPattern::Prefix(prefix) => prefix.is_empty() || path.is_below(prefix),
        PathPattern::Template(template) => template_matches(template, path),
    })
}

fn template_matches(template: &PathTemplate, path: &CanonicalPath<'_>) -> bool {
    let Some(rest) = path.as_str().strip_prefix('/') else {
        return false;
    };
    let mut segments = rest.split('/');
    let all = template.segments.iter().all(|wanted| {
        segments.next().is_some_and(|segment| match wanted {
            TemplateSegment::Exact(exact) => segment == exact,
            TemplateSegment::Open(_) => !segment.is_empty(),
        })
    });
    all && (template.end == TemplateEnd::Below || segments.next().is_none())
}

/// Address blocks as sorted ranges that do not touch: one search, however many there are.
#[derive(Debug, Clone, Default)]
struct Nets {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Nets {
    fn new(nets: &[IpNet]) -> Self {
        let mut ranges = Self::default();
        for net in nets {
            match net.address {
                IpAddr::V4(address) => {
                    let first = u32::from(address);
                    let size = u32::MAX.checked_shr(net.prefix.into()).unwrap_or(0);
                    ranges.v4.push((first, first | size));
                }
                IpAddr::V6(address) => {
                    let first = u128::from(address);
                    let size = u128::MAX.checked_shr(net.prefix.into()).unwrap_or(0);
                    ranges.v6.push((first, first | size));
                }
            }
        }
        merge(&mut ranges.v4);
        merge(&mut ranges.v6);
        ranges
    }

    /// IPv4-mapped IPv6 addresses count as IPv4.
    fn contain(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => in_ranges(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => in_ranges(&self.v6, u128::from(ip)),
        }
    }
}

fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges.drain(..) {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    *ranges = merged;
}

fn in_ranges<T: Ord + Copy>(ranges: &[(T, T)], wanted: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= wanted);
    behind > 0 && wanted <= ranges[behind - 1].1
}
