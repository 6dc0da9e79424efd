//! Policy: what is refused, what wins, and that the index leaves out nothing and adds nothing.

mod connections;
mod index;
mod restrictive;
mod roles;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::HeaderMap;
use portcullis_config::{
    Action, HeaderCondition, HostPattern, IpNet, PathPattern, PathTemplate, Role, RoleRef, Rule,
    TemplateEnd, TemplateSegment, ValuePattern,
};

use super::{Policy, RequestFacts, host_matches};
use crate::identity::{ClientIdentity, Identity};
use crate::path::CanonicalPath;
use crate::reason::Reason;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn client(spiffe: &str) -> ClientIdentity {
    ClientIdentity::Verified(Arc::new(identity(spiffe)))
}

fn identity(spiffe: &str) -> Identity {
    Identity {
        spiffe: Some(spiffe.to_owned()),
        uris: vec![spiffe.to_owned()],
        ..Identity::default()
    }
}

fn everything() -> PathPattern {
    PathPattern::Prefix(String::new())
}

/// A rule about anyone and everything.
fn rule(action: Action) -> Rule {
    Rule {
        name: "r".to_owned(),
        action,
        roles: vec![RoleRef::Anyone],
        not_roles: vec![],
        hosts: vec![],
        not_hosts: vec![],
        methods: vec![],
        not_methods: vec![],
        paths: vec![],
        not_paths: vec![],
        from: vec![],
        not_from: vec![],
        headers: vec![],
        span: 0..0,
    }
}

fn decide(policy: &Policy, client: &ClientIdentity, path: &str) -> Option<Reason> {
    let headers = HeaderMap::new();
    let facts = RequestFacts {
        host: "h",
        method: "GET",
        path: &CanonicalPath::parse(path).unwrap(),
        source: LOCAL,
        headers: &headers,
    };
    let decided = policy.decide(&policy.roles_of(client), &facts);
    decided.err().map(|denied| denied.reason)
}

/// What a single allowing rule says to a request, with and without the index.
fn allows(rule: Rule, change: impl Fn(&mut RequestFacts<'_>, &mut HeaderMap)) -> bool {
    let policy = Policy::of(&[], &[rule]);
    let path = CanonicalPath::parse("/a/1").unwrap();
    let (empty, mut headers) = (HeaderMap::new(), HeaderMap::new());
    let mut facts = RequestFacts {
        host: "a.example.com",
        method: "GET",
        path: &path,
        source: LOCAL,
        headers: &empty,
    };
    change(&mut facts, &mut headers);
    facts.headers = &headers;
    let roles = policy.roles_of(&ClientIdentity::Absent);
    let allowed = policy.decide(&roles, &facts).is_ok();
    let traced = policy.rules[0].trace(0, &roles, &facts).matches();
    assert_eq!(allowed, traced);
    allowed
}

#[test]
fn without_a_rule_nothing_passes() {
    let policy = Policy::of(&[], &[]);
    for client in [client("spiffe://d/a"), ClientIdentity::Absent] {
        assert_eq!(decide(&policy, &client, "/"), Some(Reason::NotAuthorized));
        assert_eq!(decide(&policy, &client, "*"), Some(Reason::NotAuthorized));
    }
}

#[test]
fn without_a_verified_identity_there_is_no_role_but_anyone() {
    let mut orders = Role {
        name: "orders".to_owned(),
        ..Role::default()
    };
    orders.spiffe.push("spiffe://d/**".to_owned());
    let unverified = ClientIdentity::Unverified(Arc::new(identity("spiffe://d/a")));
    for (who, expected) in [
        (RoleRef::Role(0), Some(Reason::NotAuthorized)),
        (RoleRef::Verified, Some(Reason::NotAuthorized)),
        (RoleRef::Anyone, None),
    ] {
        let mut allow = rule(Action::Allow);
        allow.roles = vec![who.clone()];
        let policy = Policy::of(&[orders.clone()], &[allow]);
        assert_eq!(decide(&policy, &ClientIdentity::Absent, "/x"), expected);
        assert_eq!(decide(&policy, &unverified, "/x"), expected);
        assert_eq!(decide(&policy, &client("spiffe://d/a"), "/x"), None);
        let roles = policy.roles_of(&unverified);
        assert!(policy.role_names(&roles).is_empty());
        assert_eq!(roles.has(&who), expected.is_none());
    }
}

#[test]
fn deny_wins_over_allow_in_either_order() {
    let mut allow = rule(Action::Allow);
    allow.roles = vec![RoleRef::Verified];
    let mut deny = rule(Action::Deny);
    deny.paths = vec![PathPattern::Prefix("/users".to_owned())];
    for rules in [[allow.clone(), deny.clone()], [deny, allow]] {
        let policy = Policy::of(&[], &rules);
        let client = client("spiffe://d/a");
        assert_eq!(
            decide(&policy, &client, "/users/1"),
            Some(Reason::DeniedByRule)
        );
        assert_eq!(decide(&policy, &client, "/orders"), None);
    }
}

#[test]
fn rules_on_trial_deny_nothing_and_are_all_named() {
    let named = |name: &str, action| Rule {
        name: name.to_owned(),
        paths: vec![everything(), PathPattern::Prefix("/a".to_owned())],
        ..rule(action)
    };
    let rules = [
        named("second", Action::ShadowDeny),
        named("allow", Action::Allow),
        named("third", Action::ShadowDeny),
        Rule {
            methods: vec!["PUT".to_owned()],
            ..named("other", Action::ShadowDeny)
        },
    ];
    let policy = Policy::of(&[], &rules);
    let facts = RequestFacts {
        host: "h",
        method: "GET",
        path: &CanonicalPath::parse("/a/b").unwrap(),
        source: LOCAL,
        headers: &HeaderMap::new(),
    };
    let roles = policy.roles_of(&ClientIdentity::Absent);
    let permit = policy.decide(&roles, &facts).unwrap();
    assert_eq!(&**permit.rule(), "allow");
    assert_eq!(permit.shadowed().map(|name| &**name), Some("second"));
    assert_eq!(permit.shadows().len(), 2);
    assert_eq!(policy.shadow_rules().count(), 3);
    let nothing_allowed = Policy::of(&[], &rules[..1]);
    assert!(nothing_allowed.decide(&roles, &facts).is_err());
}

#[test]
fn a_wildcard_host_covers_exactly_one_label() {
    let wildcard = HostPattern::Wildcard("example.com".to_owned());
    assert!(host_matches(&wildcard, "a.example.com"));
    assert!(!host_matches(&wildcard, "example.com"));
    assert!(!host_matches(&wildcard, "a.b.example.com"));
    assert!(!host_matches(&wildcard, ".example.com"));
}

#[test]
fn exceptions_take_out_what_lists_name() {
    let host = HostPattern::Wildcard("example.com".to_owned());
    let allow = || rule(Action::Allow);
    let with = |rule: Rule| allows(rule, |_, _| {});
    assert!(with(allow()));
    assert!(!with(Rule {
        not_hosts: vec![host.clone()],
        hosts: vec![HostPattern::Any],
        ..allow()
    }));
    assert!(!with(Rule {
        not_methods: vec!["GET".to_owned()],
        ..allow()
    }));
    assert!(!with(Rule {
        not_paths: vec![everything()],
        ..allow()
    }));
    assert!(!with(Rule {
        not_roles: vec![RoleRef::Anyone],
        ..allow()
    }));
    assert!(with(Rule {
        not_roles: vec![RoleRef::Verified],
        ..allow()
    }));
    let net = IpNet {
        address: LOCAL,
        prefix: 32,
    };
    assert!(!with(Rule {
        not_from: vec![net],
        ..allow()
    }));
    assert!(with(Rule {
        from: vec![net],
        ..allow()
    }));
}

#[test]
fn addresses_match_by_block_and_mapped_ones_count_as_ipv4() {
    let net = |text: &str, prefix| IpNet {
        address: text.parse().unwrap(),
        prefix,
    };
    let nets = vec![
        net("10.0.0.0", 8),
        net("10.1.0.0", 16),
        net("192.0.2.7", 32),
        net("2001:db8::", 32),
    ];
    for (address, expected) in [
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("9.255.255.255", false),
        ("11.0.0.0", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("::ffff:10.2.3.4", true),
        ("2001:db8:ffff::1", true),
        ("2001:db9::", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(nets.iter().any(|net| net.contains(address)), expected);
        let from = Rule {
            from: nets.clone(),
            ..rule(Action::Allow)
        };
        assert_eq!(
            allows(from, |facts, _| facts.source = address),
            expected,
            "{address}"
        );
        let not_from = Rule {
            not_from: nets.clone(),
            ..rule(Action::Allow)
        };
        assert_eq!(
            allows(not_from, |facts, _| facts.source = address),
            !expected
        );
    }
    let all = Rule {
        from: vec![net("0.0.0.0", 0)],
        ..rule(Action::Allow)
    };
    assert!(allows(all, |_, _| {}));
}

#[test]
fn header_conditions_of_an_allow_ask_every_value() {
    let condition = |values: &[ValuePattern], not_values: &[ValuePattern]| Rule {
        headers: vec![HeaderCondition {
            name: "x-env".to_owned(),
            values: values.to_vec(),
            not_values: not_values.to_vec(),
        }],
        ..rule(Action::Allow)
    };
    let exact = ValuePattern::Exact("prod".to_owned());
    let prefix = ValuePattern::Prefix("stage".to_owned());
    let suffix = ValuePattern::Suffix("-eu".to_owned());
    let wanted = condition(&[exact.clone(), prefix, suffix], &[]);
    let unwanted = condition(&[], std::slice::from_ref(&exact));
    let both = condition(&[ValuePattern::Present], &[exact]);
    for (sent, as_wanted, as_unwanted, as_both) in [
        (&[][..], false, true, false),
        (&["prod"][..], true, false, false),
        (&["PROD"], false, true, true),
        (&["stage7"], true, true, true),
        (&["x-eu"], true, true, true),
        (&[""], false, true, true),
        (&["test", "prod"], false, false, false),
        (&["prod", "stage7"], true, false, false),
        (&["test", "other"], false, true, true),
        (&["prod, test"], false, true, true),
    ] {
        for (rule, expected) in [
            (&wanted, as_wanted),
            (&unwanted, as_unwanted),
            (&both, as_both),
        ] {
            let allowed = allows(rule.clone(), |_, headers| {
                for value in sent {
                    headers.append("x-env", value.parse().unwrap());
                }
            });
            assert_eq!(allowed, expected, "{sent:?} {:?}", rule.headers);
        }
    }
}

#[test]
fn templates_match_whole_segments() {
    let template = |segments: &[&str], end| {
        let segment = |text: &&str| match *text {
            "*" => TemplateSegment::Open("{id}".to_owned()),
            text => TemplateSegment::Exact(text.to_owned()),
        };
        PathPattern::Template(PathTemplate {
            segments: segments.iter().map(segment).collect(),
            end,
        })
    };
    let lines = template(&["orders", "*", "lines"], TemplateEnd::Here);
    let below = template(&["orders", "*"], TemplateEnd::Below);
    for (path, as_lines, as_below) in [
        ("/orders/1/lines", true, true),
        ("/orders/1/lines/", false, true),
        ("/orders/1/lines/2", false, true),
        ("/orders/1", false, true),
        ("/orders/1/", false, true),
        ("/orders", false, false),
        ("/orders/", false, false),
        ("/orders/lines", false, true),
        ("/order/1/lines", false, false),
        ("*", false, false),
    ] {
        let path = CanonicalPath::parse(path).unwrap();
        for (pattern, expected) in [(&lines, as_lines), (&below, as_below)] {
            let mut allow = rule(Action::Allow);
            allow.paths = vec![pattern.clone()];
            let policy = Policy::of(&[], &[allow]);
            let roles = policy.roles_of(&ClientIdentity::Absent);
            let facts = RequestFacts {
                host: "h",
                method: "GET",
                path: &path,
                source: LOCAL,
                headers: &HeaderMap::new(),
            };
            assert_eq!(policy.decide(&roles, &facts).is_ok(), expected, "{path:?}");
            let trace = &policy.rules[0].trace(0, &roles, &facts);
            assert_eq!(trace.path, expected, "{path:?}");
        }
    }
}

#[test]
fn an_explanation_names_what_failed_and_never_leaves_out_what_applies() {
    let mut rules = vec![
        Rule {
            methods: vec!["PUT".to_owned()],
            ..rule(Action::Allow)
        };
        300
    ];
    rules.push(rule(Action::Allow));
    rules[0].paths = vec![PathPattern::Exact("/other".to_owned())];
    let policy = Policy::of(&[], &rules);
    let facts = RequestFacts {
        host: "h",
        method: "GET",
        path: &CanonicalPath::parse("/x").unwrap(),
        source: LOCAL,
        headers: &HeaderMap::new(),
    };
    let traces = policy.explain(&policy.roles_of(&ClientIdentity::Absent), &facts);
    assert_eq!(traces.len(), 200);
    assert_eq!(traces[0].failed().collect::<Vec<_>>(), ["methods"]);
    assert_eq!(traces[0].number, 1);
    assert!(traces[199].matches() && traces[199].number == 300);
}
