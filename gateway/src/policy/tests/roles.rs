//! Roles: the table says of every identity what its patterns say one by one.

use portcullis_config::{NamePattern, Role, RoleMatch};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::roles::{RoleTable, is_plain};
use crate::identity::{Attribute, Identity};

/// Each pattern for itself, in the words of the documentation.
fn has_role(identity: &Identity, role: &Role) -> bool {
    fn kind<T>(patterns: &[T], matches: impl Fn(&T) -> bool) -> Option<bool> {
        (!patterns.is_empty()).then(|| patterns.iter().any(matches))
    }
    let spiffe = identity.spiffe.as_deref().unwrap_or("");
    let (uris, dns) = (&identity.uris, &identity.dns);
    let name = identity.common_name.as_ref();
    let kinds = [
        kind(&role.spiffe, |pattern| {
            uri_matches(pattern, spiffe) || (pattern == "spiffe://**" && !spiffe.is_empty())
        }),
        kind(&role.trust_domain, |domain| in_domain(spiffe, domain)),
        kind(&role.uri, |pattern| {
            uris.iter().any(|uri| uri_matches(pattern, uri))
        }),
        kind(&role.dns, |pattern| {
            dns.iter().any(|name| dns_matches(pattern, name))
        }),
        kind(&role.common_name, |wanted| name == Some(wanted)),
        kind(&role.subject, |pattern| {
            fits(pattern, &identity.subject_attributes)
        }),
        kind(&role.issuer, |pattern| {
            fits(pattern, &identity.issuer_attributes)
        }),
        kind(&role.policies, |policy| identity.policies.contains(policy)),
        kind(&role.sha256, |hash| *hash == identity.sha256),
    ];
    let mut written = kinds.into_iter().flatten();
    match role.matching {
        RoleMatch::Any => written.any(|matches| matches),
        RoleMatch::All => written.all(|matches| matches),
    }
}

fn in_domain(id: &str, domain: &str) -> bool {
    let rest = id
        .strip_prefix("spiffe://")
        .and_then(|id| id.strip_prefix(domain));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn dns_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(parent) => name
            .strip_suffix(parent)
            .is_some_and(|label| !label.is_empty() && !label.contains('.')),
        None => name == pattern,
    }
}

fn fits(pattern: &NamePattern, name: &[Attribute]) -> bool {
    let has = |oid: &String, value: &String| {
        name.iter()
            .any(|attribute| attribute.oid == *oid && attribute.value == *value)
    };
    pattern
        .attributes
        .iter()
        .all(|(oid, value)| has(oid, value))
}

fn uri_matches(pattern: &str, uri: &str) -> bool {
    let below = |parent: &str| {
        uri.strip_prefix(parent)
            .and_then(|rest| rest.strip_prefix('/'))
    };
    if let Some(parent) = pattern.strip_suffix("/**") {
        below(parent).is_some_and(|rest| rest.split('/').all(is_plain))
    } else if let Some(parent) = pattern.strip_suffix("/*") {
        below(parent).is_some_and(is_plain) && below(parent).is_some_and(|rest| !rest.contains('/'))
    } else {
        pattern == uri
    }
}

#[test]
fn uri_patterns_match_by_segments() {
    let has = |pattern: &str, uri: &str| {
        let role = Role {
            spiffe: vec![pattern.to_owned()],
            ..Role::default()
        };
        let identity = Identity {
            spiffe: Some(uri.to_owned()),
            ..Identity::default()
        };
        let found = RoleTable::new(std::slice::from_ref(&role)).roles_of(&identity) == [0];
        assert_eq!(found, has_role(&identity, &role), "{pattern} {uri}");
        found
    };
    assert!(has("spiffe://d/ns/*", "spiffe://d/ns/a"));
    assert!(!has("spiffe://d/ns/*", "spiffe://d/ns/a/b"));
    assert!(!has("spiffe://d/ns/*", "spiffe://d/ns/"));
    assert!(!has("spiffe://d/ns/*", "spiffe://d/nsx/a"));
    assert!(!has("spiffe://d/ns/*", "spiffe://d/ns/.."));
    assert!(has("spiffe://d/ns/**", "spiffe://d/ns/a/b"));
    assert!(!has("spiffe://d/ns/**", "spiffe://d/ns"));
    assert!(!has("spiffe://d/ns/**", "spiffe://d/ns/a/../b"));
    assert!(!has("spiffe://d/ns/**", "spiffe://d/ns/a//b"));
    assert!(!has("spiffe://d/a", "spiffe://d/A"));
    assert!(has("spiffe://**", "spiffe://any/thing"));
}

#[test]
fn all_asks_one_of_each_kind_that_is_written() {
    let mut role = Role {
        matching: RoleMatch::All,
        dns: vec!["a.test".to_owned(), "b.test".to_owned()],
        policies: vec!["1.2.3".to_owned()],
        ..Role::default()
    };
    let mut identity = Identity {
        dns: vec!["b.test".to_owned()],
        ..Identity::default()
    };
    let has = |role: &Role, identity: &Identity| {
        !RoleTable::new(std::slice::from_ref(role))
            .roles_of(identity)
            .is_empty()
    };
    assert!(!has(&role, &identity));
    identity.policies.push("1.2.3".to_owned());
    assert!(has(&role, &identity));
    role.common_name.push("x".to_owned());
    assert!(!has(&role, &identity));
    // Nothing written matches nobody.
    let nothing = Role {
        matching: RoleMatch::All,
        ..Role::default()
    };
    assert!(!has(&nothing, &identity));
}

fn some_of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let owned: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    subsequence(owned, 0..=2)
}

fn pattern() -> impl Strategy<Value = NamePattern> {
    let attribute = (
        select(&["2.5.4.10", "2.5.4.11"][..]),
        select(&["a", "b"][..]),
    );
    let attributes = proptest::collection::vec(attribute, 1..3);
    attributes.prop_map(|attributes| NamePattern {
        attributes: attributes
            .into_iter()
            .map(|(oid, value)| (oid.to_owned(), value.to_owned()))
            .collect(),
    })
}

const URIS: &[&str] = &[
    "spiffe://d/a",
    "spiffe://d/a/b",
    "spiffe://d",
    "spiffe://e/a/b/c",
    "spiffe://d/a/../b",
    "urn:x:y",
];
const URI_PATTERNS: &[&str] = &[
    "spiffe://d/a",
    "spiffe://d/*",
    "spiffe://d/**",
    "spiffe://d/a/**",
    "spiffe://e/a/b/*",
    "urn:x:y",
];

prop_compose! {
    fn role()(
        (all, spiffe, uri) in (any::<bool>(), some_of(URI_PATTERNS), some_of(URI_PATTERNS)),
        (trust_domain, dns) in (some_of(&["d", "e"]), some_of(&["a.b.c", "*.b.c", "*.c.d"])),
        (common_name, policies) in (some_of(&["a", "b"]), some_of(&["1.2", "1.3"])),
        subject in proptest::collection::vec(pattern(), 0..2),
        issuer in proptest::collection::vec(pattern(), 0..2),
        hash in 0_u8..4,
    ) -> Role {
        Role {
            name: String::new(),
            matching: if all { RoleMatch::All } else { RoleMatch::Any },
            spiffe, trust_domain, uri, dns, common_name, subject, issuer, policies,
            sha256: if hash < 2 { vec![[hash; 32]] } else { vec![] },
            span: 0..0,
        }
    }
}

prop_compose! {
    fn an_identity()(
        uris in some_of(URIS),
        dns in some_of(&["a.b.c", "x.b.c", "b.c", "a.c.d", ".b.c"]),
        common_name in proptest::option::of(select(&["a", "b"][..])),
        policies in some_of(&["1.2", "1.3", "1.4"]),
        (subject, issuer) in (pattern(), pattern()),
        hash in 0_u8..3,
    ) -> Identity {
        let attributes = |pattern: NamePattern| pattern.attributes.into_iter().map(|(oid, value)| Attribute { oid, value }).collect();
        Identity {
            spiffe: uris.first().filter(|uri| uris.len() == 1 && uri.starts_with("spiffe")).cloned(),
            uris, dns, policies,
            common_name: common_name.map(str::to_owned),
            subject_attributes: attributes(subject),
            issuer_attributes: attributes(issuer),
            sha256: [hash; 32],
            ..Identity::default()
        }
    }
}

proptest! {
    #[test]
    fn the_table_says_what_every_pattern_says_for_itself(
        roles in proptest::collection::vec(role(), 0..6),
        identity in an_identity(),
    ) {
        let written = |role: &&Role| **role != Role { matching: role.matching, ..Role::default() };
        let roles: Vec<Role> = roles.iter().filter(written).cloned().collect();
        let naive: Vec<u32> = (0_u32..)
            .zip(&roles)
            .filter(|(_, role)| has_role(&identity, role))
            .map(|(at, _)| at)
            .collect();
        prop_assert_eq!(RoleTable::new(&roles).roles_of(&identity), naive);
    }
}
