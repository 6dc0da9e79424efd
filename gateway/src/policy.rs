//! Who may do what: identity × host × method × path × address × headers. Default deny; deny wins.
//!
//! A plain function of its arguments: no clock, no socket, no `async`. The answer to an allowed request is a
//! [`Permit`], which nothing else can make and without which nothing reaches an upstream.

mod index;
mod roles;
mod rule;
mod who;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use http::HeaderMap;
use portcullis_config::{Action, Config, HostPattern, Role, Rule};

use self::index::{Candidates, Index};
use self::roles::RoleTable;
use self::rule::CompiledRule;
use self::who::WhoTable;
use crate::identity::ClientIdentity;
use crate::path::CanonicalPath;
use crate::reason::Reason;

pub use self::rule::RuleTrace;
pub use self::who::RoleSet;

/// An explanation names this many rules at most.
const TRACES_MAX: usize = 200;

/// The rules of a snapshot.
#[derive(Debug, Clone)]
pub struct Policy {
    roles: RoleTable,
    who: WhoTable,
    index: Index,
    rules: Vec<CompiledRule>,
    /// Rules with hosts that take rights away: of a connection without a name each may be meant.
    named: Candidates,
}

/// What a request is decided on.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Lower case, without port and trailing dot.
    pub host: &'a str,
    /// As it was sent; methods are case-sensitive.
    pub method: &'a str,
    /// The form that is forwarded.
    pub path: &'a CanonicalPath<'a>,
    /// Where the connection comes from.
    pub source: IpAddr,
    /// As they were sent.
    pub headers: &'a HeaderMap,
}

/// What a connection that carries no HTTP is decided on.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts<'a> {
    /// The server name, lower case and without trailing dot; `None` where the client sent none that the gateway knows.
    pub host: Option<&'a str>,
    /// Where the connection comes from.
    pub source: IpAddr,
}

/// The right to forward one request, or to carry one connection.
#[derive(Debug)]
pub struct Permit {
    rule: Arc<str>,
    shadows: Vec<Arc<str>>,
}

impl Permit {
    /// Name of the rule that allowed the request.
    pub fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// The first rule on trial that would have denied the request.
    pub fn shadowed(&self) -> Option<&Arc<str>> {
        self.shadows.first()
    }

    /// All rules on trial that would have denied the request, in the order of the configuration.
    pub fn shadows(&self) -> &[Arc<str>] {
        &self.shadows
    }
}

/// A request that may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// [`Reason::NotAuthorized`] or [`Reason::DeniedByRule`].
    pub reason: Reason,
    /// Name of the deny rule, if one matched.
    pub rule: Option<Arc<str>>,
}

impl Policy {
    /// Takes the checked rules.
    pub fn new(config: &Config) -> Self {
        Self::of(&config.roles, &config.rules)
    }

    fn of(roles: &[Role], rules: &[Rule]) -> Self {
        let (who, numbers) = WhoTable::new(rules, roles.len());
        Self {
            roles: RoleTable::new(roles),
            who,
            index: Index::new(rules, &numbers),
            rules: rules.iter().map(CompiledRule::new).collect(),
            named: Candidates::taking_from_hosts(rules),
        }
    }

    /// The roles of a client. Without a verified identity there is none but `anyone`.
    pub fn roles_of(&self, client: &ClientIdentity) -> RoleSet {
        let identity = client.verified();
        let roles = identity.map(|identity| self.roles.roles_of(identity));
        self.who
            .role_set(identity.is_some(), roles.unwrap_or_default())
    }

    /// The names of the roles in a set, without `anyone` and `verified`.
    pub fn role_names(&self, roles: &RoleSet) -> Vec<&str> {
        let names = roles.roles.iter().filter_map(|at| self.roles.name(*at));
        names.map(|name| &**name).collect()
    }

    /// Where the roles in a set were written, in the order of their names.
    pub fn role_spans(&self, roles: &RoleSet) -> Vec<Range<usize>> {
        let spans = roles.roles.iter().filter_map(|at| self.roles.span(*at));
        spans.cloned().collect()
    }

    /// The names of the rules on trial.
    pub fn shadow_rules(&self) -> impl Iterator<Item = &Arc<str>> {
        let on_trial = |rule: &&CompiledRule| rule.action() == Action::ShadowDeny;
        self.rules.iter().filter(on_trial).map(|rule| &rule.name)
    }

    /// Decides one request. Of several rules that match, the first of the configuration is named.
    pub fn decide(&self, roles: &RoleSet, facts: &RequestFacts<'_>) -> Result<Permit, Denied> {
        let asked = (facts.host, facts.method);
        self.judge(
            |found| self.index.find(asked, facts.path, &roles.who, found),
            |rule| rule.rest_holds(facts),
        )
    }

    /// Decides one connection that carries no HTTP. A rule about methods, paths or headers never matches it.
    pub fn decide_connection(
        &self,
        roles: &RoleSet,
        facts: &ConnectionFacts<'_>,
    ) -> Result<Permit, Denied> {
        let Some(host) = facts.host else {
            // It may be for any host. No rule names the empty one, so where any host is meant this is, too.
            return self.judge(
                |found| {
                    self.index.find_connection("", &roles.who, found);
                    found(&self.named);
                },
                |rule| rule.nameless_holds(roles, facts.source),
            );
        };
        self.judge(
            |found| self.index.find_connection(host, &roles.who, found),
            |rule| rule.connection_holds(facts.source),
        )
    }

    /// What comes of the candidates that `find` shows, where `holds` asks them what the index did not.
    #[inline]
    fn judge(
        &self,
        find: impl FnOnce(&mut dyn FnMut(&Candidates)),
        holds: impl Fn(&CompiledRule) -> bool,
    ) -> Result<Permit, Denied> {
        let (mut deny, mut allow, mut shadows) = (None, None, Vec::new());
        find(&mut |candidates: &Candidates| {
            self.first(&candidates.deny, &holds, &mut deny);
            // Once something denies, nothing else can change the answer.
            if deny.is_none() {
                self.first(&candidates.allow, &holds, &mut allow);
                let on_trial = candidates.shadow.iter();
                shadows.extend(on_trial.filter(|at| holds(&self.rules[**at as usize])));
            }
        });
        let name = |at: u32| Arc::clone(&self.rules[at as usize].name);
        if let Some(at) = deny {
            return Err(Denied {
                reason: Reason::DeniedByRule,
                rule: Some(name(at)),
            });
        }
        let Some(at) = allow else {
            return Err(Denied {
                reason: Reason::NotAuthorized,
                rule: None,
            });
        };
        // One rule can be found in two places of the index.
        shadows.sort_unstable();
        shadows.dedup();
        Ok(Permit {
            rule: name(at),
            shadows: shadows.into_iter().map(name).collect(),
        })
    }

    /// Puts the first of a sorted list that matches into `best`, where it stands before what is there.
    fn first(
        &self,
        sorted: &[u32],
        holds: &impl Fn(&CompiledRule) -> bool,
        best: &mut Option<u32>,
    ) {
        let before = sorted
            .iter()
            .copied()
            .take_while(|at| best.is_none_or(|best| *at < best));
        let found = { before }.find(|at| holds(&self.rules[*at as usize]));
        *best = found.or(*best);
    }

    /// How each rule that is about host and path, or that applies, sees a request; bounded.
    pub fn explain(&self, roles: &RoleSet, facts: &RequestFacts<'_>) -> Vec<RuleTrace> {
        let rules = self.rules.iter().enumerate();
        let traces = rules.map(|(number, rule)| rule.trace(number, roles, facts));
        bounded(traces.filter(|trace| trace.host && trace.path).collect())
    }

    /// The same for a connection that carries no HTTP.
    pub fn explain_connection(
        &self,
        roles: &RoleSet,
        facts: &ConnectionFacts<'_>,
    ) -> Vec<RuleTrace> {
        let rules = self.rules.iter().enumerate();
        let traces = rules.map(|(number, rule)| rule.trace_connection(number, roles, facts));
        bounded(traces.filter(|trace| trace.host).collect())
    }
}

/// As many traces as people read, in the order of the configuration.
fn bounded(mut near: Vec<RuleTrace>) -> Vec<RuleTrace> {
    // What applies is not what is left out.
    if near.len() > TRACES_MAX {
        near.sort_by_key(|trace| (!trace.matches(), trace.number));
        near.truncate(TRACES_MAX);
        near.sort_by_key(|trace| trace.number);
    }
    near
}

/// Whether a host (lower case, no port, no trailing dot) matches a pattern.
pub fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(exact) => exact == host,
        HostPattern::Wildcard(parent) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
    }
}
