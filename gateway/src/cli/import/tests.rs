//! The translation as a whole: texts in, texts out. The end-to-end tests load them and decide requests.

use super::{Exit, Istio};

/// Page and losses, without the folder's name.
fn import(
    yaml: &str,
    change: impl Fn(&mut Istio),
) -> Result<(String, Vec<String>), (String, Exit)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut istio = Istio {
        files: vec![file],
        workload: None,
        port: None,
        trust_domains: vec!["cluster.local".to_owned()],
        root_namespace: "istio-system".to_owned(),
        strict: false,
    };
    change(&mut istio);
    let here = format!("{}/", folder.path().display());
    let (page, losses) = istio
        .convert()
        .map_err(|(text, exit)| (text.replace(&here, ""), exit))?;
    let losses = losses.0.iter().map(|loss| loss.replace(&here, ""));
    Ok((page, losses.collect()))
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: {name}\n  namespace: foo\n{spec}\n---\n"
    )
}

#[test]
fn what_is_no_yaml_or_speaks_of_several_workloads_is_refused() {
    let (text, exit) = import("a: [", |_| {}).unwrap_err();
    assert_eq!(exit, Exit::Config);
    assert!(text.starts_with("a.yaml:"), "{text}");
    let two = policy("a", "spec:\n  selector: {matchLabels: {app: a}}")
        + &policy("b", "spec:\n  selector: {matchLabels: {app: b}}");
    let (text, exit) = import(&two, |_| {}).unwrap_err();
    assert_eq!(exit, Exit::Usage);
    assert!(
        text.contains("--workload app=a,ns=foo\n  --workload app=b,ns=foo"),
        "{text}"
    );
    let chosen = import(&two, |istio| {
        istio.workload = Some("app=b,ns=foo".to_owned())
    });
    assert!(
        chosen
            .unwrap()
            .0
            .contains("ALLOW foo/b: no request matches")
    );
    assert!(import("kind: Pod", |_| {}).is_err());
}

#[test]
fn what_cannot_be_said_never_allows_and_always_denies() {
    for (part, line) in [
        ("from: [{source: {requestPrincipals: ['*']}}]", 8),
        ("from: [{source: {remoteIpBlocks: ['10.0.0.0/8']}}]", 8),
        ("from: [{source: {somethingNew: ['x']}}]", 8),
        ("from: [{source: {principals: ['*/sa/x']}}]", 8),
        ("from: [{source: {namespaces: ['x-*']}}]", 8),
        ("from: [{source: {ipBlocks: ['nonsense']}}]", 8),
        ("from: [{}]", 8),
        ("to: [{operation: {ports: ['80']}}]", 8),
        ("to: [{operation: {notPorts: ['80']}}]", 8),
        ("to: [{operation: {paths: ['*.txt']}}]", 8),
        ("to: [{operation: {hosts: ['*x.y']}}]", 8),
        ("to: [{operation: {methods: ['GE*']}}]", 8),
        ("to: [{operation: {notPaths: ['*.txt']}}]", 8),
        ("to: [{operation: {notMethods: ['GE*']}}]", 8),
        ("to: [{operation: {notHosts: ['*x.y']}}]", 8),
        (
            "when: [{key: 'request.auth.claims[iss]', values: ['x']}]",
            8,
        ),
        (
            "when: [{key: 'request.headers[:method]', values: ['x']}]",
            8,
        ),
        ("when: [{key: 'request.headers[a]', values: ['*x*']}]", 8),
        ("newKey: 1", 8),
        // What Kubernetes would not take at all.
        ("from: {source: {principals: ['*']}}", 8),
        ("from: [{source: {principals: '*'}}]", 8),
        ("from: [{sources: {principals: ['*']}}]", 8),
        ("when: {key: source.ip}", 8),
        (
            "when: [{key: 'request.headers[a]', values: x, notValues: [y]}]",
            8,
        ),
        (
            "when: [{key: 'request.headers[a]', value: [x], notValues: [y]}]",
            8,
        ),
        ("nothing", 8),
    ] {
        let rules = format!("  rules:\n  - {part}");
        let (page, losses) = import(&policy("p", &format!("spec:\n{rules}")), |_| {}).unwrap();
        assert!(!page.contains("[[rule]]"), "{part}: {page}");
        assert_eq!(losses.len(), 1, "{part}: {losses:?}");
        assert!(
            losses[0].starts_with(&format!("a.yaml:{line}: ")),
            "{losses:?}"
        );
        let deny = policy("p", &format!("spec:\n  action: DENY\n{rules}"));
        let (page, losses) = import(&deny, |_| {}).unwrap();
        let (deny, _) = page.split_once("no ALLOW policy").unwrap();
        assert!(deny.contains("action = \"deny\""), "{part}: {page}");
        for narrow in ["hosts", "methods", "paths", "headers", "from = [\"10"] {
            assert!(!deny.contains(&format!("\n{narrow}")), "{part}: {page}");
        }
        assert_eq!(losses.len(), 1, "{part}: {losses:?}");
    }
}

#[test]
fn a_target_is_a_workload_of_its_own() {
    let refs = "spec:\n  targetRefs:\n  - {kind: Gateway, group: gateway.networking.k8s.io, name: edge}\n  \
                - {kind: Gateway, name: inner}\n  rules: [{}]";
    let of = |workload: &str| {
        let change = |istio: &mut Istio| istio.workload = Some(workload.to_owned());
        import(&policy("p", refs), change).unwrap().0
    };
    assert!(of("Gateway=edge,ns=foo").contains("name = \"foo/p\""));
    assert!(of("Gateway=inner,ns=foo").contains("name = \"foo/p\""));
    assert!(!of("app=edge,ns=foo").contains("foo/p"));
    assert!(!of("Gateway=edge,ns=bar").contains("foo/p"));
    let (text, _) = import(&policy("p", refs), |_| {}).unwrap_err();
    assert!(text.contains("--workload Gateway=edge,ns=foo"), "{text}");
}

#[test]
fn sources_of_one_rule_are_intersected_and_exceptions_added() {
    let spec = "spec:\n  rules:\n  - from:\n    - source:\n        principals: ['cluster.local/ns/a/*', 'cluster.local/ns/b/sa/x']\n        \
                namespaces: [a]\n        notPrincipals: ['cluster.local/ns/a/sa/y']\n        ipBlocks: ['10.0.0.0/8']\n    when:\n    \
                - {key: source.ip, values: ['10.1.0.0/16'], notValues: ['10.1.1.0/24']}";
    let (page, losses) = import(&policy("p", spec), |_| {}).unwrap();
    assert!(losses.is_empty(), "{losses:?}");
    let expected = "[[role]]\nname = \"cluster.local/ns/a/**\"\nspiffe = [\"spiffe://cluster.local/ns/a/**\"]\n\n\
        [[role]]\nname = \"cluster.local/ns/a/sa/y\"\nspiffe = [\"spiffe://cluster.local/ns/a/sa/y\"]\n\n\
        [[rule]]\nname = \"foo/p\"\nroles = [\"cluster.local/ns/a/**\"]\nnot_roles = [\"cluster.local/ns/a/sa/y\"]\n\
        from = [\"10.1.0.0/16\"]\nnot_from = [\"10.1.1.0/24\"]";
    assert!(page.contains(expected), "{page}");
}

#[test]
fn identities_of_other_trust_domains_are_on_the_safe_side() {
    let rules = |field: &str| format!("  rules:\n  - from: [{{source: {{{field}: [a]}}}}]");
    let allow = |field| {
        import(&policy("p", &format!("spec:\n{}", rules(field))), |_| {})
            .unwrap()
            .0
    };
    let deny = |field| {
        let spec = format!("spec:\n  action: DENY\n{}", rules(field));
        import(&policy("p", &spec), |_| {}).unwrap().0
    };
    assert_eq!(allow("namespaces").matches("[[rule]]").count(), 1);
    let denied = deny("namespaces");
    assert!(
        denied.contains("roles = [\"any SPIFFE ID\"]\nnot_roles = [\"cluster.local/**\"]\naction"),
        "{denied}"
    );
    let allowed = allow("notNamespaces");
    assert!(
        allowed.contains("roles = [\"anyone\"]\nnot_roles = [\"any SPIFFE ID\"]\n"),
        "{allowed}"
    );
    assert!(
        allowed
            .contains("roles = [\"cluster.local/**\"]\nnot_roles = [\"cluster.local/ns/a/**\"]\n")
    );
    assert!(
        deny("notNamespaces")
            .contains("roles = [\"anyone\"]\nnot_roles = [\"cluster.local/ns/a/**\"]\naction")
    );
    assert!(allow("serviceAccounts").contains("spiffe://cluster.local/ns/foo/sa/a\""));
}

#[test]
fn without_an_allow_policy_everything_is_allowed_and_an_empty_one_allows_nothing() {
    let pages = |spec: &str| import(&policy("p", spec), |_| {}).unwrap();
    let (nothing, _) = pages("spec: {}");
    assert!(!nothing.contains("[[rule]]"), "{nothing}");
    let (everything, _) = pages("spec: {rules: [{}]}");
    assert!(
        everything.contains("name = \"foo/p\"\nroles = [\"anyone\"]"),
        "{everything}"
    );
    let (deny_nothing, _) = pages("spec: {action: DENY}");
    assert!(deny_nothing.contains("name = \"no ALLOW policy\"\nroles = [\"anyone\"]"));
    let (audit, losses) = pages("spec: {action: AUDIT, rules: [{}]}");
    assert!(audit.contains("no ALLOW policy") && losses.len() == 1);
    let (custom, losses) =
        pages("spec: {action: CUSTOM, rules: [{to: [{operation: {paths: [/admin]}}]}]}");
    assert!(
        custom.contains("paths = [\"/admin\"]\naction = \"deny\"") && losses.len() == 1,
        "{custom}"
    );
}

#[test]
fn a_dry_run_deny_is_a_rule_on_trial_and_a_dry_run_allow_is_none() {
    let trial = |action: &str| {
        let spec = format!(
            "  annotations: {{'istio.io/dry-run': 'true'}}\nspec: {{action: {action}, rules: [{{}}]}}"
        );
        import(&policy("p", &spec), |_| {}).unwrap()
    };
    let (page, losses) = trial("DENY");
    assert!(
        page.contains("action = \"deny\"\nshadow = true") && losses.is_empty(),
        "{page}"
    );
    let (page, losses) = trial("ALLOW");
    assert!(
        page.contains("no ALLOW policy") && losses.len() == 1,
        "{page}"
    );
}

#[test]
fn the_narrowest_peer_authentication_decides_and_ports_have_their_own() {
    let peer = |namespace: &str, spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {spec}\n---\n"
        )
    };
    let mesh = peer("istio-system", "{mtls: {mode: STRICT}}");
    let namespace = peer("foo", "{mtls: {mode: UNSET}}");
    let workload = peer(
        "foo",
        "{selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {8080: {mode: DISABLE}, 9090: {mode: UNSET}}}",
    );
    let of = |yaml: &str, port| {
        let change = |istio: &mut Istio| {
            istio.workload = Some("app=a,ns=foo".to_owned());
            istio.port = port;
        };
        let page = import(yaml, change).unwrap().0;
        let modes = page.lines().filter_map(|line| line.split_once("mode = \""));
        modes
            .map(|(_, rest)| rest.split('"').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&mesh, None), ["require"]);
    assert_eq!(of(&format!("{namespace}{mesh}"), None), ["require"]);
    let all = format!("{workload}{namespace}{mesh}");
    assert_eq!(of(&all, None), ["accept", "ignore"]);
    assert_eq!(of(&all, Some(8080)), ["ignore"]);
    assert_eq!(of(&all, Some(9090)), ["accept"]);
    assert_eq!(
        of(&peer("bar", "{mtls: {mode: DISABLE}}"), None),
        ["accept"]
    );
}
