//! Istio's own samples, imported, decide the same requests in the same way.
//!
//! The resources have the shape of the tasks of Istio's documentation (HTTP traffic, explicit deny, TCP
//! traffic, mutual TLS migration); what is expected of each request is what those pages say.

use http::{Method, Request};
use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Leaf};
use tokio::process::Command;

use crate::harness::tools::{Said, run};
use crate::harness::{Client, Gateway, SHIM, client_ca};

/// An AuthorizationPolicy.
fn policy(name: &str, namespace: &str, spec: &str) -> String {
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n";
    format!("{head}  name: {name}\n  namespace: {namespace}\nspec:\n{spec}\n---\n")
}

fn viewer(app: &str, from: &str) -> String {
    let from = match from {
        "" => String::new(),
        account => format!(
            "\n    from:\n    - source:\n        principals: [\"cluster.local/ns/default/sa/{account}\"]"
        ),
    };
    let spec = format!(
        "  selector:\n    matchLabels:\n      app: {app}\n  action: ALLOW\n  rules:\n  - to:\n    - operation:\n        methods: [\"GET\"]{from}"
    );
    policy(&format!("{app}-viewer"), "default", &spec)
}

/// `portcullis import istio`, of this YAML.
async fn import(yaml: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("istio.yaml"), yaml).unwrap();
    let mut command = Command::new(SHIM);
    command
        .args(["import", "istio", "istio.yaml"])
        .args(arguments);
    command.current_dir(folder.path());
    run(command, "").await
}

/// A gateway with the imported rules; nothing may have been lost.
async fn imported(echo: &Echo, yaml: &str, arguments: &[&str]) -> Gateway {
    let said = import(yaml, &[arguments, &["--strict"]].concat()).await;
    assert_eq!(
        (said.status.code(), said.stderr.as_str()),
        (Some(0), ""),
        "{said:?}"
    );
    let gateway = Gateway::builder().client_cert("accept", client_ca());
    gateway
        .upstream(echo)
        .extra_toml(&said.stdout)
        .spawn()
        .await
}

fn account(name: &str) -> Leaf {
    let client = pki::Client::new("a").uri(&format!("spiffe://cluster.local/ns/{name}"));
    client.unwrap().issued_by(client_ca()).unwrap()
}

/// The status of a request with these header fields; 200 or 403.
async fn ask(gateway: &Gateway, who: Option<&Leaf>, target: &str, fields: &[(&str, &str)]) -> u16 {
    let client = who.map_or_else(Client::new, |leaf| Client::new().certificate(leaf));
    let mut connection = client.connect(gateway.address()).await.unwrap();
    let (method, path) = target.split_once(' ').unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = connection
        .send(request.body(Default::default()).unwrap())
        .await;
    answer.unwrap().status.as_u16()
}

#[tokio::test]
async fn bookinfo_viewers_see_what_they_may_and_nothing_else() {
    let echo = Echo::start().await.unwrap();
    let yaml = [
        // The task begins with allow-nothing for the namespace.
        policy("allow-nothing", "default", "  {}"),
        viewer("productpage", ""),
        viewer("details", "bookinfo-productpage"),
        viewer("reviews", "bookinfo-productpage"),
        viewer("ratings", "bookinfo-reviews"),
    ]
    .concat();
    let accounts = ["bookinfo-productpage", "bookinfo-reviews", "default"];
    let leafs = accounts.map(|name| account(&format!("default/sa/{name}")));
    let stranger = account("other/sa/bookinfo-productpage");
    for (app, allowed) in [
        ("productpage", &[0, 1, 2, 3, 4][..]),
        ("details", &[0]),
        ("reviews", &[0]),
        ("ratings", &[1]),
        ("other", &[]),
    ] {
        let workload = format!("app={app},ns=default");
        let gateway = imported(&echo, &yaml, &["--workload", &workload]).await;
        let [productpage, reviews, default] = &leafs;
        let who = [
            Some(productpage),
            Some(reviews),
            Some(default),
            Some(&stranger),
            None,
        ];
        for (at, who) in who.into_iter().enumerate() {
            let expected = if allowed.contains(&at) { 200 } else { 403 };
            assert_eq!(
                ask(&gateway, who, "GET /productpage", &[]).await,
                expected,
                "{app} {at}"
            );
            assert_eq!(
                ask(&gateway, who, "POST /productpage", &[]).await,
                403,
                "{app} {at}"
            );
        }
    }
    let undecided = import(&yaml, &[]).await;
    assert_eq!(undecided.status.code(), Some(2));
    assert!(
        undecided
            .stderr
            .contains("--workload app=ratings,ns=default"),
        "{undecided:?}"
    );
}

#[tokio::test]
async fn explicit_denies_win_and_leave_the_rest_allowed() {
    let echo = Echo::start().await.unwrap();
    let httpbin = "  selector:\n    matchLabels:\n      app: httpbin\n";
    let deny_get = policy(
        "deny-method-get",
        "foo",
        &format!(
            "{httpbin}  action: DENY\n  rules:\n  - to:\n    - operation:\n        methods: [\"GET\"]"
        ),
    );
    let gateway = imported(&echo, &deny_get, &[]).await;
    assert_eq!(ask(&gateway, None, "GET /get", &[]).await, 403);
    assert_eq!(ask(&gateway, None, "POST /post", &[]).await, 200);

    // The task goes on: GET only with x-token: admin.
    let unless = "\n    when:\n    - key: request.headers[x-token]\n      notValues: [\"admin\"]";
    let deny_get = deny_get.replace("\n---", &format!("{unless}\n---"));
    let gateway = imported(&echo, &deny_get, &[]).await;
    for (token, expected) in [(Some("admin"), 200), (Some("guest"), 403), (None, 403)] {
        let fields: Vec<_> = token.map(|token| ("x-token", token)).into_iter().collect();
        assert_eq!(
            ask(&gateway, None, "GET /get", &fields).await,
            expected,
            "{token:?}"
        );
    }
    assert_eq!(ask(&gateway, None, "POST /post", &[]).await, 200);

    // And with an ALLOW for /ip, which the deny still wins over.
    let allow_ip = policy(
        "allow-path-ip",
        "foo",
        &format!(
            "{httpbin}  action: ALLOW\n  rules:\n  - to:\n    - operation:\n        paths: [\"/ip\"]"
        ),
    );
    let gateway = imported(&echo, &(deny_get + &allow_ip), &[]).await;
    let (guest, admin) = ([("x-token", "guest")], [("x-token", "admin")]);
    assert_eq!(ask(&gateway, None, "GET /ip", &guest).await, 403);
    assert_eq!(ask(&gateway, None, "GET /ip", &admin).await, 200);
    assert_eq!(ask(&gateway, None, "GET /get", &admin).await, 403);
}

#[tokio::test]
async fn ports_of_the_tcp_task_allow_and_deny() {
    let echo = Echo::start().await.unwrap();
    let rules = |action: &str, rest: &str| {
        let spec = format!(
            "  selector:\n    matchLabels:\n      app: tcp-echo\n  action: {action}\n  rules:\n  - to:\n    - operation:\n{rest}"
        );
        policy("tcp-policy", "foo", &spec)
    };
    let ports = "        ports: [\"9000\", \"9001\"]";
    let allow = rules("ALLOW", ports);
    for (port, expected) in [("9000", 200), ("9001", 200), ("9002", 403)] {
        let gateway = imported(&echo, &allow, &["--port", port]).await;
        assert_eq!(ask(&gateway, None, "GET /", &[]).await, expected, "{port}");
    }
    let deny = rules("DENY", &format!("        methods: [\"GET\"]\n{ports}"));
    for (port, expected) in [("9000", 403), ("9001", 403), ("9002", 200)] {
        let gateway = imported(&echo, &deny, &["--port", port]).await;
        assert_eq!(ask(&gateway, None, "GET /", &[]).await, expected, "{port}");
    }
    // Without the port nothing is allowed, and that is told.
    let said = import(&allow, &["--strict"]).await;
    assert_eq!(said.status.code(), Some(3));
    assert!(
        said.stderr
            .starts_with("istio.yaml:14: ports (choose with --port)"),
        "{said:?}"
    );
    assert!(!said.stdout.contains("[[rule]]"), "{said:?}");
}

#[tokio::test]
async fn defaults_of_a_namespace_allow_nothing_everything_or_deny_all() {
    let echo = Echo::start().await.unwrap();
    for (name, spec, expected) in [
        ("allow-nothing", "  {}", 403),
        ("allow-nothing", "  action: ALLOW", 403),
        ("deny-all", "  action: DENY\n  rules:\n  - {}", 403),
        ("allow-all", "  action: ALLOW\n  rules:\n  - {}", 200),
    ] {
        let gateway = imported(&echo, &policy(name, "foo", spec), &[]).await;
        assert_eq!(
            ask(&gateway, None, "GET /", &[]).await,
            expected,
            "{name} {spec}"
        );
    }
}

#[tokio::test]
async fn sources_by_principal_namespace_and_address() {
    let echo = Echo::start().await.unwrap();
    // The reference's own example: a service account or a namespace may GET below /info and POST /data.
    let spec = "  rules:\n  - from:\n    - source:\n        principals: [\"cluster.local/ns/default/sa/curl\"]\n    \
        - source:\n        namespaces: [\"dev\"]\n    to:\n    - operation:\n        methods: [\"GET\"]\n        \
        paths: [\"/info*\"]\n    - operation:\n        methods: [\"POST\"]\n        paths: [\"/data\"]\n  \
        - from:\n    - source:\n        notPrincipals: [\"*\"]\n        ipBlocks: [\"127.0.0.0/8\"]\n        \
        notIpBlocks: [\"10.0.0.0/8\"]\n    to:\n    - operation:\n        paths: [\"/local/*\", \"/t/{*}/x\"]\n        \
        notPaths: [\"/local/secret\"]";
    let yaml = policy("httpbin", "default", spec);
    let said = import(&yaml, &[]).await;
    // `/info*` ends inside a segment: less is allowed, and told.
    let told = "istio.yaml:16: paths `/info*` has no exact form here: the rule allows less\n";
    assert_eq!(said.stderr, told);
    let builder = Gateway::builder().client_cert("accept", client_ca());
    let gateway = builder
        .upstream(&echo)
        .extra_toml(&said.stdout)
        .spawn()
        .await;
    let (curl, dev) = (account("default/sa/curl"), account("dev/sa/any"));
    let (other, near) = (account("default/sa/other"), account("development/sa/any"));
    for leaf in [&curl, &dev] {
        for (target, expected) in [
            ("GET /info", 200),
            ("GET /info/1", 200),
            ("GET /information", 403),
            ("POST /info", 403),
            ("POST /data", 200),
            ("POST /data/", 403),
            ("GET /local/x", 403),
        ] {
            assert_eq!(
                ask(&gateway, Some(leaf), target, &[]).await,
                expected,
                "{target}"
            );
        }
    }
    for leaf in [&other, &near] {
        assert_eq!(ask(&gateway, Some(leaf), "GET /info", &[]).await, 403);
    }
    for (target, expected) in [
        ("GET /local/", 200),
        ("GET /local/x/y", 200),
        ("GET /local", 403),
        ("GET /local/secret", 403),
        ("GET /t/1/x", 200),
        ("GET /t/1/2/x", 403),
        ("GET /info", 403),
    ] {
        assert_eq!(ask(&gateway, None, target, &[]).await, expected, "{target}");
    }
}

#[tokio::test]
async fn modes_of_peer_authentication_are_the_modes_of_sites() {
    let peer = |name: &str, namespace: &str, spec: &str| {
        let head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n";
        format!("{head}  name: {name}\n  namespace: {namespace}\nspec:\n{spec}\n---\n")
    };
    let mesh = peer("default", "istio-system", "  mtls:\n    mode: STRICT");
    let permissive = peer("default", "foo", "  mtls:\n    mode: PERMISSIVE");
    let finance = peer(
        "finance",
        "foo",
        "  selector:\n    matchLabels:\n      app: finance\n  mtls:\n    mode: STRICT\n  portLevelMtls:\n    8080:\n      mode: DISABLE",
    );
    let yaml = [mesh, permissive, finance].concat();
    for (workload, port, mode) in [
        ("app=finance,ns=foo", "443", "require"),
        ("app=finance,ns=foo", "8080", "ignore"),
        ("app=other,ns=foo", "443", "accept"),
        ("app=other,ns=bar", "443", "require"),
    ] {
        let said = import(&yaml, &["--workload", workload, "--port", port]).await;
        let wanted = format!("#   client_cert = {{ mode = \"{mode}\"");
        assert!(said.stdout.contains(&wanted), "{workload} {port}: {said:?}");
        assert_eq!(said.stdout.matches("client_cert").count(), 1, "{said:?}");
    }
}
