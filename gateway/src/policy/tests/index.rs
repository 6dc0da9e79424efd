//! The index against every rule asked one after the other.

use std::sync::Arc;

use http::HeaderMap;
use portcullis_config::{
    Action, HeaderCondition, HostPattern, IpNet, PathPattern, PathTemplate, Role, RoleRef, Rule,
    TemplateEnd, TemplateSegment, ValuePattern,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::{Denied, Policy, RequestFacts, RoleSet};
use super::client;
use crate::identity::ClientIdentity;
use crate::path::CanonicalPath;
use crate::reason::Reason;

/// What the configuration's words come to without the index: names of the rules that decide.
fn naive(
    policy: &Policy,
    roles: &RoleSet,
    facts: &RequestFacts<'_>,
) -> Result<(String, Vec<String>), Denied> {
    let all = policy.rules.iter().enumerate();
    let applying: Vec<_> = all
        .map(|(at, rule)| rule.trace(at, roles, facts))
        .filter(|trace| trace.matches())
        .collect();
    let of = |action| applying.iter().filter(move |trace| trace.action == action);
    if let Some(deny) = of(Action::Deny).next() {
        return Err(Denied {
            reason: Reason::DeniedByRule,
            rule: Some(Arc::clone(&deny.rule)),
        });
    }
    let shadows = of(Action::ShadowDeny)
        .map(|trace| trace.rule.to_string())
        .collect();
    match of(Action::Allow).next() {
        Some(allow) => Ok((allow.rule.to_string(), shadows)),
        None => Err(Denied {
            reason: Reason::NotAuthorized,
            rule: None,
        }),
    }
}

fn some<T: Clone + std::fmt::Debug + 'static>(
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Vec<T>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(strategy, 1..3)].boxed()
}

fn role_ref() -> impl Strategy<Value = RoleRef> {
    prop_oneof![
        Just(RoleRef::Anyone),
        Just(RoleRef::Verified),
        (0_usize..3).prop_map(RoleRef::Role),
    ]
}

fn host() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        Just(HostPattern::Any),
        select(&["a.x.y", "b.x.y"][..]).prop_map(|host| HostPattern::Exact(host.to_owned())),
        Just(HostPattern::Wildcard("x.y".to_owned())),
    ]
}

fn path() -> impl Strategy<Value = PathPattern> {
    let segment = select(&["a", "b", "{open}"][..]);
    let end = select(&["", "/", "/**"][..]);
    (vec(segment, 0..4), end).prop_map(|(segments, end)| {
        let plain = !segments.contains(&"{open}");
        let text: String = segments
            .iter()
            .map(|segment| format!("/{segment}"))
            .collect();
        match end {
            "/**" if plain => return PathPattern::Prefix(text),
            "" if plain && !text.is_empty() => return PathPattern::Exact(text),
            _ if plain => return PathPattern::Exact(format!("{text}/")),
            _ => {}
        }
        let mut segments: Vec<_> = segments
            .into_iter()
            .map(|segment| match segment {
                "{open}" => TemplateSegment::Open(segment.to_owned()),
                segment => TemplateSegment::Exact(segment.to_owned()),
            })
            .collect();
        if end == "/" {
            segments.push(TemplateSegment::Exact(String::new()));
        }
        let end = if end == "/**" {
            TemplateEnd::Below
        } else {
            TemplateEnd::Here
        };
        PathPattern::Template(PathTemplate { segments, end })
    })
}

fn net() -> impl Strategy<Value = IpNet> {
    let nets = [
        ("10.0.0.0", 8),
        ("10.1.0.0", 16),
        ("192.0.2.1", 32),
        ("2001:db8::", 32),
    ];
    select(nets.to_vec()).prop_map(|(address, prefix)| IpNet {
        address: address.parse().unwrap(),
        prefix,
    })
}

fn header() -> impl Strategy<Value = HeaderCondition> {
    let value = || {
        select(vec![
            ValuePattern::Exact("prod".to_owned()),
            ValuePattern::Prefix("p".to_owned()),
            ValuePattern::Suffix("d".to_owned()),
            ValuePattern::Present,
        ])
    };
    (vec(value(), 0..2), vec(value(), 0..2)).prop_map(|(values, not_values)| HeaderCondition {
        name: "x-env".to_owned(),
        values,
        not_values,
    })
}

fn method() -> impl Strategy<Value = String> {
    select(&["GET", "PUT"][..]).prop_map(str::to_owned)
}

prop_compose! {
    fn rule()(
        action in select(vec![Action::Allow, Action::Allow, Action::Deny, Action::ShadowDeny]),
        (roles, not_roles) in (vec(role_ref(), 1..3), some(role_ref())),
        (hosts, not_hosts) in (some(host()), some(host())),
        (methods, not_methods) in (some(method()), some(method())),
        (paths, not_paths) in (some(path()), some(path())),
        (from, not_from) in (some(net()), some(net())),
        headers in some(header()),
        narrow in 0_u8..64,
    ) -> Rule {
        // With every exception at once hardly a rule would ever apply.
        let keep = |bit: u8| narrow & (1 << bit) != 0;
        Rule {
            name: String::new(),
            action, roles, hosts, methods, paths, from,
            not_roles: if keep(0) { not_roles } else { vec![] },
            not_hosts: if keep(1) { not_hosts } else { vec![] },
            not_methods: if keep(2) { not_methods } else { vec![] },
            not_paths: if keep(3) { not_paths } else { vec![] },
            not_from: if keep(4) { not_from } else { vec![] },
            headers: if keep(5) { headers } else { vec![] },
            span: 0..0,
        }
    }
}

fn roles() -> Vec<Role> {
    let role = |spiffe: &str| Role {
        name: spiffe.to_owned(),
        spiffe: vec![spiffe.to_owned()],
        ..Role::default()
    };
    ["spiffe://d/a", "spiffe://d/*", "spiffe://d/b"]
        .map(role)
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_index_decides_as_every_rule_asked_one_after_the_other(
        mut rules in vec(rule(), 0..12),
        who in select(vec!["", "spiffe://d/a", "spiffe://d/b", "spiffe://e/c"]),
        host in select(vec!["a.x.y", "b.x.y", "c.x.y", "x.y", "other"]),
        method in select(vec!["GET", "PUT", "put", "Get", "X-OTHER"]),
        path in "(/[ab]{0,1}){1,4}|\\*",
        source in select(vec!["10.1.2.3", "10.2.0.0", "192.0.2.1", "127.0.0.1", "2001:db8::5", "::ffff:10.1.0.1"]),
        sent in vec(select(vec!["prod", "p", "d", "x"]), 0..3),
    ) {
        rules.iter_mut().enumerate().for_each(|(at, rule)| rule.name = format!("rule-{at}"));
        let Ok(path) = CanonicalPath::parse(&path) else { return Ok(()) };
        let policy = Policy::of(&roles(), &rules);
        let client = if who.is_empty() { ClientIdentity::Absent } else { client(who) };
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append("x-env", value.parse().unwrap());
        }
        let facts = RequestFacts {
            host,
            method,
            path: &path,
            source: source.parse().unwrap(),
            headers: &headers,
        };
        let roles = policy.roles_of(&client);
        let decided = policy.decide(&roles, &facts).map(|permit| {
            let shadows = permit.shadows().iter().map(|name| name.to_string()).collect();
            (permit.rule().to_string(), shadows)
        });
        prop_assert_eq!(decided, naive(&policy, &roles, &facts));
    }
}
