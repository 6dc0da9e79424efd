//! Roles and rules as TOML of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::convert::Ours;
use super::who::IdPattern;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
    /// A deny on trial.
    Shadow,
}

/// The page in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Names of roles by their identities, in the order of the names given.
    roles: BTreeMap<Vec<IdPattern>, String>,
    role_names: BTreeSet<String>,
    rule_names: BTreeSet<String>,
    role_text: String,
    rule_text: String,
}

impl Page {
    /// Roles first, then rules.
    pub(super) fn finish(self) -> String {
        self.role_text + &self.rule_text
    }

    /// A line for people between the rules.
    pub(super) fn comment(&mut self, text: &str) {
        let _ = writeln!(self.rule_text, "# {text}"); // A String takes everything, here and below.
    }

    pub(super) fn rule(&mut self, name: &str, effect: Effect, rule: &Ours) {
        let roles = match &rule.who.include {
            None => vec!["anyone".to_owned()],
            Some(ids) => vec![self.role(ids)],
        };
        let not_roles: Vec<String> = match rule.who.exclude.as_slice() {
            [] => Vec::new(),
            ids => vec![self.role(ids)],
        };
        let name = free_name(&mut self.rule_names, name);
        let text = &mut self.rule_text;
        let _ = writeln!(text, "[[rule]]\nname = {}", quote(&name));
        key(text, "roles", &roles);
        key(text, "not_roles", &not_roles);
        key(text, "hosts", &rule.hosts);
        key(text, "not_hosts", &rule.not_hosts);
        key(text, "methods", &rule.methods);
        key(text, "not_methods", &rule.not_methods);
        key(text, "paths", &rule.paths);
        key(text, "not_paths", &rule.not_paths);
        let blocks = |blocks: &[(IpAddr, u8)]| -> Vec<String> {
            let text = |(address, prefix): &(IpAddr, u8)| format!("{address}/{prefix}");
            blocks.iter().map(text).collect()
        };
        key(
            text,
            "from",
            &blocks(rule.from.as_deref().unwrap_or_default()),
        );
        key(text, "not_from", &blocks(&rule.not_from));
        let headers = rule.headers.iter().map(|(name, values, not_values)| {
            let mut entry = format!("{{ name = {}", quote(name));
            for (key, patterns) in [("values", values), ("not_values", not_values)] {
                if !patterns.is_empty() {
                    let _ = write!(entry, ", {key} = {}", list(patterns));
                }
            }
            entry + " }"
        });
        let headers: Vec<String> = headers.collect();
        if !headers.is_empty() {
            let _ = writeln!(text, "headers = [{}]", headers.join(", "));
        }
        match effect {
            Effect::Allow => {}
            Effect::Deny => text.push_str("action = \"deny\"\n"),
            Effect::Shadow => text.push_str("action = \"deny\"\nshadow = true\n"),
        }
        text.push('\n');
    }

    /// The name of the role with these identities; the same ones have the same role.
    fn role(&mut self, ids: &[IdPattern]) -> String {
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        if let Some(name) = self.roles.get(&ids) {
            return name.clone();
        }
        let wanted = match ids.as_slice() {
            [IdPattern::Any] => "any SPIFFE ID".to_owned(),
            [only] => only.text().replacen("spiffe://", "", 1),
            [first, ..] => format!(
                "{} and {} more",
                first.text().replacen("spiffe://", "", 1),
                ids.len() - 1
            ),
            [] => "nobody".to_owned(),
        };
        let name = free_name(&mut self.role_names, &wanted);
        let text = &mut self.role_text;
        let _ = writeln!(text, "[[role]]\nname = {}", quote(&name));
        key(
            text,
            "spiffe",
            &ids.iter().map(IdPattern::text).collect::<Vec<_>>(),
        );
        text.push('\n');
        self.roles.insert(ids, name.clone());
        name
    }
}

/// The name, short enough, with a number where it is taken.
fn free_name(taken: &mut BTreeSet<String>, wanted: &str) -> String {
    const LENGTH_MAX: usize = 100;
    let printable = wanted.chars().filter(|c| !c.is_control());
    let base: String = printable.take(LENGTH_MAX).collect();
    let mut name = base.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{base} ({number})");
        number += 1;
    }
    name
}

fn key(text: &mut String, key: &str, values: &[String]) {
    if !values.is_empty() {
        let _ = writeln!(text, "{key} = {}", list(values));
    }
}

fn list(values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| quote(value)).collect();
    format!("[{}]", values.join(", "))
}

/// A string of TOML that the configuration reads as it is: `${` would be a variable.
fn quote(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}
