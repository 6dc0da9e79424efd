//! Rules of an AuthorizationPolicy in our words.
//!
//! Where ours cannot say the same, a rule that allows says less and a rule that denies says more; every such
//! place is told.

use std::net::IpAddr;
use std::path::Path;

use super::pattern::{self, EVERY_HOST, EVERY_PATH};
use super::resource::Losses;
use super::who::{Bound, Translated, Who};
use super::yaml::Node;

/// A rule of ours without its roles' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ours {
    pub(super) who: Who,
    pub(super) hosts: Vec<String>,
    pub(super) not_hosts: Vec<String>,
    pub(super) methods: Vec<String>,
    pub(super) not_methods: Vec<String>,
    pub(super) paths: Vec<String>,
    pub(super) not_paths: Vec<String>,
    /// Without it: from anywhere.
    pub(super) from: Option<Vec<Block>>,
    pub(super) not_from: Vec<Block>,
    /// Name, values, exceptions.
    pub(super) headers: Vec<(String, Vec<String>, Vec<String>)>,
}

type Block = (IpAddr, u8);

/// What a part of a rule has come to: nothing can match it any more.
pub(super) struct Never;

/// Translates the rules of one policy.
pub(super) struct Converter<'a> {
    pub(super) file: &'a Path,
    pub(super) namespace: &'a str,
    /// Trust domains of the mesh.
    pub(super) domains: &'a [String],
    /// The port of the workload that the gateway stands for.
    pub(super) port: Option<u16>,
    pub(super) bound: Bound,
    pub(super) losses: &'a mut Losses,
}

impl Converter<'_> {
    /// The rules of a policy; what is no list of them cannot be said.
    pub(super) fn rules(&mut self, rules: Option<&Node>) -> Vec<Ours> {
        match rules {
            None => Vec::new(),
            Some(rules) if rules.is_list() => {
                let rules = rules.items().iter();
                rules.flat_map(|rule| self.rule(rule)).collect()
            }
            Some(other) => {
                self.unsayable(vec![Ours::default()], other.line, "rules without a list")
            }
        }
    }

    /// One rule becomes a rule for each pair of source and operation.
    fn rule(&mut self, rule: &Node) -> Vec<Ours> {
        let mut all = vec![Ours::default()];
        if !rule.is_map() {
            return self.unsayable(all, rule.line, "a rule without fields");
        }
        for (key, line, part) in rule.entries() {
            all = match key.as_str() {
                "from" | "to" | "when" if !part.is_list() => self.unsayable(all, *line, key),
                "from" => self.each(all, part, "source"),
                "to" => self.each(all, part, "operation"),
                "when" => part
                    .items()
                    .iter()
                    .fold(all, |all, item| self.when(all, item)),
                key => self.unsayable(all, *line, key),
            };
        }
        all
    }

    /// Any of a list of sources or operations.
    fn each(&mut self, all: Vec<Ours>, list: &Node, kind: &str) -> Vec<Ours> {
        if list.items().is_empty() {
            return all;
        }
        let mut any = Vec::new();
        for item in list.items() {
            let mut narrowed = all.clone();
            let fields = item.get(kind).map(Node::entries).unwrap_or_default();
            if fields.is_empty() {
                narrowed = self.unsayable(narrowed, item.line, &format!("an empty {kind}"));
            }
            for (key, line, node) in fields {
                narrowed = self.field(narrowed, (key, *line), node);
            }
            any.extend(narrowed);
        }
        any
    }

    /// One field of a source or an operation.
    fn field(&mut self, mut all: Vec<Ours>, (key, line): (&str, usize), node: &Node) -> Vec<Ours> {
        let (bound, except) = (self.bound, self.bound.other());
        let Some(texts) = node.texts() else {
            return self.unsayable(all, line, key);
        };
        if texts.is_empty() {
            return all;
        }
        let place = (key, line);
        let done = match key {
            "principals" | "notPrincipals" | "namespaces" | "notNamespaces" | "serviceAccounts"
            | "notServiceAccounts" => return self.identities(all, place, &texts),
            "ipBlocks" => self.from(&mut all, place, &texts),
            "notIpBlocks" => self.not_from(&mut all, place, &texts),
            "ports" => self.port_is(place, &texts, true),
            "notPorts" => self.port_is(place, &texts, false),
            "hosts" => self
                .wanted(place, &texts, |text| pattern::host(text, bound), EVERY_HOST)
                .map(|hosts| all.iter_mut().for_each(|rule| rule.hosts = hosts.clone())),
            "notHosts" => self
                .unwanted(
                    place,
                    &texts,
                    |text| pattern::host(text, except),
                    EVERY_HOST,
                )
                .map(|hosts| {
                    all.iter_mut()
                        .for_each(|rule| rule.not_hosts = hosts.clone())
                }),
            "methods" => self
                .wanted(place, &texts, |text| pattern::method(text, bound), "")
                .map(|methods| {
                    all.iter_mut()
                        .for_each(|rule| rule.methods = methods.clone())
                }),
            "notMethods" => self
                .unwanted(place, &texts, |text| pattern::method(text, except), "")
                .map(|methods| {
                    all.iter_mut()
                        .for_each(|rule| rule.not_methods = methods.clone())
                }),
            "paths" => self
                .wanted(place, &texts, |text| pattern::path(text, bound), EVERY_PATH)
                .map(|paths| all.iter_mut().for_each(|rule| rule.paths = paths.clone())),
            "notPaths" => self
                .unwanted(
                    place,
                    &texts,
                    |text| pattern::path(text, except),
                    EVERY_PATH,
                )
                .map(|paths| {
                    all.iter_mut()
                        .for_each(|rule| rule.not_paths = paths.clone())
                }),
            key => return self.unsayable(all, line, key),
        };
        match done {
            Ok(()) => all,
            Err(Never) => Vec::new(),
        }
    }

    /// A condition on an attribute.
    fn when(&mut self, mut all: Vec<Ours>, item: &Node) -> Vec<Ours> {
        let key = item.get("key").and_then(Node::text).unwrap_or_default();
        let readable = |(name, _, node): &(String, usize, Node)| match name.as_str() {
            "key" => node.text().is_some(),
            "values" | "notValues" => node.texts().is_some(),
            _ => false,
        };
        if !item.entries().iter().all(readable) {
            return self.unsayable(all, item.line, key);
        }
        let header = key
            .strip_prefix("request.headers[")
            .and_then(|rest| rest.strip_suffix(']'))
            .map(|name| name.trim_matches('"'));
        if let Some(name) = header.filter(|name| is_header(name)) {
            let list = |key: &str| item.get(key).and_then(Node::texts).unwrap_or_default();
            let (values, not_values) = (list("values"), list("notValues"));
            let plain = values
                .iter()
                .chain(&not_values)
                .all(|value| is_value(value));
            if !plain || (values.is_empty() && not_values.is_empty()) {
                return self.unsayable(all, item.line, key);
            }
            let name = name.to_ascii_lowercase();
            all.iter_mut().for_each(|rule| {
                let condition = (name.clone(), values.clone(), not_values.clone());
                rule.headers.push(condition);
            });
            return all;
        }
        let (wanted, unwanted) = match key {
            "source.ip" => ("ipBlocks", "notIpBlocks"),
            "source.principal" => ("principals", "notPrincipals"),
            "source.namespace" => ("namespaces", "notNamespaces"),
            "source.serviceAccount" => ("serviceAccounts", "notServiceAccounts"),
            "destination.port" => ("ports", "notPorts"),
            "connection.sni" => return self.server_name(all, item),
            key => return self.unsayable(all, item.line, key),
        };
        for (list, field) in [("values", wanted), ("notValues", unwanted)] {
            if let Some(values) = item.get(list) {
                all = self.field(all, (field, values.line), values);
            }
        }
        all
    }

    /// The server name is the host of every request here, or it is answered 421; only a site with several
    /// hosts can tell the difference.
    fn server_name(&mut self, mut all: Vec<Ours>, item: &Node) -> Vec<Ours> {
        let taken = all
            .iter()
            .any(|rule| !rule.hosts.is_empty() || !rule.not_hosts.is_empty());
        if taken {
            return self.unsayable(all, item.line, "connection.sni beside hosts");
        }
        let what = "connection.sni is compared with the host of the request";
        self.losses.add(self.file, item.line, what);
        for (list, field) in [("values", "hosts"), ("notValues", "notHosts")] {
            if let Some(values) = item.get(list) {
                all = self.field(all, (field, values.line), values);
            }
        }
        all
    }

    /// What the gateway cannot ask: it holds for no request that is to be allowed, and for every one that is
    /// to be denied.
    fn unsayable(&mut self, all: Vec<Ours>, line: usize, what: &str) -> Vec<Ours> {
        match self.bound {
            Bound::AtMost => {
                let what = format!(
                    "{what} is not carried over, so what it is a condition of is not allowed"
                );
                self.losses.add(self.file, line, what);
                Vec::new()
            }
            Bound::AtLeast => {
                let what =
                    format!("{what} is not carried over: the rule denies without asking for it");
                self.losses.add(self.file, line, what);
                all
            }
        }
    }

    fn inexact(&mut self, (key, line): (&str, usize), text: &str) {
        let so = match self.bound {
            Bound::AtMost => "the rule allows less",
            Bound::AtLeast => "the rule denies more",
        };
        let what = format!("{key} `{text}` has no exact form here: {so}");
        self.losses.add(self.file, line, what);
    }

    /// Translates a list; empty where nothing is left of it.
    pub(super) fn list<T>(
        &mut self,
        place: (&str, usize),
        texts: &[String],
        translate: impl Fn(&str) -> Translated<T>,
    ) -> Vec<T> {
        let mut patterns = Vec::new();
        for text in texts {
            let translated = translate(text);
            if !translated.exact {
                self.inexact(place, text);
            }
            patterns.extend(translated.patterns);
        }
        patterns
    }

    /// A list one of which must match: empty for everything.
    fn wanted(
        &mut self,
        place: (&str, usize),
        texts: &[String],
        translate: impl Fn(&str) -> Translated<String>,
        everything: &str,
    ) -> Result<Vec<String>, Never> {
        let patterns = self.list(place, texts, translate);
        match patterns.as_slice() {
            [] => Err(Never),
            patterns if patterns.iter().any(|pattern| pattern == everything) => Ok(Vec::new()),
            patterns => Ok(unique(patterns)),
        }
    }

    /// A list none of which may match.
    fn unwanted(
        &mut self,
        place: (&str, usize),
        texts: &[String],
        translate: impl Fn(&str) -> Translated<String>,
        everything: &str,
    ) -> Result<Vec<String>, Never> {
        let patterns = self.list(place, texts, translate);
        match patterns.iter().any(|pattern| pattern == everything) {
            true => Err(Never),
            false => Ok(unique(&patterns)),
        }
    }

    fn blocks(&mut self, place: (&str, usize), texts: &[String], bound: Bound) -> Vec<Block> {
        self.list(place, texts, |text| match (pattern::block(text), bound) {
            (Some(block), _) => Translated::exact(block),
            (None, Bound::AtMost) => Translated::lost(None),
            // Both families: everywhere.
            (None, Bound::AtLeast) => Translated {
                patterns: ["0.0.0.0/0", "::/0"]
                    .into_iter()
                    .filter_map(pattern::block)
                    .collect(),
                exact: false,
            },
        })
    }

    fn from(
        &mut self,
        all: &mut Vec<Ours>,
        place: (&str, usize),
        texts: &[String],
    ) -> Result<(), Never> {
        let blocks = self.blocks(place, texts, self.bound);
        for rule in &mut *all {
            rule.from = Some(match &rule.from {
                Some(before) => pattern::blocks_in_both(before, &blocks),
                None => blocks.clone(),
            });
        }
        all.retain(|rule| rule.from.as_ref().is_none_or(|from| !from.is_empty()));
        Ok(())
    }

    fn not_from(
        &mut self,
        all: &mut [Ours],
        place: (&str, usize),
        texts: &[String],
    ) -> Result<(), Never> {
        let blocks = self.blocks(place, texts, self.bound.other());
        for rule in all {
            rule.not_from.extend(&blocks);
        }
        Ok(())
    }

    /// Whether the rule is about our port.
    fn port_is(
        &mut self,
        (key, line): (&str, usize),
        texts: &[String],
        wanted: bool,
    ) -> Result<(), Never> {
        let Some(port) = self.port else {
            let nothing = self.unsayable(
                vec![Ours::default()],
                line,
                &format!("{key} (choose with --port)"),
            );
            return if nothing.is_empty() {
                Err(Never)
            } else {
                Ok(())
            };
        };
        let listed = texts.iter().any(|text| *text == port.to_string());
        if listed == wanted { Ok(()) } else { Err(Never) }
    }
}

fn unique(patterns: &[String]) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for pattern in patterns {
        if !unique.contains(pattern) {
            unique.push(pattern.clone());
        }
    }
    unique
}

fn is_header(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=256).contains(&name.len()) && name.bytes().all(token)
}

fn is_value(value: &str) -> bool {
    let inner = value
        .strip_prefix('*')
        .unwrap_or_else(|| value.strip_suffix('*').unwrap_or(value));
    !inner.contains('*') && !value.bytes().any(|byte| byte.is_ascii_control())
}
