//! Who may do what: identity × host × method × path. Default deny; deny wins.
//!
//! A plain function of its arguments: no clock, no socket, no `async`. The answer to an allowed request is a
//! [`Permit`], which nothing else can make and without which nothing reaches an upstream.

use std::sync::Arc;

use portcullis_config::{Action, Config, HostPattern, PathPattern, Role, RoleRef, Rule};

use crate::identity::{ClientIdentity, Identity};
use crate::path::CanonicalPath;
use crate::reason::Reason;

/// The rules of a snapshot.
#[derive(Debug, Clone)]
pub struct Policy {
    roles: Vec<Role>,
    rules: Vec<CompiledRule>,
}

#[derive(Debug, Clone)]
struct CompiledRule {
    rule: Rule,
    name: Arc<str>,
}

/// The right to forward one request.
#[derive(Debug)]
pub struct Permit {
    rule: Arc<str>,
}

impl Permit {
    /// Name of the rule that allowed the request.
    pub fn rule(&self) -> &Arc<str> {
        &self.rule
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

/// Which roles an identity has; worked out once per connection and snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSet {
    verified: bool,
    roles: Vec<bool>,
}

impl RoleSet {
    /// Whether the identity has this role.
    pub fn has(&self, role: &RoleRef) -> bool {
        match role {
            RoleRef::Anyone => true,
            RoleRef::Verified => self.verified,
            RoleRef::Role(index) => self.roles.get(*index).copied().unwrap_or(false),
        }
    }
}

impl Policy {
    /// Takes the checked rules.
    pub fn new(config: &Config) -> Self {
        let rules = config.rules.iter().map(|rule| CompiledRule {
            name: rule.name.as_str().into(),
            rule: rule.clone(),
        });
        Self {
            roles: config.roles.clone(),
            rules: rules.collect(),
        }
    }

    /// The roles of a client.
    pub fn roles_of(&self, client: &ClientIdentity) -> RoleSet {
        match client {
            ClientIdentity::Absent | ClientIdentity::Unverified(_) => RoleSet {
                verified: false,
                roles: vec![false; self.roles.len()],
            },
            ClientIdentity::Verified(identity) => RoleSet {
                verified: true,
                roles: self
                    .roles
                    .iter()
                    .map(|role| has_role(identity, role))
                    .collect(),
            },
        }
    }

    /// Decides one request. `host` is lower case, without port and trailing dot.
    pub fn decide(
        &self,
        roles: &RoleSet,
        host: &str,
        method: &str,
        path: &CanonicalPath<'_>,
    ) -> Result<Permit, Denied> {
        let mut allowed = None;
        for CompiledRule { rule, name } in &self.rules {
            // Once something allows, only a deny can still change the answer.
            if (allowed.is_some() && rule.action == Action::Allow)
                || !applies(rule, roles, host, method, path)
            {
                continue;
            }
            match rule.action {
                Action::Deny => {
                    return Err(Denied {
                        reason: Reason::DeniedByRule,
                        rule: Some(Arc::clone(name)),
                    });
                }
                Action::Allow => allowed = Some(name),
            }
        }
        match allowed {
            Some(name) => Ok(Permit {
                rule: Arc::clone(name),
            }),
            None => Err(Denied {
                reason: Reason::NotAuthorized,
                rule: None,
            }),
        }
    }
}

fn applies(
    rule: &Rule,
    roles: &RoleSet,
    host: &str,
    method: &str,
    path: &CanonicalPath<'_>,
) -> bool {
    rule.roles.iter().any(|role| roles.has(role))
        && (rule.methods.is_empty() || rule.methods.iter().any(|m| m == method))
        && (rule.hosts.is_empty() || rule.hosts.iter().any(|pattern| host_matches(pattern, host)))
        && (rule.paths.is_empty()
            || rule.paths.iter().any(|pattern| match pattern {
                PathPattern::Exact(exact) => path.as_str() == exact,
                PathPattern::Prefix(prefix) => path.is_below(prefix),
            }))
}

/// Whether a host (lower case, no port, no trailing dot) matches a pattern.
pub fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(exact) => exact == host,
        HostPattern::Wildcard(parent) => one_label_below(host, parent),
    }
}

fn one_label_below(host: &str, parent: &str) -> bool {
    host.split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
}

fn has_role(identity: &Identity, role: &Role) -> bool {
    role.spiffe.iter().any(|pattern| {
        identity
            .spiffe
            .as_deref()
            .is_some_and(|id| spiffe_matches(pattern, id))
    }) || role
        .dns
        .iter()
        .any(|pattern| identity.dns.iter().any(|name| dns_matches(pattern, name)))
        || role
            .common_name
            .iter()
            .any(|cn| identity.common_name.as_deref() == Some(cn))
        || role.sha256.contains(&identity.sha256)
}

/// Whether a SPIFFE ID matches a pattern: exact, or with a last segment `*` (one segment) or `**` (one or more).
pub fn spiffe_matches(pattern: &str, id: &str) -> bool {
    let below = |parent: &str| {
        id.strip_prefix(parent)
            .and_then(|rest| rest.strip_prefix('/'))
    };
    if let Some(parent) = pattern.strip_suffix("/**") {
        below(parent).is_some_and(|rest| rest.split('/').all(|segment| !segment.is_empty()))
    } else if let Some(parent) = pattern.strip_suffix("/*") {
        below(parent).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
    } else {
        pattern == id
    }
}

fn dns_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => one_label_below(name, parent),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(spiffe: &str) -> ClientIdentity {
        ClientIdentity::Verified(Arc::new(Identity {
            spiffe: Some(spiffe.to_owned()),
            uris: vec![spiffe.to_owned()],
            dns: vec!["a.svc.local".to_owned()],
            common_name: Some("orders".to_owned()),
            sha256: [7; 32],
            ..Identity::default()
        }))
    }

    fn role(name: &str) -> Role {
        Role {
            name: name.to_owned(),
            spiffe: vec![],
            dns: vec![],
            common_name: vec![],
            sha256: vec![],
        }
    }

    fn rule(action: Action, role: RoleRef, path: PathPattern) -> CompiledRule {
        let rule = Rule {
            name: "r".to_owned(),
            action,
            roles: vec![role],
            hosts: vec![],
            methods: vec![],
            paths: vec![path],
        };
        CompiledRule {
            rule,
            name: "r".into(),
        }
    }

    fn decide(policy: &Policy, client: &ClientIdentity, path: &str) -> Option<Reason> {
        let path = CanonicalPath::parse(path).unwrap();
        policy
            .decide(&policy.roles_of(client), "h", "GET", &path)
            .err()
            .map(|denied| denied.reason)
    }

    #[test]
    fn without_a_rule_nothing_passes() {
        let policy = Policy {
            roles: vec![],
            rules: vec![],
        };
        assert_eq!(
            decide(&policy, &identity("spiffe://d/a"), "/"),
            Some(Reason::NotAuthorized)
        );
        assert_eq!(
            decide(&policy, &ClientIdentity::Absent, "/"),
            Some(Reason::NotAuthorized)
        );
    }

    #[test]
    fn an_absent_identity_has_no_role_but_anyone() {
        let everything = || PathPattern::Prefix(String::new());
        let mut empty = role("orders");
        empty.spiffe.push("spiffe://d/**".to_owned());
        for (who, expected) in [
            (RoleRef::Role(0), Some(Reason::NotAuthorized)),
            (RoleRef::Verified, Some(Reason::NotAuthorized)),
            (RoleRef::Anyone, None),
        ] {
            let policy = Policy {
                roles: vec![empty.clone()],
                rules: vec![rule(Action::Allow, who, everything())],
            };
            assert_eq!(decide(&policy, &ClientIdentity::Absent, "/x"), expected);
        }
    }

    #[test]
    fn deny_wins_over_allow_in_either_order() {
        let allow = rule(
            Action::Allow,
            RoleRef::Verified,
            PathPattern::Prefix(String::new()),
        );
        let deny = rule(
            Action::Deny,
            RoleRef::Verified,
            PathPattern::Prefix("/users".to_owned()),
        );
        for rules in [vec![allow.clone(), deny.clone()], vec![deny, allow]] {
            let policy = Policy {
                roles: vec![],
                rules,
            };
            assert_eq!(
                decide(&policy, &identity("spiffe://d/a"), "/users/1"),
                Some(Reason::DeniedByRule)
            );
            assert_eq!(decide(&policy, &identity("spiffe://d/a"), "/orders"), None);
        }
    }

    #[test]
    fn spiffe_patterns_match_by_segments() {
        assert!(spiffe_matches("spiffe://d/ns/*", "spiffe://d/ns/a"));
        assert!(!spiffe_matches("spiffe://d/ns/*", "spiffe://d/ns/a/b"));
        assert!(!spiffe_matches("spiffe://d/ns/*", "spiffe://d/ns/"));
        assert!(!spiffe_matches("spiffe://d/ns/*", "spiffe://d/nsx/a"));
        assert!(spiffe_matches("spiffe://d/ns/**", "spiffe://d/ns/a/b"));
        assert!(!spiffe_matches("spiffe://d/ns/**", "spiffe://d/ns"));
        assert!(!spiffe_matches("spiffe://d/a", "spiffe://d/A"));
    }

    #[test]
    fn a_wildcard_host_covers_exactly_one_label() {
        let wildcard = HostPattern::Wildcard("example.com".to_owned());
        assert!(host_matches(&wildcard, "a.example.com"));
        assert!(!host_matches(&wildcard, "example.com"));
        assert!(!host_matches(&wildcard, "a.b.example.com"));
        assert!(!host_matches(&wildcard, ".example.com"));
    }
}
