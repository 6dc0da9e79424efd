//! Gateways that share their ticket keys in Redis: a session of one is resumed by the other.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use portcullis_bench::echo::Echo;
use tokio::time::Instant;

use crate::harness::redis::{Cluster, Redis, Watched, is_missing};
use crate::harness::{Client, Gateway, until};

/// Long enough for four keys.
const THREE_ROTATIONS: Duration = Duration::from_millis(3500);

/// A gateway of the fleet; `redis` are the keys of `[redis.main]`, `wrap` is the file of the wrapping key.
async fn gateway(echo: &Echo, redis: &str, wrap: &Path) -> Gateway {
    let tables = format!(
        "[redis.main]\n{redis}\ntimeout = '1s'\n[tickets]\nrotate = '1s'\n\
         keys = {{ redis = 'main', wrap = 'file:{}' }}\n[resumption]\nmode = 'tickets'\nlifetime = '10s'\n",
        wrap.display()
    );
    let builder = Gateway::builder().upstream(echo).allow("anyone");
    builder.extra_toml(&tables).spawn().await
}

fn wrap_file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("wrap.keys");
    fs::write(&path, "5a".repeat(32)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Whether a request to `path` resumed, by the access log.
async fn resumed(gateway: &Gateway, client: &Client, path: &str) -> bool {
    let response = client.get(gateway, path).await.unwrap();
    assert_eq!(response.status, 200);
    let line = gateway
        .wait_for_access(|line| line["url.path"] == path)
        .await;
    line["tls.resumed"] == true
}

/// A client that goes to and fro resumes every time, until `end`.
async fn back_and_forth(gateways: [&Gateway; 2], begun: &Client, end: Instant) -> u32 {
    let mut rounds = 0;
    while Instant::now() < end {
        for gateway in gateways {
            rounds += 1;
            let path = format!("/round/{rounds}/{:?}", Instant::now());
            let path = path.replace(|c: char| !c.is_alphanumeric() && c != '/', "-");
            assert!(resumed(gateway, begun, &path).await, "{path}");
        }
    }
    rounds
}

/// Both resume what either gave out, through three rotations and a restart of one of them.
async fn resumes_everywhere(redis: &str) {
    let folder = tempfile::tempdir().unwrap();
    let wrap = wrap_file(folder.path());
    let echo = Echo::start().await.unwrap();
    let a = gateway(&echo, redis, &wrap).await;
    let b = gateway(&echo, redis, &wrap).await;
    for client in [Client::new().tls13(), Client::new().tls12()] {
        assert!(!resumed(&a, &client, "/first").await);
        let end = Instant::now() + THREE_ROTATIONS;
        let rounds = back_and_forth([&b, &a], &client, end).await;
        assert!(rounds >= 8, "{rounds}");
        // One that starts anew has it all from the record.
        let c = gateway(&echo, redis, &wrap).await;
        assert!(resumed(&c, &client, "/anew").await);
    }
}

#[tokio::test]
async fn a_session_of_one_gateway_resumes_on_the_other_through_one_server() {
    if is_missing("a_session_of_one_gateway_resumes_on_the_other_through_one_server") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]).await;
    resumes_everywhere(&format!("urls = '{}'", redis.url())).await;
}

#[tokio::test]
async fn a_session_of_one_gateway_resumes_on_the_other_through_a_cluster() {
    if is_missing("a_session_of_one_gateway_resumes_on_the_other_through_a_cluster") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path()).await;
    let mut redis = "mode = 'cluster'\nurls = [".to_owned();
    for url in cluster.urls() {
        write!(redis, "'{url}', ").unwrap();
    }
    resumes_everywhere(&(redis + "]")).await;
}

#[tokio::test]
async fn a_session_of_one_gateway_resumes_on_the_other_through_sentinels() {
    if is_missing("a_session_of_one_gateway_resumes_on_the_other_through_sentinels") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let watched = Watched::start(folder.path(), None).await;
    let (url, name) = (watched.sentinel.url(), Watched::NAME);
    let redis = format!("mode = 'sentinel'\nmaster = '{name}'\nurls = ['{url}']");
    resumes_everywhere(&redis).await;
}

#[tokio::test]
async fn redis_killed_and_returned_fails_no_handshake_and_ends_no_session() {
    if is_missing("redis_killed_and_returned_fails_no_handshake") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let wrap = wrap_file(folder.path());
    let echo = Echo::start().await.unwrap();
    let mut redis = Redis::start(folder.path(), &[]).await;
    let toml = format!("urls = '{}'", redis.url());
    let a = gateway(&echo, &toml, &wrap).await;
    let b = gateway(&echo, &toml, &wrap).await;
    let client = Client::new().tls13();
    assert!(!resumed(&a, &client, "/first").await);
    let round = async |kind: &str| {
        let end = Instant::now() + Duration::from_millis(1500);
        let full = Client::new().tls13();
        let path = format!("/full/{kind}");
        assert!(!resumed(&a, &full, &path).await);
        back_and_forth([&b, &a], &client, end).await;
    };
    round("before").await;
    redis.kill();
    round("away").await;
    redis.start_again().await;
    until("the record is back", async || {
        redis
            .cli(&["get", "portcullis:portcullis:tickets"])
            .contains("keys")
            .then_some(())
    })
    .await;
    round("after").await;

    // A gateway that cannot reach it starts, and resumes its own sessions.
    redis.kill();
    let alone = gateway(&echo, &toml, &wrap).await;
    let client = Client::new().tls13();
    assert!(!resumed(&alone, &client, "/alone/1").await);
    assert!(resumed(&alone, &client, "/alone/2").await);
}
