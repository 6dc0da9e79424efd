//! Rate limits: who is refused, when they may come again, and what a fleet counts together.

use std::time::Duration;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Leaf};
use tokio::time::{Instant, sleep_until};

use crate::harness::redis::{Redis, is_missing};
use crate::harness::{Client, Gateway, GatewayBuilder, Site, client_ca, client_leaf, until};

/// A gateway whose site counts for `[rate_limit.callers]`, with these keys.
fn limited(echo: &Echo, limit: &str) -> GatewayBuilder {
    Gateway::builder()
        .site(Site::new("localhost").line("rate_limits = 'callers'"))
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!("[rate_limit.callers]\n{limit}"))
}

/// How many of so many requests, one after the other, are served. All others are 429.
async fn served(gateway: &Gateway, client: &Client, requests: usize) -> usize {
    let mut connection = client.connect(gateway.address()).await.unwrap();
    let mut served = 0;
    for _ in 0..requests {
        match connection.get("/").await.unwrap().status.as_u16() {
            200 => served += 1,
            status => assert_eq!(status, 429),
        }
    }
    served
}

#[tokio::test]
async fn who_is_too_fast_is_told_when_to_come_again() {
    let echo = Echo::start().await.unwrap();
    let gateway = limited(&echo, "rate = '30/m'\nburst = 2").spawn().await;
    for h2 in [false, true] {
        let client = if h2 {
            Client::new().h2()
        } else {
            Client::new()
        };
        let mut connection = client.connect(gateway.address()).await.unwrap();
        let refused = until("the burst is used up", async || {
            let answer = connection.get("/late").await.unwrap();
            (answer.status == 429).then_some(answer)
        })
        .await;
        assert!(refused.body.is_empty());
        let wait: u64 = refused.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=2).contains(&wait), "{wait}");
        let before = echo.record().request_count();
        sleep_until(Instant::now() + Duration::from_secs(wait)).await;
        assert_eq!(connection.get("/again").await.unwrap().status, 200);
        assert_eq!(echo.record().request_count(), before + 1);
    }
    let refusal = gateway.wait_for_refusal("RATE_LIMITED").await;
    assert_eq!(refusal["detail"], "callers");
    let line = "portcullis_rate_limited_total{limit=\"callers\"}";
    assert!(gateway.metric(line).await >= 2.0);
}

#[tokio::test]
async fn what_is_refused_for_another_reason_counts_for_nothing() {
    let echo = Echo::start().await.unwrap();
    let builder = Gateway::builder()
        .site(Site::new("localhost").line("rate_limits = 'callers'"))
        .upstream(&echo)
        .rule("roles = ['anyone']\npaths = ['/open']")
        .extra_toml("[rate_limit.callers]\nrate = '1/h'");
    let gateway = builder.spawn().await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/closed").await.unwrap().status, 403);
    }
    assert_eq!(client.get("/open").await.unwrap().status, 200);
    assert_eq!(client.get("/open").await.unwrap().status, 429);
    assert_eq!(
        client.get("/closed").await.unwrap().status,
        403,
        "policy comes first"
    );
}

#[tokio::test]
async fn the_count_is_one_for_all_workers() {
    let echo = Echo::start().await.unwrap();
    let gateway = limited(&echo, "rate = '1/h'\nburst = 40").spawn().await;
    let clients: Vec<_> = (0..8).map(|_| Client::new()).collect();
    let calls = clients.iter().map(|client| served(&gateway, client, 20));
    let all: usize = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .sum();
    assert_eq!(all, 40);
}

#[tokio::test]
async fn an_identity_keeps_its_count_over_a_new_certificate_and_a_reload() {
    let echo = Echo::start().await.unwrap();
    let builder = limited(&echo, "per = 'identity'\nrate = '1/h'\nburst = 3");
    let gateway = builder.client_cert("accept", client_ca()).spawn().await;
    let of = |leaf: &Leaf| Client::new().certificate(leaf);
    let nameless = |name: &str| pki::Client::new(name).issued_by(client_ca()).unwrap();
    assert_eq!(served(&gateway, &of(&client_leaf("orders")), 2).await, 2);
    gateway.rewrite_config(|toml| toml + "[rate_limit.other]\nrate = '1/h'\n");
    gateway.reload().await.unwrap();
    assert_eq!(served(&gateway, &of(&client_leaf("orders")), 5).await, 1);
    assert_eq!(served(&gateway, &of(&client_leaf("billing")), 5).await, 3);
    assert_eq!(served(&gateway, &of(&nameless("a")), 2).await, 2);
    assert_eq!(served(&gateway, &of(&nameless("a")), 5).await, 1);
    assert_eq!(served(&gateway, &of(&nameless("b")), 5).await, 3);
    assert_eq!(
        served(&gateway, &Client::new(), 5).await,
        3,
        "by its address"
    );
}

#[tokio::test]
async fn a_route_counts_beside_its_site_and_who_names_the_same_limit_shares_it() {
    let echo = Echo::start().await.unwrap();
    let route = |path: &str, limits: &str| {
        format!("[[site.route]]\npath = '{path}'\nupstream = 'echo'\nrate_limits = {limits}\n")
    };
    let site = Site::new("localhost").line("rate_limits = ['all']");
    let routes = route("/a", "['few']") + &route("/b", "'few'") + &route("/", "[]");
    let builder = Gateway::builder()
        .site(site.route("/c", "echo").line(""))
        .upstream(&echo)
        .allow("anyone");
    let limits = "[rate_limit.all]\nper = 'all'\nrate = '1/h'\nburst = 6\n\
                  [rate_limit.few]\nrate = '1/h'\nburst = 2\n";
    let gateway = builder.extra_toml(limits).spawn().await;
    gateway.rewrite_config(|toml| toml.replacen("[[site.route]]", &(routes + "[[site.route]]"), 1));
    gateway.reload().await.unwrap();
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    let mut statuses = Vec::new();
    for path in ["/a", "/b", "/a", "/b", "/", "/", "/"] {
        statuses.push(client.get(path).await.unwrap().status.as_u16());
    }
    // What the route refused had counted for the site: whoever asks too often does so everywhere.
    assert_eq!(statuses, [200, 200, 429, 429, 200, 200, 429]);
}

/// A limit that Redis counts.
async fn counted_by(redis: &Redis, echo: &Echo, limit: &str) -> Gateway {
    let tables = format!(
        "redis = 'main'\n{limit}\n[redis.main]\nurls = '{}'\ntimeout = '1s'",
        redis.url()
    );
    let gateway = limited(echo, &tables).spawn().await;
    until("redis is there", async || {
        let up = gateway.metric("portcullis_redis_up{redis=\"main\"}").await;
        (up > 0.0).then_some(())
    })
    .await;
    gateway
}

#[tokio::test]
async fn one_two_and_four_gateways_together_keep_the_rate() {
    if is_missing("one_two_and_four_gateways_together_keep_the_rate") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]).await;
    let echo = Echo::start().await.unwrap();
    for gateways in [1, 2, 4] {
        redis.cli(&["flushall"]);
        let mut fleet = Vec::new();
        for _ in 0..gateways {
            fleet.push(counted_by(&redis, &echo, "per = 'all'\nrate = '100/s'\nburst = 50").await);
        }
        let begun = Instant::now();
        let end = begun + Duration::from_secs(3);
        let calls = fleet.iter().map(async |gateway| {
            let mut client = Client::new().connect(gateway.address()).await.unwrap();
            let mut served = 0;
            while Instant::now() < end {
                served += u32::from(client.get("/").await.unwrap().status == 200);
            }
            served
        });
        let served: u32 = futures_util::future::join_all(calls)
            .await
            .into_iter()
            .sum();
        let allowed = 50.0 + 100.0 * begun.elapsed().as_secs_f64();
        let off = f64::from(served) / allowed - 1.0;
        assert!(
            off.abs() <= 0.02,
            "{gateways} gateways: {served} of {allowed:.0}"
        );
    }
}

#[tokio::test]
async fn without_its_redis_a_limit_does_as_configured() {
    if is_missing("without_its_redis_a_limit_does_as_configured") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(folder.path(), &[]).await;
    let echo = Echo::start().await.unwrap();
    let mut gateways = Vec::new();
    for away in ["local", "allow", "refuse"] {
        let limit = format!("rate = '1/h'\nburst = 2\nwhen_away = '{away}'");
        gateways.push((away, counted_by(&redis, &echo, &limit).await));
    }
    redis.kill();
    for (away, gateway) in &gateways {
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(client.get("/").await.unwrap().status.as_u16());
        }
        let expected = match *away {
            "local" => [200, 200, 429, 429],
            "allow" => [200; 4],
            _ => [503; 4],
        };
        assert_eq!(statuses, expected, "{away}");
        let line = "portcullis_rate_limit_fallbacks_total{limit=\"callers\"}";
        assert_eq!(gateway.metric(line).await, 4.0);
    }
    gateways[2]
        .1
        .wait_for_refusal("RATE_LIMIT_UNAVAILABLE")
        .await;
}
