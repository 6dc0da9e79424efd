//! Early data at a fleet: what one gateway has answered no other answers again, with Redis there or away.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use portcullis_bench::echo::Echo;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::early::{early, listening_in, meet, request, served};
use crate::harness::redis::{Frozen, Redis, is_missing};
use crate::harness::{Client, Gateway, Site, assert_quick, client_ca, client_leaf, until};

/// Two gateways with the same keys, and the Redis that knows which sessions were used.
struct Fleet {
    echo: Echo,
    redis: Redis,
    a: Gateway,
    b: Gateway,
    _folder: TempDir,
}

impl Fleet {
    /// `mode` is what is asked of clients, `timeout` is Redis'.
    async fn start(mode: &str, timeout: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("tickets.keys");
        fs::write(&keys, "7c".repeat(32)).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        let echo = Echo::start().await.unwrap();
        let redis = Redis::start(folder.path(), &[]).await;
        let store = format!("urls = '{}'\ntimeout = '{timeout}'", redis.url());
        let a = gateway(&echo, mode, (&keys, &store)).await;
        let b = gateway(&echo, mode, (&keys, &store)).await;
        let fleet = Self {
            echo,
            redis,
            a,
            b,
            _folder: folder,
        };
        fleet.is_back().await;
        fleet
    }

    /// Waits until so many sessions are in Redis: they are told there while the client is being answered.
    async fn shares(&self, sessions: usize) {
        until("sessions are shared", async || {
            let there = self.redis.cli(&["dbsize"]);
            (there.trim() == sessions.to_string()).then_some(())
        })
        .await;
    }

    /// Waits until both gateways reach Redis.
    async fn is_back(&self) {
        until("both gateways reach Redis", async || {
            let up = "portcullis_redis_up{redis=\"main\"}";
            let up = self.a.metric(up).await + self.b.metric(up).await;
            (up > 1.5).then_some(())
        })
        .await;
    }

    /// What became of early data, over both gateways.
    async fn early_data(&self, outcome: &str) -> f64 {
        let name = format!("portcullis_early_data_total{{outcome=\"{outcome}\"}}");
        self.a.metric(&name).await + self.b.metric(&name).await
    }

    /// Sends a recorded flight to both, many times at once, and waits until each has been judged.
    async fn replay(&self, flight: &[u8]) {
        let judged = async || {
            let [accepted, used] = ["accepted", "used"].map(|outcome| self.early_data(outcome));
            accepted.await + used.await
        };
        let before = judged().await;
        let mut attempts = JoinSet::new();
        for round in 0..20 {
            let address = [&self.a, &self.b][round % 2].address();
            let flight = flight.to_vec();
            attempts.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let _ = stream.write_all(&flight).await; // Refused before its end, maybe.
                stream
            });
        }
        // They are held open: who hangs up is not answered.
        let _held = attempts.join_all().await;
        until("all are judged", async || {
            (judged().await >= before + 19.5).then_some(())
        })
        .await;
    }

    /// Early data is accepted again by both, soon.
    async fn takes_early_data_again(&self, client: &Client) {
        for (name, gateway) in [("a", &self.a), ("b", &self.b)] {
            let mut round = 0;
            until("early data is accepted", async || {
                round += 1;
                let path = format!("/early/back/{name}/{round}");
                let (answer, accepted) =
                    early(client, gateway.address(), &request("GET", &path)).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                assert_eq!(served(&self.echo, &path), 1);
                accepted.then_some(())
            })
            .await;
        }
    }
}

async fn gateway(echo: &Echo, mode: &str, (keys, store): (&Path, &str)) -> Gateway {
    let site = Site::new("localhost")
        .client_cert(mode, (mode != "ignore").then(client_ca))
        .line("resumption = { early_data = '8KiB', early_data_store = 'main' }")
        .early("/early");
    let keys = keys.display();
    Gateway::builder()
        .site(site)
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!(
            "[redis.main]\n{store}\n[tickets]\nkeys = {{ file = '{keys}' }}"
        ))
        .spawn()
        .await
}

fn client() -> Client {
    let client = Client::new().tls13().early_data();
    client.certificate(&client_leaf("somebody"))
}

/// One request that may be early is answered after the usual round trip, over a resumed session.
async fn resumes_late(client: &Client, to: SocketAddr, (gateway, path): (&Gateway, &str)) {
    let begun = Instant::now();
    let (answer, accepted) = early(client, to, &request("GET", path)).await;
    assert_quick("a handshake without Redis", begun.elapsed());
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    assert!(!accepted, "{path}");
    assert!(was_resumed(gateway, path).await, "{path}");
}

async fn was_resumed(gateway: &Gateway, path: &str) -> bool {
    let line = gateway
        .wait_for_access(|line| line["url.path"] == path)
        .await;
    line["tls.resumed"] == true
}

/// The first flight of a client, with a request in it, that reaches nobody.
async fn intercepted(client: &Client, path: &str) -> Vec<u8> {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (relay, heard) = listening_in(nobody.local_addr().unwrap()).await;
    let (client, request) = (client.clone(), request("GET", path));
    let waiting = tokio::spawn(async move { early(&client, relay, &request).await });
    let flight = until("a flight", async || {
        let flight = heard.lock().unwrap().clone();
        has_early_data(&flight).then_some(flight)
    })
    .await;
    waiting.abort();
    flight
}

/// Whether these are whole records, with application data among them.
fn has_early_data(mut records: &[u8]) -> bool {
    let mut found = false;
    while let [kind, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(next) = rest.get(length..) else {
            return false;
        };
        found |= *kind == 23;
        records = next;
    }
    found && records.is_empty()
}

#[tokio::test]
async fn a_flight_that_comes_to_every_gateway_at_once_is_served_once() {
    if is_missing("a_flight_that_comes_to_every_gateway_at_once_is_served_once") {
        return;
    }
    let fleet = Fleet::start("ignore", "1s").await;
    for round in 0..3 {
        let client = client();
        meet(&client, fleet.a.address()).await;
        // One that was used leaves a mark.
        fleet.shares(2 * (round + 1)).await;
        let path = format!("/early/at-once/{round}");
        let flight = intercepted(&client, &path).await;
        let before = fleet.early_data("accepted").await;
        fleet.replay(&flight).await;
        assert_eq!(fleet.early_data("accepted").await, before + 1.0);
        until("it is served", async || {
            (served(&fleet.echo, &path) > 0).then_some(())
        })
        .await;
        // And not again later.
        fleet.replay(&flight).await;
        assert_eq!(served(&fleet.echo, &path), 1);
    }
}

#[tokio::test]
async fn early_data_that_was_answered_is_not_served_again_by_any_gateway() {
    if is_missing("early_data_that_was_answered_is_not_served_again_by_any_gateway") {
        return;
    }
    let fleet = Fleet::start("require", "1s").await;
    let (relay, heard) = listening_in(fleet.a.address()).await;
    let client = client();
    meet(&client, relay).await;
    fleet.shares(2).await;
    let (answer, accepted) = early(&client, relay, &request("GET", "/early/once")).await;
    assert!(accepted && answer.starts_with("HTTP/1.1 200"), "{answer}");
    let flight = heard.lock().unwrap().clone();
    fleet.replay(&flight).await;
    assert_eq!(served(&fleet.echo, "/early/once"), 1);
    assert_eq!(fleet.early_data("accepted").await, 1.0);
}

#[tokio::test]
async fn a_session_of_one_gateway_carries_early_data_at_the_other() {
    if is_missing("a_session_of_one_gateway_carries_early_data_at_the_other") {
        return;
    }
    for mode in ["ignore", "require"] {
        let fleet = Fleet::start(mode, "1s").await;
        for (name, from, to) in [("a", &fleet.a, &fleet.b), ("b", &fleet.b, &fleet.a)] {
            let client = client();
            meet(&client, from.address()).await;
            fleet.shares(2).await;
            // It was given two sessions, each good for one use.
            for round in 0..2 {
                let path = format!("/early/{name}/{round}");
                let (answer, accepted) = early(&client, to.address(), &request("GET", &path)).await;
                assert!(accepted, "{mode} {path}: {answer}");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                let told: String = answer.split_whitespace().collect();
                assert!(told.contains(r#"["early-data","1"]"#), "{answer}");
                assert!(was_resumed(to, &path).await, "{path}");
            }
            fleet.redis.cli(&["flushall"]);
        }
    }
}

#[tokio::test]
async fn without_redis_sessions_resume_without_early_data_and_nothing_fails() {
    if is_missing("without_redis_sessions_resume_without_early_data_and_nothing_fails") {
        return;
    }
    let mut fleet = Fleet::start("require", "1s").await;
    let (relay, heard) = listening_in(fleet.a.address()).await;
    let (client, wanderer) = (client(), client());
    for client in [&client, &wanderer] {
        meet(client, relay).await;
    }
    fleet.shares(4).await;
    fleet.redis.kill();
    let a = &fleet.a;
    resumes_late(&client, relay, (a, "/early/away/first")).await;
    let flight = heard.lock().unwrap().clone();
    for round in 0..5 {
        let path = format!("/early/away/{round}");
        resumes_late(&client, relay, (a, &path)).await;
    }
    // Whose session is at another gateway makes a full handshake, and so does who is new.
    for (kind, client) in [("wanders", &wanderer), ("new", &self::client())] {
        let path = format!("/early/{kind}");
        let (answer, _) = early(client, fleet.b.address(), &request("GET", &path)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!was_resumed(&fleet.b, &path).await);
    }
    assert!(fleet.early_data("unreachable").await >= 2.0);
    assert_eq!(fleet.early_data("accepted").await, 0.0);

    fleet.redis.start_again().await;
    fleet.is_back().await;
    // What was refused early and then sent again is not accepted a moment later.
    fleet.replay(&flight).await;
    assert_eq!(served(&fleet.echo, "/early/away/first"), 1);
    fleet.takes_early_data_again(&client).await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_its_timeout_and_no_handshake() {
    if is_missing("a_redis_that_hangs_costs_its_timeout_and_no_handshake") {
        return;
    }
    let fleet = Fleet::start("ignore", "300ms").await;
    let (relay, heard) = listening_in(fleet.a.address()).await;
    let client = client();
    meet(&client, relay).await;
    fleet.shares(2).await;
    fleet.redis.freeze(Frozen::Yes);
    resumes_late(&client, relay, (&fleet.a, "/early/hangs/first")).await;
    let flight = heard.lock().unwrap().clone();
    for round in 0..6 {
        let path = format!("/early/hangs/{round}");
        resumes_late(&client, relay, (&fleet.a, &path)).await;
    }
    fleet.redis.freeze(Frozen::No);
    fleet.is_back().await;
    fleet.replay(&flight).await;
    assert_eq!(served(&fleet.echo, "/early/hangs/first"), 1);
    fleet.takes_early_data_again(&client).await;
}
