//! From host and path to the few rules that can match: tables of hosts, a tree of path segments, and behind
//! them the rules by set of roles and by method.
//!
//! The index only leaves out what cannot match. Addresses, headers, exceptions of paths and of methods, and the case
//! of methods, are asked of what is left.

use std::borrow::Cow;
use std::collections::HashMap;

use portcullis_config::{Action, HostPattern, PathPattern, Rule, TemplateEnd, TemplateSegment};

use super::host_matches;
use crate::path::CanonicalPath;

/// All rules, by what a request is asked for first.
#[derive(Debug, Clone)]
pub(super) struct Index {
    hosts: HostTable,
    /// The root first.
    nodes: Vec<Node>,
}

/// Rules by number, each list in file order.
#[derive(Debug, Clone, Default)]
pub(super) struct Candidates {
    pub(super) deny: Vec<u32>,
    pub(super) shadow: Vec<u32>,
    pub(super) allow: Vec<u32>,
}

impl Candidates {
    /// Of all rules those that name hosts and take rights away.
    pub(super) fn taking_from_hosts(rules: &[Rule]) -> Self {
        let mut found = Self::default();
        for (rule, number) in rules.iter().zip(0..) {
            match rule.action {
                Action::Deny if !rule.hosts.is_empty() => found.deny.push(number),
                Action::ShadowDeny if !rule.hosts.is_empty() => found.shadow.push(number),
                _ => {}
            }
        }
        found
    }
}

/// Candidates by method.
#[derive(Debug, Clone, Default)]
struct ByMethod {
    any: Candidates,
    /// In upper case, as rules name them.
    of: HashMap<Box<str>, Candidates>,
}

/// By set of hosts and set of roles.
type Leaf = HashMap<(u32, u32), ByMethod>;

/// A place in the tree of paths.
#[derive(Debug, Clone, Default)]
struct Node {
    segments: HashMap<Box<str>, u32>,
    /// Behind any one segment.
    open: Option<u32>,
    /// For paths that end here.
    here: Leaf,
    /// For paths that end here or go on.
    below: Leaf,
}

impl Index {
    /// `who` has the number of each rule's set of roles.
    pub(super) fn new(rules: &[Rule], who: &[u32]) -> Self {
        let (hosts, places) = HostTable::new(rules);
        let mut index = Self {
            hosts,
            nodes: vec![Node::default()],
        };
        for (number, rule) in (0_u32..).zip(rules) {
            let key = (places[number as usize], who[number as usize]);
            if rule.paths.is_empty() {
                index.leaf(None).entry(key).or_default().push(number, rule);
            }
            for pattern in &rule.paths {
                let leaf = index.leaf(Some(pattern));
                leaf.entry(key).or_default().push(number, rule);
            }
        }
        index
    }

    /// Shows every list of candidates that fits host, method (in whatever case), path and roles.
    pub(super) fn find(
        &self,
        (host, method): (&str, &str),
        path: &CanonicalPath<'_>,
        who: &[u32],
        show: &mut dyn FnMut(&Candidates),
    ) {
        let places = self.hosts.find(host);
        let method = match method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            true => Cow::Owned(method.to_ascii_uppercase()),
            false => Cow::Borrowed(method),
        };
        let mut found = |rules: &ByMethod| {
            show(&rules.any);
            if let Some(of_method) = rules.of.get(&*method) {
                show(of_method);
            }
        };
        let mut in_leaf = |leaf: &Leaf| in_leaf(leaf, (&places, who), &mut found);
        // `*`, the target of OPTIONS, is below nothing but everything.
        match path.as_str().strip_prefix('/') {
            Some(rest) => self.descend(0, Some(rest), &mut in_leaf),
            None => in_leaf(&self.nodes[0].below),
        }
    }

    /// Shows every list of candidates about any method and any path that fits host and roles.
    pub(super) fn find_connection(
        &self,
        host: &str,
        who: &[u32],
        show: &mut dyn FnMut(&Candidates),
    ) {
        let places = self.hosts.find(host);
        let mut found = |rules: &ByMethod| show(&rules.any);
        in_leaf(&self.nodes[0].below, (&places, who), &mut found);
    }

    /// A tree has one way to each place, so none is seen twice.
    fn descend(&self, at: u32, rest: Option<&str>, in_leaf: &mut impl FnMut(&Leaf)) {
        let node = &self.nodes[at as usize];
        in_leaf(&node.below);
        let Some(rest) = rest else {
            return in_leaf(&node.here);
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(next) = node.segments.get(segment) {
            self.descend(*next, rest, in_leaf);
        }
        if let Some(next) = node.open.filter(|_| !segment.is_empty()) {
            self.descend(next, rest, in_leaf);
        }
    }

    /// Where rules with this pattern stand; makes the way there.
    fn leaf(&mut self, pattern: Option<&PathPattern>) -> &mut Leaf {
        let mut at = 0;
        let end = match pattern {
            None => TemplateEnd::Below,
            Some(PathPattern::Exact(path)) => {
                path.split('/')
                    .skip(1)
                    .for_each(|segment| at = self.next(at, Some(segment)));
                TemplateEnd::Here
            }
            Some(PathPattern::Prefix(path)) => {
                path.split('/')
                    .skip(1)
                    .for_each(|segment| at = self.next(at, Some(segment)));
                TemplateEnd::Below
            }
            Some(PathPattern::Template(template)) => {
                for segment in &template.segments {
                    at = match segment {
                        TemplateSegment::Exact(segment) => self.next(at, Some(segment)),
                        TemplateSegment::Open(_) => self.next(at, None),
                    };
                }
                template.end
            }
        };
        let node = &mut self.nodes[at as usize];
        match end {
            TemplateEnd::Here => &mut node.here,
            TemplateEnd::Below => &mut node.below,
        }
    }

    fn next(&mut self, at: u32, segment: Option<&str>) -> u32 {
        let fresh = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let node = &mut self.nodes[at as usize];
        let next = match segment {
            Some(segment) => *node.segments.entry(segment.into()).or_insert(fresh),
            None => *node.open.get_or_insert(fresh),
        };
        if next == fresh {
            self.nodes.push(Node::default());
        }
        next
    }
}

/// Shows what a leaf has for these sets of hosts and of roles.
#[inline]
fn in_leaf(leaf: &Leaf, (places, who): (&[u32], &[u32]), found: &mut impl FnMut(&ByMethod)) {
    // Whichever is less to ask.
    if leaf.len() <= places.len() * who.len() {
        for ((place, of_whom), candidates) in leaf {
            if places.contains(place) && who.binary_search(of_whom).is_ok() {
                found(candidates);
            }
        }
    } else {
        let keys = places
            .iter()
            .flat_map(|place| who.iter().map(move |of_whom| (*place, *of_whom)));
        keys.filter_map(|key| leaf.get(&key)).for_each(found);
    }
}

impl ByMethod {
    fn push(&mut self, number: u32, rule: &Rule) {
        if rule.methods.is_empty() {
            self.any.push(number, rule);
        }
        for method in &rule.methods {
            let of_method = self.of.entry(method.to_ascii_uppercase().into());
            of_method.or_default().push(number, rule);
        }
    }
}

impl Candidates {
    fn push(&mut self, number: u32, rule: &Rule) {
        let list = match rule.action {
            Action::Deny => &mut self.deny,
            Action::ShadowDeny => &mut self.shadow,
            Action::Allow => &mut self.allow,
        };
        // Two patterns, or two methods, of one rule can lead to one place.
        if list.last() != Some(&number) {
            list.push(number);
        }
    }
}

/// Sets of hosts, each once.
#[derive(Debug, Clone, Default)]
struct HostTable {
    not_hosts: Vec<Vec<HostPattern>>,
    any: Vec<u32>,
    exact: HashMap<Box<str>, Vec<u32>>,
    /// `*.example.com` under `example.com`.
    below: HashMap<Box<str>, Vec<u32>>,
}

impl HostTable {
    /// The table, and the number of each rule's set.
    fn new(rules: &[Rule]) -> (Self, Vec<u32>) {
        let mut table = Self::default();
        let mut known = HashMap::new();
        let mut numbers = Vec::with_capacity(rules.len());
        let keys = |hosts: &[HostPattern]| {
            let mut keys: Vec<_> = hosts.iter().map(HostPattern::text).collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        };
        for rule in rules {
            let set = (keys(&rule.hosts), keys(&rule.not_hosts));
            let number = *known.entry(set).or_insert_with(|| table.add(rule));
            numbers.push(number);
        }
        (table, numbers)
    }

    fn add(&mut self, rule: &Rule) -> u32 {
        let number = u32::try_from(self.not_hosts.len()).unwrap_or(u32::MAX);
        self.not_hosts.push(rule.not_hosts.clone());
        if rule.hosts.is_empty() {
            self.any.push(number);
        }
        for host in &rule.hosts {
            match host {
                HostPattern::Any => self.any.push(number),
                HostPattern::Exact(host) => {
                    self.exact
                        .entry(host.as_str().into())
                        .or_default()
                        .push(number);
                }
                HostPattern::Wildcard(parent) => {
                    self.below
                        .entry(parent.as_str().into())
                        .or_default()
                        .push(number);
                }
            }
        }
        number
    }

    /// The sets a host is in.
    fn find(&self, host: &str) -> Vec<u32> {
        let mut sets = self.any.clone();
        sets.extend(self.exact.get(host).into_iter().flatten());
        if let Some((label, parent)) = host.split_once('.')
            && !label.is_empty()
        {
            sets.extend(self.below.get(parent).into_iter().flatten());
        }
        sets.sort_unstable();
        sets.dedup();
        let excepted = |set: u32| self.not_hosts.get(set as usize).into_iter().flatten();
        sets.retain(|set| !excepted(*set).any(|pattern| host_matches(pattern, host)));
        sets
    }
}
