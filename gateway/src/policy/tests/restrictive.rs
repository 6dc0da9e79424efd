//! What two readers may read differently never widens a right: it allows less, and it denies more.

use http::HeaderMap;
use portcullis_config::{Action, HeaderCondition, Rule, ValuePattern};

use super::super::{Policy, RequestFacts};
use super::{LOCAL, rule};
use crate::identity::ClientIdentity;
use crate::path::CanonicalPath;

/// Whether a request passes; a rule that denies stands behind one that allows everything.
fn passes(tested: &Rule, method: &str, sent: &[&str]) -> bool {
    let rules = match tested.action {
        Action::Allow => vec![tested.clone()],
        _ => vec![rule(Action::Allow), tested.clone()],
    };
    let policy = Policy::of(&[], &rules);
    let mut headers = HeaderMap::new();
    for value in sent {
        headers.append("x-token", value.parse().unwrap());
    }
    let facts = RequestFacts {
        host: "h",
        method,
        path: &CanonicalPath::parse("/x").unwrap(),
        source: LOCAL,
        headers: &headers,
    };
    let roles = policy.roles_of(&ClientIdentity::Absent);
    policy.decide(&roles, &facts).is_ok()
}

fn about(action: Action, values: &[&str], not_values: &[&str]) -> Rule {
    let exact = |texts: &[&str]| {
        let exact = |text: &&str| ValuePattern::Exact((*text).to_owned());
        texts.iter().map(exact).collect()
    };
    Rule {
        headers: vec![HeaderCondition {
            name: "x-token".to_owned(),
            values: exact(values),
            not_values: exact(not_values),
        }],
        ..rule(action)
    }
}

#[test]
fn a_second_field_does_not_get_a_request_past_a_deny() {
    let unless_admin = about(Action::Deny, &[], &["admin"]);
    for sent in [
        &[][..],
        &["guest"],
        &["guest", "admin"],
        &["admin", "guest"],
        &["admin, guest"],
    ] {
        assert!(!passes(&unless_admin, "GET", sent), "{sent:?}");
    }
    assert!(passes(&unless_admin, "GET", &["admin"]));
    let guests = about(Action::Deny, &["guest"], &[]);
    for sent in [&["guest"][..], &["guest", "admin"], &["admin", "guest"]] {
        assert!(!passes(&guests, "GET", sent), "{sent:?}");
    }
    assert!(passes(&guests, "GET", &[]) && passes(&guests, "GET", &["admin"]));
}

#[test]
fn a_second_field_does_not_get_a_request_through_an_allow() {
    let admins = about(Action::Allow, &["admin"], &[]);
    for sent in [&[][..], &["guest", "admin"], &["admin", "guest"], &[""]] {
        assert!(!passes(&admins, "GET", sent), "{sent:?}");
    }
    assert!(passes(&admins, "GET", &["admin"]));
    let no_guests = about(Action::Allow, &[], &["guest"]);
    assert!(!passes(&no_guests, "GET", &["admin", "guest"]));
    assert!(passes(&no_guests, "GET", &[]) && passes(&no_guests, "GET", &["admin"]));
}

#[test]
fn the_case_of_a_method_gets_no_request_past_a_deny_nor_through_an_allow() {
    let methods = |action, methods: &[&str], not_methods: &[&str]| Rule {
        methods: methods.iter().map(|&word| word.to_owned()).collect(),
        not_methods: not_methods.iter().map(|&word| word.to_owned()).collect(),
        ..rule(action)
    };
    for spelling in ["DELETE", "delete", "Delete"] {
        let no_delete = methods(Action::Deny, &["DELETE"], &[]);
        assert!(!passes(&no_delete, spelling, &[]), "{spelling}");
        let all_but_delete = methods(Action::Allow, &[], &["DELETE"]);
        assert!(!passes(&all_but_delete, spelling, &[]), "{spelling}");
        let upper = spelling == "DELETE";
        let delete = methods(Action::Allow, &["DELETE"], &[]);
        assert_eq!(passes(&delete, spelling, &[]), upper);
        let nothing_but_delete = methods(Action::Deny, &[], &["DELETE"]);
        assert_eq!(passes(&nothing_but_delete, spelling, &[]), upper);
    }
}
