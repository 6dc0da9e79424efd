//! Who may do what: nothing by default, only what a rule allows, and no path around a rule.

use http::Method;
use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Leaf};

use crate::harness::{
    CLIENT_CA_NAME, Client, Gateway, GatewayBuilder, Response, Site, client_ca, client_leaf,
};

fn gateway(echo: &Echo) -> GatewayBuilder {
    Gateway::builder()
        .client_cert("accept", client_ca())
        .upstream(echo)
}

async fn get(gateway: &Gateway, leaf: &Leaf, path: &str) -> Response {
    let client = Client::new().certificate(leaf);
    client.get(gateway, path).await.unwrap()
}

async fn assert_denied(gateway: &Gateway, answer: &Response, reason: &str) {
    assert_eq!(answer.status, 403);
    // A bare status: which rule it was is not the client's to know.
    assert!(answer.body.is_empty());
    assert_eq!(gateway.refusal_of(answer.port).await["reason"], reason);
}

#[tokio::test]
async fn without_rules_everything_is_denied() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).spawn().await;
    for client in [
        Client::new(),
        Client::new().certificate(&client_leaf("orders")),
        Client::new().certificate(&client_leaf("orders")).h2(),
    ] {
        let answer = client.get(&gateway, "/").await.unwrap();
        assert_denied(&gateway, &answer, "NOT_AUTHORIZED").await;
    }
    let line = gateway
        .wait_for_access(|line| line["http.response.status_code"] == 403)
        .await;
    assert_eq!(line["reason"], "NOT_AUTHORIZED");
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn each_kind_of_name_gives_its_own_role_and_no_other() {
    let echo = Echo::start().await.unwrap();
    let issue = |client: pki::Client| client.issued_by(client_ca()).unwrap();
    let client = pki::Client::new;
    let by_hash = issue(client("by hash"));
    let spiffe = client("a").uri("spiffe://test.portcullis/orders").unwrap();
    let below = client("a").uri("spiffe://test.portcullis/team/a").unwrap();
    let leafs = [
        ("/spiffe", issue(spiffe)),
        ("/below", issue(below)),
        (
            "/dns",
            issue(client("a").dns("orders.clients.test").unwrap()),
        ),
        ("/wild", issue(client("a").dns("x.wild.test").unwrap())),
        ("/name", issue(client("Orders Service"))),
        ("/hash", by_hash.clone()),
    ];
    let hash = sha256(&by_hash);
    let gateway = gateway(&echo)
        .role("name = 'spiffe'\nspiffe = ['spiffe://test.portcullis/orders']")
        .role("name = 'below'\nspiffe = ['spiffe://test.portcullis/team/*']")
        .role("name = 'dns'\ndns = ['orders.clients.test']")
        .role("name = 'wild'\ndns = ['*.wild.test']")
        .role("name = 'name'\ncommon_name = ['Orders Service']")
        .role(&format!("name = 'hash'\nsha256 = ['{hash}']"));
    let gateway = leafs.iter().fold(gateway, |gateway, (path, _)| {
        gateway.rule(&format!("roles = ['{}']\npaths = ['{path}']", &path[1..]))
    });
    let gateway = gateway.spawn().await;
    for (own, leaf) in &leafs {
        for (path, _) in &leafs {
            let answer = get(&gateway, leaf, path).await;
            let expected = if path == own { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{own} asks for {path}");
        }
    }
    assert_eq!(echo.record().request_count(), leafs.len());
}

#[tokio::test]
async fn near_names_do_not_give_a_role() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo)
        .role(
            "name = 'orders'\nspiffe = ['spiffe://test.portcullis/orders', 'spiffe://test.portcullis/team/*']
            dns = ['orders.clients.test', '*.wild.test']\ncommon_name = ['orders']",
        )
        .allow("orders")
        .spawn()
        .await;
    let client = || pki::Client::new("somebody");
    let uri = |uri: &str| client().uri(uri).unwrap();
    let dns = |name: &str| client().dns(name).unwrap();
    for near in [
        uri("spiffe://test.portcullis/orders/admin"),
        uri("spiffe://test.portcullis/Orders"),
        uri("spiffe://test.portcullis/order"),
        uri("spiffe://test.portcullis.evil.test/orders"),
        uri("spiffe://test.portcullis/team/a/b"),
        uri("spiffe://test.portcullis/team"),
        uri("https://test.portcullis/orders"),
        // An SVID has one URI (X.509-SVID section 2); with two nobody knows which is meant.
        uri("spiffe://test.portcullis/orders")
            .uri("spiffe://test.portcullis/x")
            .unwrap(),
        dns("a.orders.clients.test"),
        dns("orders.clients.test.evil.test"),
        dns("wild.test"),
        dns("a.b.wild.test"),
        // One kind of name never stands for another.
        dns("orders"),
        pki::Client::new("orders.clients.test"),
        pki::Client::new("Orders"),
        pki::Client::new("spiffe://test.portcullis/orders"),
    ] {
        let leaf = near.issued_by(client_ca()).unwrap();
        let answer = get(&gateway, &leaf, "/").await;
        assert_eq!(answer.status, 403, "{near:?}");
    }
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn without_a_certificate_only_anyone_may() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo)
        .role("name = 'orders'\nspiffe = ['spiffe://test.portcullis/**']")
        .rule("roles = ['anyone']\npaths = ['/public']")
        .rule("roles = ['verified']\npaths = ['/verified']")
        .rule("roles = ['orders']\npaths = ['/orders']")
        .spawn()
        .await;
    let (stranger, known) = (
        Client::new(),
        Client::new().certificate(&client_leaf("orders")),
    );
    for (path, expected) in [("/public", 200), ("/verified", 403), ("/orders", 403)] {
        let answer = stranger.get(&gateway, path).await.unwrap();
        assert_eq!(answer.status, expected, "{path}");
        let answer = known.get(&gateway, path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_deny_wins_over_every_allow_wherever_it_stands() {
    let echo = Echo::start().await.unwrap();
    let allow = "name = 'all'\nroles = ['verified', 'anyone']";
    let deny = "name = 'no admin'\nroles = ['orders']\npaths = ['/admin/**']\naction = 'deny'";
    for rules in [[allow, deny], [deny, allow]] {
        let gateway = gateway(&echo)
            .role("name = 'orders'\nspiffe = ['spiffe://test.portcullis/orders']")
            .rule(rules[0])
            .rule(rules[1])
            .spawn()
            .await;
        let (orders, users) = (client_leaf("orders"), client_leaf("users"));
        for path in ["/admin", "/admin/", "/admin/users", "/%61dmin/x"] {
            let answer = get(&gateway, &orders, path).await;
            assert_denied(&gateway, &answer, "DENIED_BY_RULE").await;
            assert_eq!(get(&gateway, &users, path).await.status, 200, "{path}");
        }
        assert_eq!(get(&gateway, &orders, "/administrator").await.status, 200);
        let line = gateway
            .wait_for_access(|line| line["http.response.status_code"] == 403)
            .await;
        assert_eq!(line["rule"], "no admin");
    }
}

#[tokio::test]
async fn methods_and_hosts_narrow_a_rule() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo)
        .site(Site::new("a.test").host("b.test"))
        .rule("roles = ['anyone']\nmethods = ['GET', 'PUT']\nhosts = ['a.test']")
        .rule("roles = ['anyone']\npaths = ['/both']")
        .spawn()
        .await;
    for client in [Client::of("a.test"), Client::of("a.test").h2()] {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        for (method, expected) in [
            (Method::GET, 200),
            (Method::PUT, 200),
            (Method::HEAD, 403),
            (Method::POST, 403),
            (Method::OPTIONS, 403),
            (Method::from_bytes(b"get").unwrap(), 403),
        ] {
            let answer = connection.request(method.clone(), "/x").await.unwrap();
            assert_eq!(answer.status, expected, "{method}");
        }
        let other = Client::of("b.test");
        assert_eq!(other.get(&gateway, "/x").await.unwrap().status, 403);
        assert_eq!(other.get(&gateway, "/both").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn names_of_subject_and_issuer_trust_domains_and_uris_give_roles() {
    let echo = Echo::start().await.unwrap();
    let issue = |client: pki::Client| client.issued_by(client_ca()).unwrap();
    let orders = client_leaf("orders");
    let two = pki::Client::new("two").uri("urn:team:a").unwrap();
    let two = issue(two.uri("spiffe://test.portcullis/x").unwrap());
    let gateway = gateway(&echo)
        .role(&format!(
            "name = 'subject'\nmatch = 'all'\nsubject = {{ CN = 'orders' }}\nissuer = {{ CN = '{CLIENT_CA_NAME}' }}\ndns = '*.clients.test'"
        ))
        .role("name = 'domain'\ntrust_domain = 'test.portcullis'")
        .role("name = 'uri'\nuri = 'urn:team:a'")
        .role("name = 'all'\nmatch = 'all'\ncommon_name = 'orders'\nuri = 'urn:team:a'");
    let gateway = ["subject", "domain", "uri", "all"]
        .iter()
        .fold(gateway, |gateway, role| {
            gateway.rule(&format!("roles = ['{role}']\npaths = ['/{role}']"))
        });
    let gateway = gateway.spawn().await;
    for (path, as_orders, as_two) in [
        ("/subject", 200, 403),
        ("/domain", 200, 403),
        ("/uri", 403, 200),
        ("/all", 403, 403),
    ] {
        assert_eq!(
            get(&gateway, &orders, path).await.status,
            as_orders,
            "{path}"
        );
        assert_eq!(get(&gateway, &two, path).await.status, as_two, "{path}");
    }
}

#[tokio::test]
async fn exceptions_addresses_and_headers_narrow_a_rule() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo)
        .role("name = 'orders'\nspiffe = 'spiffe://test.portcullis/orders'")
        .rule("roles = ['verified']\nnot_roles = ['orders']\npaths = ['/others']")
        .rule("roles = ['anyone']\nfrom = ['127.0.0.0/8']\npaths = ['/here']")
        .rule("roles = ['anyone']\nnot_from = ['127.0.0.1']\npaths = ['/elsewhere']")
        .rule("roles = ['anyone']\nnot_methods = ['PUT']\npaths = ['/a/{id}/b']\nnot_paths = ['/a/secret/b']")
        .rule("roles = ['anyone']\npaths = ['/env']\nheaders = { name = 'X-Env', values = ['prod', 'stage*'], not_values = 'stage-old' }")
        .spawn()
        .await;
    let (orders, users) = (client_leaf("orders"), client_leaf("users"));
    assert_eq!(get(&gateway, &users, "/others").await.status, 200);
    assert_eq!(get(&gateway, &orders, "/others").await.status, 403);
    for client in [Client::new(), Client::new().h2()] {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        for (method, path, sent, expected) in [
            (Method::GET, "/here", &[][..], 200),
            (Method::GET, "/elsewhere", &[], 403),
            (Method::GET, "/a/1/b", &[], 200),
            (Method::PUT, "/a/1/b", &[], 403),
            (Method::GET, "/a/secret/b", &[], 403),
            (Method::GET, "/a/%73ecret/b", &[], 403),
            (Method::GET, "/a/1/2/b", &[], 403),
            (Method::GET, "/env", &[], 403),
            (Method::GET, "/env", &["prod"], 200),
            (Method::GET, "/env", &["prod", "stage7"], 200),
            (Method::GET, "/env", &["test", "stage7"], 403),
            (Method::GET, "/env", &["prod", "stage-old"], 403),
            (Method::GET, "/env", &["PROD"], 403),
        ] {
            let mut request = http::Request::builder().method(method).uri(path);
            for value in sent {
                request = request.header("x-env", *value);
            }
            let request = request.body(Default::default()).unwrap();
            let status = connection.send(request).await.unwrap().status;
            assert_eq!(status, expected, "{path} {sent:?}");
        }
    }
}

#[tokio::test]
async fn a_rule_on_trial_counts_and_logs_and_denies_nothing() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo)
        .allow("anyone")
        .rule("name = 'trial'\nroles = ['anyone']\npaths = ['/x/**']\naction = 'deny'\nshadow = true")
        .rule("name = 'trial 2'\nroles = ['anyone']\npaths = ['/x/y']\naction = 'deny'\nshadow = true")
        .rule("name = 'real'\nroles = ['anyone']\npaths = ['/x/no']\naction = 'deny'")
        .spawn()
        .await;
    let counted = async |rule: &str| {
        let name = format!("portcullis_shadow_denials_total{{rule=\"{rule}\"}}");
        gateway.metric(&name).await
    };
    let (_, metrics) = gateway.probe("/metrics").await;
    assert!(
        metrics.contains("shadow_denials_total{rule=\"trial\"} 0"),
        "{metrics}"
    );
    for (path, status) in [("/x", 200), ("/x/y", 200), ("/x/no", 403), ("/other", 200)] {
        assert_eq!(
            Client::new().get(&gateway, path).await.unwrap().status,
            status
        );
    }
    assert_eq!(
        (counted("trial").await, counted("trial 2").await),
        (2.0, 1.0)
    );
    let line = gateway
        .wait_for_access(|line| line["url.path"] == "/x/y")
        .await;
    assert_eq!(line["shadow.rule"], serde_json::json!(["trial", "trial 2"]));
    let line = gateway
        .wait_for_access(|line| line["url.path"] == "/other")
        .await;
    assert_eq!(line.get("shadow.rule"), None);
    // A rule that is in force has no series any more.
    gateway.rewrite_config(|text| text.replacen("shadow = true", "", 1));
    gateway.reload().await.unwrap();
    assert_eq!(Client::new().get(&gateway, "/x").await.unwrap().status, 403);
    let (_, metrics) = gateway.probe("/metrics").await;
    assert!(!metrics.contains("rule=\"trial\""), "{metrics}");
    assert_eq!(counted("trial 2").await, 1.0);
}

fn sha256(leaf: &Leaf) -> String {
    let der = leaf.chain_der().unwrap().remove(0);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
