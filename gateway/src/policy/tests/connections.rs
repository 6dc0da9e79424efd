//! Connections that carry no HTTP: what a rule says about requests is true of none.

use super::*;
use crate::policy::{ConnectionFacts, Permit};

fn decide_at(rules: &[Rule], host: Option<&str>, source: &str) -> Result<Permit, Reason> {
    let policy = Policy::of(&[], rules);
    let roles = policy.roles_of(&ClientIdentity::Absent);
    let facts = ConnectionFacts {
        host,
        source: source.parse().unwrap(),
    };
    let decided = policy.decide_connection(&roles, &facts);
    // What is explained is what was decided.
    let traces = policy.explain_connection(&roles, &facts);
    let matching = |action| traces.iter().any(|it| it.action == action && it.matches());
    let allowed = matching(Action::Allow) && !matching(Action::Deny);
    assert_eq!(decided.is_ok(), allowed, "{traces:?}");
    decided.map_err(|denied| denied.reason)
}

fn refusal(rules: &[Rule]) -> Option<Reason> {
    decide_at(rules, Some("db.test"), "10.0.0.1").err()
}

fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet {
        address: address.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
    }
}

fn exact(host: &str) -> HostPattern {
    HostPattern::Exact(host.to_owned())
}

/// Each way in which a rule can be about requests.
fn about_requests(action: Action) -> Vec<Rule> {
    let with = |change: &dyn Fn(&mut Rule)| {
        let mut rule = rule(action);
        change(&mut rule);
        rule
    };
    let header = HeaderCondition {
        name: "x".to_owned(),
        values: vec![],
        not_values: vec![ValuePattern::Exact("y".to_owned())],
    };
    vec![
        with(&|rule| rule.methods = vec!["GET".to_owned()]),
        with(&|rule| rule.not_methods = vec!["GET".to_owned()]),
        with(&|rule| rule.paths = vec![everything()]),
        with(&|rule| rule.paths = vec![PathPattern::Exact("/".to_owned())]),
        with(&|rule| rule.not_paths = vec![PathPattern::Exact("/a".to_owned())]),
        with(&|rule| rule.headers = vec![header.clone()]),
    ]
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    assert_eq!(refusal(&[]), Some(Reason::NotAuthorized));
}

#[test]
fn a_rule_about_requests_gives_no_connection() {
    for rule in about_requests(Action::Allow) {
        assert_eq!(
            refusal(std::slice::from_ref(&rule)),
            Some(Reason::NotAuthorized),
            "{rule:?}"
        );
    }
}

#[test]
fn a_rule_about_requests_takes_no_connection_away() {
    for denies in about_requests(Action::Deny) {
        assert_eq!(refusal(&[denies, rule(Action::Allow)]), None);
    }
    for on_trial in about_requests(Action::ShadowDeny) {
        let permit = decide_at(&[on_trial, rule(Action::Allow)], None, "10.0.0.1").unwrap();
        assert_eq!(permit.shadowed(), None);
    }
}

#[test]
fn a_deny_about_any_request_is_about_connections_too() {
    let rules = [rule(Action::Allow), rule(Action::Deny)];
    assert_eq!(refusal(&rules), Some(Reason::DeniedByRule));
    let mut at_home = rule(Action::Deny);
    at_home.from = vec![net("10.0.0.0/8")];
    let rules = [rule(Action::Allow), at_home];
    assert_eq!(refusal(&rules), Some(Reason::DeniedByRule));
    assert!(decide_at(&rules, Some("db.test"), "192.0.2.1").is_ok());
}

#[test]
fn hosts_and_addresses_decide() {
    let mut allows = rule(Action::Allow);
    allows.hosts = vec![
        exact("db.test"),
        HostPattern::Wildcard("pool.test".to_owned()),
    ];
    allows.from = vec![net("10.0.0.0/8")];
    let rules = [allows];
    for (host, source, may) in [
        (Some("db.test"), "10.1.2.3", true),
        (Some("a.pool.test"), "10.1.2.3", true),
        (Some("pool.test"), "10.1.2.3", false),
        (Some("other.test"), "10.1.2.3", false),
        (Some("db.test"), "192.0.2.1", false),
        (None, "10.1.2.3", false),
    ] {
        assert_eq!(
            decide_at(&rules, host, source).is_ok(),
            may,
            "{host:?} {source}"
        );
    }
}

#[test]
fn who_names_no_host_is_meant_where_any_is() {
    let mut any = rule(Action::Allow);
    any.hosts = vec![HostPattern::Any];
    assert!(decide_at(std::slice::from_ref(&any), None, "10.0.0.1").is_ok());
    // It may be for the very host that is denied.
    let mut not_one = rule(Action::Deny);
    not_one.hosts = vec![exact("db.test")];
    assert!(decide_at(&[any, not_one], None, "10.0.0.1").is_err());
}

#[test]
fn who_sends_no_name_escapes_no_deny_and_no_exception() {
    let nameless = |rules: &[Rule]| decide_at(rules, None, "10.0.0.1").err();
    let with = |action, hosts: &[&str], not_hosts: &[&str]| Rule {
        hosts: hosts.iter().map(|host| exact(host)).collect(),
        not_hosts: not_hosts.iter().map(|host| exact(host)).collect(),
        ..rule(action)
    };
    let all = rule(Action::Allow);
    assert_eq!(nameless(std::slice::from_ref(&all)), None);
    let denied = Some(Reason::DeniedByRule);
    let deny = with(Action::Deny, &["db.test"], &[]);
    assert_eq!(nameless(&[all.clone(), deny]), denied);
    let deny = with(Action::Deny, &[], &["db.test"]);
    assert_eq!(nameless(&[all, deny]), denied);
    let refused = Some(Reason::NotAuthorized);
    assert_eq!(nameless(&[with(Action::Allow, &[], &["db.test"])]), refused);
    assert_eq!(nameless(&[with(Action::Allow, &["db.test"], &[])]), refused);
}
