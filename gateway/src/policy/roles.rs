//! From an identity to its roles: every pattern of every role behind a hash table.
//!
//! What a client costs depends on the names in its certificate and on how deep patterns with `**` are, not on
//! how many roles there are.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use portcullis_config::{NamePattern, Role, RoleMatch};

use crate::identity::{Attribute, Identity};

/// The roles of a configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct RoleTable {
    roles: Vec<Summary>,
    spiffe: UriTable,
    any_spiffe: Vec<u32>,
    trust_domain: Table<Box<str>>,
    uri: UriTable,
    dns: Table<Box<str>>,
    /// `*.example.com` under `example.com`.
    dns_below: Table<Box<str>>,
    common_name: Table<Box<str>>,
    subject: NameTable,
    issuer: NameTable,
    policies: Table<Box<str>>,
    sha256: Table<[u8; 32]>,
}

/// From a name to the roles that have it as a pattern.
type Table<K> = HashMap<K, Vec<u32>>;

#[derive(Debug, Clone)]
struct Summary {
    name: Arc<str>,
    span: Range<usize>,
    matching: RoleMatch,
    /// The kinds that are written.
    kinds: u16,
}

/// Kinds of patterns, as bits.
const SPIFFE: u16 = 1;
const TRUST_DOMAIN: u16 = 1 << 1;
const URI: u16 = 1 << 2;
const DNS: u16 = 1 << 3;
const COMMON_NAME: u16 = 1 << 4;
const SUBJECT: u16 = 1 << 5;
const ISSUER: u16 = 1 << 6;
const POLICIES: u16 = 1 << 7;
const SHA256: u16 = 1 << 8;

impl RoleTable {
    pub(super) fn new(roles: &[Role]) -> Self {
        let mut table = Self::default();
        for (at, role) in (0_u32..).zip(roles) {
            table.add(at, role);
        }
        table
    }

    fn add(&mut self, at: u32, role: &Role) {
        let mut kinds = 0;
        let mut written = |kind: u16, there: bool| kinds |= if there { kind } else { 0 };
        written(SPIFFE, !role.spiffe.is_empty());
        written(TRUST_DOMAIN, !role.trust_domain.is_empty());
        written(URI, !role.uri.is_empty());
        written(DNS, !role.dns.is_empty());
        written(COMMON_NAME, !role.common_name.is_empty());
        written(SUBJECT, !role.subject.is_empty());
        written(ISSUER, !role.issuer.is_empty());
        written(POLICIES, !role.policies.is_empty());
        written(SHA256, !role.sha256.is_empty());
        self.roles.push(Summary {
            name: role.name.as_str().into(),
            span: role.span.clone(),
            matching: role.matching,
            kinds,
        });
        for pattern in &role.spiffe {
            match pattern.as_str() {
                "spiffe://**" => self.any_spiffe.push(at),
                pattern => self.spiffe.add(at, pattern),
            }
        }
        role.uri
            .iter()
            .for_each(|pattern| self.uri.add(at, pattern));
        for pattern in &role.dns {
            match pattern.strip_prefix("*.") {
                Some(parent) => insert(&mut self.dns_below, parent.into(), at),
                None => insert(&mut self.dns, pattern.as_str().into(), at),
            }
        }
        for (table, names) in [
            (&mut self.trust_domain, &role.trust_domain),
            (&mut self.common_name, &role.common_name),
            (&mut self.policies, &role.policies),
        ] {
            names
                .iter()
                .for_each(|name| insert(table, name.as_str().into(), at));
        }
        role.subject
            .iter()
            .for_each(|pattern| self.subject.add(at, pattern));
        role.issuer
            .iter()
            .for_each(|pattern| self.issuer.add(at, pattern));
        role.sha256
            .iter()
            .for_each(|hash| insert(&mut self.sha256, *hash, at));
    }

    pub(super) fn name(&self, at: u32) -> Option<&Arc<str>> {
        self.roles.get(at as usize).map(|role| &role.name)
    }

    /// Where a role was written.
    pub(super) fn span(&self, at: u32) -> Option<&Range<usize>> {
        self.roles.get(at as usize).map(|role| &role.span)
    }

    /// The roles of a verified identity, sorted.
    pub(super) fn roles_of(&self, identity: &Identity) -> Vec<u32> {
        let mut hits = Hits::default();
        if let Some(id) = identity.spiffe.as_deref() {
            hits.add(SPIFFE, Some(&self.any_spiffe));
            self.spiffe.find(id, |roles| hits.add(SPIFFE, Some(roles)));
            hits.add(TRUST_DOMAIN, self.trust_domain.get(trust_domain(id)));
        }
        for uri in &identity.uris {
            self.uri.find(uri, |roles| hits.add(URI, Some(roles)));
        }
        for name in &identity.dns {
            hits.add(DNS, self.dns.get(name.as_str()));
            if let Some((label, parent)) = name.split_once('.')
                && !label.is_empty()
            {
                hits.add(DNS, self.dns_below.get(parent));
            }
        }
        if let Some(name) = identity.common_name.as_deref() {
            hits.add(COMMON_NAME, self.common_name.get(name));
        }
        let (subject, issuer) = (&identity.subject_attributes, &identity.issuer_attributes);
        self.subject.find(subject, |at| hits.0.push((at, SUBJECT)));
        self.issuer.find(issuer, |at| hits.0.push((at, ISSUER)));
        for policy in &identity.policies {
            hits.add(POLICIES, self.policies.get(policy.as_str()));
        }
        hits.add(SHA256, self.sha256.get(&identity.sha256));
        hits.roles(&self.roles)
    }
}

fn insert<K: Eq + Hash>(table: &mut Table<K>, key: K, at: u32) {
    let roles = table.entry(key).or_default();
    if roles.last() != Some(&at) {
        roles.push(at);
    }
}

/// The part between `spiffe://` and the path.
fn trust_domain(id: &str) -> &str {
    let rest = id.strip_prefix("spiffe://").unwrap_or(id);
    rest.split('/').next().unwrap_or(rest)
}

/// Which kind of pattern of which role matched.
#[derive(Default)]
struct Hits(Vec<(u32, u16)>);

impl Hits {
    fn add(&mut self, kind: u16, roles: Option<&Vec<u32>>) {
        let roles = roles.map_or(&[][..], Vec::as_slice);
        self.0.extend(roles.iter().map(|at| (*at, kind)));
    }

    fn roles(mut self, roles: &[Summary]) -> Vec<u32> {
        self.0.sort_unstable();
        self.0.dedup();
        let of_one = self.0.chunk_by(|a, b| a.0 == b.0);
        let has = |hits: &[(u32, u16)]| {
            let kinds = hits.iter().fold(0, |kinds, (_, kind)| kinds | kind);
            let role = roles.get(hits[0].0 as usize)?;
            let enough = match role.matching {
                RoleMatch::Any => kinds != 0,
                RoleMatch::All => kinds == role.kinds,
            };
            enough.then_some(hits[0].0)
        };
        of_one.filter_map(has).collect()
    }
}

/// URIs, exact or by their parent.
#[derive(Debug, Clone, Default)]
struct UriTable {
    exact: Table<Box<str>>,
    /// `PARENT/*`.
    child: Table<Box<str>>,
    /// `PARENT/**`.
    below: Table<Box<str>>,
    /// Slashes in the deepest parent of `below`: deeper ones of a URI are not looked up.
    depth: usize,
}

impl UriTable {
    fn add(&mut self, at: u32, pattern: &str) {
        if let Some(parent) = pattern.strip_suffix("/**") {
            self.depth = self.depth.max(parent.matches('/').count());
            insert(&mut self.below, parent.into(), at);
        } else if let Some(parent) = pattern.strip_suffix("/*") {
            insert(&mut self.child, parent.into(), at);
        } else {
            insert(&mut self.exact, pattern.into(), at);
        }
    }

    fn find(&self, uri: &str, mut found: impl FnMut(&Vec<u32>)) {
        self.exact.get(uri).into_iter().for_each(&mut found);
        if let Some((parent, last)) = uri.rsplit_once('/')
            && is_plain(last)
        {
            self.child.get(parent).into_iter().for_each(&mut found);
        }
        if self.below.is_empty() {
            return;
        }
        // The shortest parent that has only plain segments behind it.
        let mut plain_from = uri.len();
        for segment in uri.rsplit('/') {
            if !is_plain(segment) {
                break;
            }
            plain_from = plain_from.saturating_sub(segment.len() + 1);
        }
        let slashes = uri.match_indices('/').take(self.depth + 1);
        for (at, _) in slashes.filter(|(at, _)| *at >= plain_from) {
            self.below.get(&uri[..at]).into_iter().for_each(&mut found);
        }
    }
}

/// A segment that a wildcard may stand for.
pub(super) fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}

/// Patterns of attributes, each under its first one.
#[derive(Debug, Clone, Default)]
struct NameTable(HashMap<Box<str>, Vec<(u32, NamePattern)>>);

impl NameTable {
    fn add(&mut self, at: u32, pattern: &NamePattern) {
        if let Some((_, value)) = pattern.attributes.first() {
            let patterns = self.0.entry(value.as_str().into()).or_default();
            patterns.push((at, pattern.clone()));
        }
    }

    fn find(&self, name: &[Attribute], mut found: impl FnMut(u32)) {
        let has = |(oid, value): &(String, String)| {
            name.iter()
                .any(|attribute| attribute.oid == *oid && attribute.value == *value)
        };
        for attribute in name {
            let patterns = self.0.get(attribute.value.as_str()).into_iter().flatten();
            for (at, pattern) in patterns {
                if pattern.attributes.iter().all(has) {
                    found(*at);
                }
            }
        }
    }
}
