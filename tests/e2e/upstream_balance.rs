//! Several endpoints of an upstream: who gets a request, and who gets it when somebody is gone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use portcullis_bench::echo::Echo;
use tokio::task::JoinSet;

use crate::harness::{
    Backend, Client, Connection, Gateway, Mood, Site, client_ca, client_leaf, until,
};

/// A gateway in front of these, with more keys of the upstream.
async fn gateway(endpoints: &[&Backend], toml: &str) -> Gateway {
    let urls: Vec<String> = endpoints.iter().map(|it| it.url()).collect();
    let gateway = Gateway::builder();
    let gateway = gateway.extra_toml(&format!("[upstream.echo]\nendpoints = {urls:?}\n{toml}"));
    gateway.allow("anyone").spawn().await
}

async fn three() -> [Backend; 3] {
    [
        Backend::start("a").await,
        Backend::start("b").await,
        Backend::start("c").await,
    ]
}

/// Who answers, asked with these fields.
async fn who(client: &mut Connection, fields: &[(&str, &str)]) -> String {
    let mut request = Request::get("/");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = client.send(request.body(Full::default()).unwrap()).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn an_endpoint_that_is_gone_loses_no_request_of_any_method_whatever_the_balance() {
    for balance in [
        "'round-robin'",
        "'least-request'",
        "'p2c'",
        "'hash'\nhash = 'header:x-key'",
    ] {
        let [a, mut b, c] = three().await;
        let gateway = gateway(&[&a, &b, &c], &format!("balance = {balance}\n")).await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        for _ in 0..6 {
            who(&mut client, &[]).await;
        }
        b.kill().await;
        for at in 0..30 {
            let post = Request::post("/").header("x-key", at);
            let body = Full::new(bytes::Bytes::from_static(b"once"));
            let answer = client.send(post.body(body).unwrap()).await.unwrap();
            assert_eq!(answer.status, 200, "{balance} {at}");
        }
        let posts = |it: &Backend| it.seen().iter().filter(|it| *it == "POST /").count();
        assert_eq!(posts(&a) + posts(&c), 30, "{balance}");
        assert_eq!(posts(&b), 0, "{balance}");
    }
}

#[tokio::test]
async fn where_all_are_gone_the_answer_says_so() {
    let [mut a, mut b, mut c] = three().await;
    let gateway = gateway(&[&a, &b, &c], "balance = 'least-request'\n").await;
    for it in [&mut a, &mut b, &mut c] {
        it.kill().await;
    }
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 502);
    gateway.wait_for_refusal("UPSTREAM_CONNECT").await;
    a.revive().await;
    assert_eq!(client.get("/").await.unwrap().status, 200);
}

#[tokio::test]
async fn requests_follow_the_weights_though_connections_are_kept() {
    let [a, b, _] = three().await;
    let endpoints = format!(
        "[upstream.echo]\nendpoints = ['{}', {{ url = '{}', weight = 3 }}]\n",
        a.url(),
        b.url()
    );
    let gateway = Gateway::builder().extra_toml(&endpoints).allow("anyone");
    let gateway = gateway.spawn().await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    for _ in 0..40 {
        who(&mut client, &[]).await;
    }
    assert_eq!((a.requests(), b.requests()), (10, 30));
    assert_eq!((a.connections(), b.connections()), (1, 1));
    let metric = format!(
        "portcullis_upstream_endpoint_requests_total{{upstream=\"echo\",endpoint=\"{}\"}}",
        b.address()
    );
    assert_eq!(gateway.metric(&metric).await, 30.0);
}

#[tokio::test]
async fn requests_over_http2_are_shared_by_request_too() {
    let (a, b) = (Echo::start().await.unwrap(), Echo::start().await.unwrap());
    let endpoints = format!(
        "[upstream.echo]\nendpoints = ['{}', '{}']\nprotocol = 'h2'\n",
        a.url(),
        b.url()
    );
    let gateway = Gateway::builder().extra_toml(&endpoints).allow("anyone");
    let gateway = gateway.spawn().await;
    let client = Client::new().h2();
    let mut client = client.connect(gateway.address()).await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    for echo in [&a, &b] {
        let at = echo.url().replace("http://", "");
        let metric = format!(
            "portcullis_upstream_endpoint_requests_total{{upstream=\"echo\",endpoint=\"{at}\"}}"
        );
        assert_eq!(gateway.metric(&metric).await, 5.0, "{at}");
    }
    assert_eq!(
        gateway
            .metric("portcullis_upstream_connections_total")
            .await,
        2.0
    );
}

#[tokio::test]
async fn who_has_a_request_in_progress_gets_no_more_while_another_has_none() {
    for balance in ["least-request", "p2c"] {
        let [a, b, _] = three().await;
        a.be(Mood::Hung);
        let gateway = gateway(&[&a, &b], &format!("balance = '{balance}'\n")).await;
        let mut waiting = JoinSet::new();
        for asked in 1..=20 {
            let (address, client) = (gateway.address(), Client::new());
            waiting.spawn(async move { client.connect(address).await?.get("/").await });
            let seen = async || (a.requests() + b.requests() == asked).then_some(());
            until("the request is there", seen).await;
            // Those that are answered are over before the next comes.
            while waiting.len() > a.requests() {
                waiting.join_next().await.unwrap().unwrap().unwrap();
            }
        }
        // One for each worker.
        assert!(a.requests() <= 2, "{balance}: {}", a.requests());
    }
}

#[tokio::test]
async fn of_two_endpoints_the_slower_one_gets_less() {
    let [a, b, _] = three().await;
    a.be(Mood::Slow(Duration::from_millis(200)));
    let gateway = gateway(&[&a, &b], "balance = 'p2c'\n").await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    for _ in 0..40 {
        who(&mut client, &[]).await;
    }
    assert!((1..=3).contains(&a.requests()), "{}", a.requests());
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_to_another_endpoint_where_that_is_not_safe() {
    let [a, b, _] = three().await;
    b.be(Mood::Resetting);
    let gateway = gateway(&[&a, &b], "").await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    for at in 0..10 {
        let post = Request::post(format!("/{at}")).body(Full::default());
        let status = client.send(post.unwrap()).await.unwrap().status;
        assert_eq!(status, [200, 502][at % 2]);
    }
    let mut seen = [a.seen(), b.seen()].concat();
    seen.sort_unstable();
    let once: Vec<_> = (0..10).map(|at| format!("POST /{at}")).collect();
    assert_eq!(seen, once);
}

#[tokio::test]
async fn a_header_leads_to_the_same_endpoint_and_a_loss_moves_only_its_share() {
    let [a, mut b, c] = three().await;
    let gateway = gateway(
        &[&a, &b, &c],
        "balance = 'hash'\nhash = 'header:X-Tenant'\n",
    )
    .await;
    let mut placed = HashMap::new();
    for round in 0..2 {
        // Another connection, and perhaps another worker.
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        for tenant in 0..60 {
            let at = who(&mut client, &[("x-tenant", &tenant.to_string())]).await;
            let before = placed.insert(tenant, at.clone());
            assert!(before.is_none_or(|before| before == at), "{round} {tenant}");
        }
    }
    let of = |name: &str| placed.values().filter(|at| *at == name).count();
    assert!(of("a") > 8 && of("b") > 8 && of("c") > 8, "{placed:?}");
    b.kill().await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    for tenant in 0..60 {
        let at = who(&mut client, &[("x-tenant", &tenant.to_string())]).await;
        let before = &placed[&tenant];
        assert!(before == "b" || *before == at, "{tenant}: {before} -> {at}");
    }
    b.revive().await;
    until("the lost share is back", async || {
        let mut back = true;
        for (tenant, before) in &placed {
            back &= who(&mut client, &[("x-tenant", &tenant.to_string())]).await == *before;
        }
        back.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_certificate_or_a_cookie_leads_to_the_same_endpoint() {
    let [a, b, c] = three().await;
    let urls = [a.url(), b.url(), c.url()];
    let gateway = Gateway::builder()
        .client_cert("accept", client_ca())
        .extra_toml(&format!(
            "[upstream.echo]\nendpoints = {urls:?}\nbalance = 'hash'\nhash = 'identity'\n\
             [upstream.cookies]\nendpoints = {urls:?}\nbalance = 'hash'\nhash = 'cookie:who'\n"
        ))
        .site(
            Site::new("localhost")
                .route("/", "echo")
                .route("/cookies", "cookies"),
        )
        .allow("anyone");
    let gateway = gateway.spawn().await;
    let mut places = HashSet::new();
    for name in ["one", "two", "three", "four", "five", "six"] {
        let client = Client::new().certificate(&client_leaf(name));
        let mut at = HashSet::new();
        for _ in 0..4 {
            let mut client = client.connect(gateway.address()).await.unwrap();
            at.insert(who(&mut client, &[]).await);
        }
        assert_eq!(at.len(), 1, "{name}: {at:?}");
        places.extend(at);
    }
    assert!(places.len() > 1, "{places:?}");
    // Without one in turn.
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    let mut at = HashSet::new();
    for _ in 0..3 {
        at.insert(who(&mut client, &[]).await);
    }
    assert_eq!(at.len(), 3);
    for _ in 0..6 {
        let get = Request::get("/cookies").header("cookie", "a=b; who=me");
        let answer = client.send(get.body(Full::default()).unwrap()).await;
        at = at.into_iter().take(0).collect();
        at.insert(String::from_utf8_lossy(&answer.unwrap().body).into_owned());
    }
    assert_eq!(at.len(), 1);
}

#[tokio::test]
async fn a_cookie_brings_a_client_back_to_its_endpoint_until_that_is_gone() {
    let [a, b, mut c] = three().await;
    let gateway = gateway(&[&a, &b, &c], "sticky = 'stay'\n").await;
    let ask = async |cookie: &str| {
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        let get = Request::get("/").header("cookie", cookie);
        client
            .send(get.body(Full::default()).unwrap())
            .await
            .unwrap()
    };
    let mut cookies = HashMap::new();
    until("everybody has given a cookie", async || {
        let answer = ask("x=y").await;
        let set = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        let (cookie, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; Secure; SameSite=Lax");
        assert!(!set.contains("127.0.0.1"), "{set}");
        let name = String::from_utf8_lossy(&answer.body).into_owned();
        cookies.insert(name, cookie.to_owned());
        (cookies.len() == 3).then_some(())
    })
    .await;
    for (name, cookie) in &cookies {
        for _ in 0..6 {
            let answer = ask(cookie).await;
            assert_eq!(answer.body, name.as_bytes());
            assert!(!answer.headers.contains_key("set-cookie"));
        }
    }
    // A cookie that names nobody is replaced.
    assert!(
        ask("stay=0123456789abcdef")
            .await
            .headers
            .contains_key("set-cookie")
    );
    c.kill().await;
    let answer = ask(&cookies["c"]).await;
    assert_eq!(answer.status, 200);
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(!set.starts_with(&cookies["c"]), "{set}");
}
