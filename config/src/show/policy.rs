//! Roles and rules as TOML.

use super::page::{Page, list, quote};
use super::role_name;
use crate::{
    Action, Config, HeaderCondition, HostPattern, IpNet, NamePattern, PathPattern, Role, RoleRef,
    Rule, ValuePattern, attribute_name,
};

impl Page {
    pub(super) fn role(&mut self, role: &Role) {
        self.item("role");
        self.key("name", quote(&role.name));
        self.key("match", quote(role.matching.as_str()));
        self.list_unless_empty("spiffe", role.spiffe.iter().map(quote));
        self.list_unless_empty("trust_domain", role.trust_domain.iter().map(quote));
        self.list_unless_empty("uri", role.uri.iter().map(quote));
        self.list_unless_empty("dns", role.dns.iter().map(quote));
        self.list_unless_empty("common_name", role.common_name.iter().map(quote));
        self.list_unless_empty("subject", role.subject.iter().map(name));
        self.list_unless_empty("issuer", role.issuer.iter().map(name));
        self.list_unless_empty("policies", role.policies.iter().map(quote));
        let hex = |sha256: &[u8; 32]| sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        self.list_unless_empty(
            "sha256",
            role.sha256
                .iter()
                .map(|sha256| quote::<String>(hex(sha256))),
        );
    }

    pub(super) fn rule(&mut self, rule: &Rule, config: &Config) {
        self.item("rule");
        self.key("name", quote(&rule.name));
        let role = |role: &RoleRef| role_name(role, config);
        let host = |host: &HostPattern| quote(host.text());
        let path = |path: &PathPattern| quote(path.text());
        let net = |net: &IpNet| quote(format!("{}/{}", net.address, net.prefix));
        self.list("roles", rule.roles.iter().map(role));
        self.list_unless_empty("not_roles", rule.not_roles.iter().map(role));
        self.list_unless_empty("hosts", rule.hosts.iter().map(host));
        self.list_unless_empty("not_hosts", rule.not_hosts.iter().map(host));
        self.list_unless_empty("methods", rule.methods.iter().map(quote));
        self.list_unless_empty("not_methods", rule.not_methods.iter().map(quote));
        self.list_unless_empty("paths", rule.paths.iter().map(path));
        self.list_unless_empty("not_paths", rule.not_paths.iter().map(path));
        self.list_unless_empty("from", rule.from.iter().map(net));
        self.list_unless_empty("not_from", rule.not_from.iter().map(net));
        self.list_unless_empty("headers", rule.headers.iter().map(header));
        let (action, shadow) = match rule.action {
            Action::Allow => ("allow", false),
            Action::Deny => ("deny", false),
            Action::ShadowDeny => ("deny", true),
        };
        self.key("action", quote(action));
        self.key("shadow", shadow);
    }
}

fn name(pattern: &NamePattern) -> String {
    let mut parts = Vec::new();
    // Sorted, so the values of one attribute are neighbours.
    for of_one in pattern.attributes.chunk_by(|a, b| a.0 == b.0) {
        let oid = &of_one[0].0;
        let key = attribute_name(oid).map_or_else(|| quote(oid), str::to_owned);
        let values = list(of_one.iter().map(|(_, value)| quote(value)));
        parts.push(format!("{key} = {values}"));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn header(condition: &HeaderCondition) -> String {
    let mut text = format!("{{ name = {}", quote(&condition.name));
    for (key, patterns) in [
        ("values", &condition.values),
        ("not_values", &condition.not_values),
    ] {
        if !patterns.is_empty() {
            let values = list(patterns.iter().map(ValuePattern::text).map(quote));
            text.push_str(&format!(", {key} = {values}"));
        }
    }
    text + " }"
}
