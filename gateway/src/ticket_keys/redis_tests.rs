//! Two gateways and a real Redis, with a clock that is stepped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::RedisMode as Mode;
use tempfile::TempDir;

use super::redis::RedisKeys;
use super::{KeyRing, Look, Rotation, Setup, WrapSource};
use crate::fleet::servers::{Cluster, Redis, Watched, is_missing, until};
use crate::fleet::{Settings, Store};

const T: i64 = 1_764_000_000;

fn setup() -> Setup {
    Setup {
        fleet: "edge".to_owned(),
        generation: 0,
        rotate: 100,
        lifetime: 250,
        max_outage: 1000,
        clock_skew: 10,
    }
}

fn store(urls: &[String], mode: Mode) -> Arc<Store> {
    Store::new(Settings {
        name: "main".to_owned(),
        urls: urls.to_vec(),
        mode,
        user: None,
        password: None,
        ca: None,
        certificate: None,
        timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(2),
        prefix: "portcullis".to_owned(),
    })
}

fn key_file(folder: &Path, name: &str, bytes: &[u8]) -> WrapSource {
    let path = folder.join(name);
    let lines = bytes.iter().map(|byte| format!("{byte:02x}").repeat(32));
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    WrapSource::File(path)
}

/// One gateway of the fleet.
struct Gateway {
    source: RedisKeys,
    store: Arc<Store>,
    ring: KeyRing,
}

impl Gateway {
    async fn begin(store: &Arc<Store>, wrap: &WrapSource, now: i64) -> Self {
        Self::begin_with(setup(), store, wrap, now).await
    }

    async fn begin_with(setup: Setup, store: &Arc<Store>, wrap: &WrapSource, now: i64) -> Self {
        let mut source = RedisKeys::new(setup, Arc::clone(store), wrap.clone());
        let look = source.begin(now).await.unwrap();
        Self {
            source,
            store: Arc::clone(store),
            ring: look.ring.unwrap(),
        }
    }

    async fn look(&mut self, now: i64) -> Option<String> {
        let Look { ring, status, .. } = self.source.look(now).await;
        self.ring = ring.unwrap();
        status.error
    }

    fn seal(&self) -> Vec<u8> {
        let seals = self.ring.seals().expect("a key that seals");
        seals.seal(&[0; 32], &[7]).unwrap()
    }

    fn opens(&self, ticket: &[u8]) -> bool {
        self.ring.open(&[0; 32], ticket).is_ok()
    }

    async fn up(&self) {
        until("a connection", async || {
            self.store.health().up.then_some(())
        })
        .await;
    }

    async fn down(&self) {
        until("no connection", async || {
            (!self.store.health().up).then_some(())
        })
        .await;
    }
}

/// Each opens what the other seals.
fn agree(a: &Gateway, b: &Gateway, now: i64) {
    assert!(b.opens(&a.seal()), "of a on b at {now}");
    assert!(a.opens(&b.seal()), "of b on a at {now}");
}

/// Through rotations, by clocks that differ, with a restart of each.
async fn agree_through_rotations(stores: [Arc<Store>; 2], wrap: &WrapSource) {
    let mut a = Gateway::begin(&stores[0], wrap, T).await;
    let mut b = Gateway::begin(&stores[1], wrap, T - 9).await;
    agree(&a, &b, T);
    let mut tickets = Vec::new();
    for now in (T..T + 450).step_by(24) {
        a.look(now).await;
        b.look(now - 9).await;
        agree(&a, &b, now);
        tickets.push((now, a.seal(), b.seal()));
        // Each is started anew once in a while.
        match (now - T) % 5 {
            0 => a = Gateway::begin(&stores[0], wrap, now).await,
            1 => b = Gateway::begin(&stores[1], wrap, now - 9).await,
            _ => {}
        }
        for (sealed, of_a, of_b) in &tickets {
            if now - sealed < setup().lifetime {
                assert!(a.opens(of_b) && b.opens(of_a), "of {sealed} at {now}");
            }
        }
    }
    assert!(!a.opens(&tickets[0].1), "a key ends with its tickets");
    let keys: std::collections::HashSet<&[u8]> = tickets.iter().map(|t| &t.1[..9]).collect();
    assert_eq!(keys.len(), 5, "four rotations");
}

#[tokio::test]
async fn two_gateways_agree_through_rotations_and_restarts() {
    if is_missing("two_gateways_agree_through_rotations_and_restarts") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let wrap = key_file(folder.path(), "wrap", &[1]);
    let redis = Redis::start(folder.path(), &[]).await;
    let stores = [(); 2].map(|()| store(&[redis.url()], Mode::Single));
    agree_through_rotations(stores, &wrap).await;
    let lies = redis.cli(&["get", "portcullis:edge:tickets"]);
    assert!(lies.contains("\"format\":1"), "{lies}");
}

#[tokio::test]
async fn two_gateways_agree_on_a_cluster_and_when_a_node_comes_back_empty() {
    if is_missing("two_gateways_agree_on_a_cluster") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let wrap = key_file(folder.path(), "wrap", &[1]);
    let mut cluster = Cluster::start(folder.path()).await;
    let urls = cluster.urls();
    let stores = [(); 2].map(|()| store(&urls, Mode::Cluster));
    agree_through_rotations(stores.clone(), &wrap).await;

    let mut a = Gateway::begin(&stores[0], &wrap, T).await;
    let mut b = Gateway::begin(&stores[1], &wrap, T).await;
    let ticket = a.seal();
    let holder = { &mut cluster.nodes }.iter_mut();
    let mut holder = holder.filter(|node| node.cli(&["dbsize"]).trim() == "1");
    let holder = holder.next().expect("the record is somewhere");
    holder.start_again().await;
    for gateway in [&mut a, &mut b] {
        until("the record is back", async || {
            match gateway.look(T + 1).await {
                None => Some(()),
                Some(_) => None,
            }
        })
        .await;
    }
    agree(&a, &b, T + 1);
    assert!(a.opens(&ticket) && b.opens(&ticket));
}

#[tokio::test]
async fn two_gateways_agree_after_a_failover() {
    if is_missing("two_gateways_agree_after_a_failover") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let wrap = key_file(folder.path(), "wrap", &[1]);
    let mut watched = Watched::start(folder.path(), None).await;
    let mode = || Mode::Sentinel {
        master: Watched::NAME.to_owned(),
    };
    let urls = [watched.sentinel.url()];
    let stores = [(); 2].map(|()| store(&urls, mode()));
    let mut a = Gateway::begin(&stores[0], &wrap, T).await;
    let mut b = Gateway::begin(&stores[1], &wrap, T).await;
    agree(&a, &b, T);
    let ticket = a.seal();
    watched.master.kill();
    // Meanwhile what is there seals on.
    a.down().await;
    assert!(a.look(T + 50).await.is_some());
    agree(&a, &b, T + 50);
    for gateway in [&mut a, &mut b] {
        until("the new master", async || {
            match gateway.look(T + 150).await {
                None => Some(()),
                Some(_) => None,
            }
        })
        .await;
    }
    agree(&a, &b, T + 150);
    assert!(b.opens(&ticket));
}

#[tokio::test]
async fn without_redis_a_gateway_starts_with_a_key_of_its_own_and_keeps_its_tickets() {
    if is_missing("without_redis_a_gateway_starts") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let wrap = key_file(folder.path(), "wrap", &[1]);
    let mut redis = Redis::start(folder.path(), &[]).await;
    redis.kill();
    let stores = [(); 2].map(|()| store(&[redis.url()], Mode::Single));
    let mut a = Gateway::begin(&stores[0], &wrap, T).await;
    let mut b = Gateway::begin(&stores[1], &wrap, T).await;
    let error = a.look(T).await.unwrap();
    assert!(error.contains("alone seals"), "{error}");
    let (of_a, of_b) = (a.seal(), b.seal());
    assert!(a.opens(&of_a) && !a.opens(&of_b));

    redis.start_again().await;
    for gateway in [&mut a, &mut b] {
        gateway.up().await;
        assert_eq!(gateway.look(T + 1).await, None);
    }
    agree(&a, &b, T + 1);
    assert!(
        a.opens(&of_a) && b.opens(&of_b),
        "tickets of before still open"
    );
    assert_ne!(a.seal()[..9], of_a[..9]);
}

#[tokio::test]
async fn an_outage_is_outlasted_for_as_long_as_it_may_be_and_an_empty_redis_gets_the_keys_back() {
    if is_missing("an_outage_is_outlasted") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let wrap = key_file(folder.path(), "wrap", &[1]);
    let mut redis = Redis::start(folder.path(), &[]).await;
    let stores = [(); 2].map(|()| store(&[redis.url()], Mode::Single));
    let mut a = Gateway::begin(&stores[0], &wrap, T).await;
    let mut b = Gateway::begin(&stores[1], &wrap, T).await;
    redis.kill();
    a.down().await;
    b.down().await;
    assert!(a.source.rotate(Rotation::Keep, T + 1).await.is_err());
    for now in [T + 1, T + 150, T + 999, T + 1000] {
        assert!(a.look(now).await.is_some());
        assert!(b.look(now).await.is_some());
        agree(&a, &b, now);
    }
    let ticket = a.seal();
    a.look(T + 1001).await;
    assert!(a.ring.seals().is_none() && a.opens(&ticket));

    redis.start_again().await;
    a.up().await;
    b.up().await;
    assert_eq!(a.look(T + 1002).await, None);
    assert_eq!(b.look(T + 1002).await, None);
    agree(&a, &b, T + 1002);
    assert!(b.opens(&ticket));
    // One that starts now gets it from the record.
    let c = Gateway::begin(&stores[0], &wrap, T + 1002).await;
    assert!(c.opens(&ticket));
}

#[tokio::test]
async fn a_rotation_loses_no_ticket_and_a_revocation_ends_all_of_them_everywhere() {
    if is_missing("a_rotation_loses_no_ticket") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let wrap = key_file(folder.path(), "wrap", &[1]);
    let mut redis = Redis::start(folder.path(), &[]).await;
    let stores = [(); 2].map(|()| store(&[redis.url()], Mode::Single));
    let mut a = Gateway::begin(&stores[0], &wrap, T).await;
    let mut b = Gateway::begin(&stores[1], &wrap, T).await;
    let first = a.seal();
    let said = a.source.rotate(Rotation::Keep, T + 1).await.unwrap();
    assert!(said.contains("10 s"), "{said}");
    // Until every gateway has looked the old one seals.
    a.look(T + 1).await;
    agree(&a, &b, T + 1);
    for now in [T + 6, T + 11] {
        a.look(now).await;
        b.look(now).await;
        agree(&a, &b, now);
    }
    let second = a.seal();
    assert_ne!(first[..9], second[..9]);
    assert!(b.opens(&first) && b.opens(&second));

    b.source.rotate(Rotation::Revoke, T + 20).await.unwrap();
    for gateway in [&mut b, &mut a] {
        assert_eq!(gateway.look(T + 20).await, None);
        assert!(!gateway.opens(&first) && !gateway.opens(&second));
    }
    agree(&a, &b, T + 20);

    // A store that lost the revocation is told again.
    let record = redis.cli(&["get", "portcullis:edge:tickets"]);
    redis.start_again().await;
    a.down().await;
    a.up().await;
    assert_eq!(a.look(T + 21).await, None);
    let again = redis.cli(&["get", "portcullis:edge:tickets"]);
    let floor = |text: &str| {
        text.split("\"floor\":")
            .nth(1)
            .map(|rest| rest[..1].to_owned())
    };
    assert_eq!(floor(&record), floor(&again));
    assert_eq!(floor(&record).as_deref(), Some("4"));
}

#[tokio::test]
async fn a_record_that_does_not_unwrap_is_left_alone() {
    if is_missing("a_record_that_does_not_unwrap") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let right = key_file(folder.path(), "right", &[1]);
    let wrong = key_file(folder.path(), "wrong", &[2]);
    let redis = Redis::start(folder.path(), &[]).await;
    let one = store(&[redis.url()], Mode::Single);
    let mut a = Gateway::begin(&one, &right, T).await;
    let record = || redis.cli(&["get", "portcullis:edge:tickets"]);
    let before = record();
    let mut b = Gateway::begin(&one, &wrong, T).await;
    let error = b.look(T + 300).await.unwrap();
    assert!(error.contains("do not unwrap"), "{error}");
    assert!(b.source.rotate(Rotation::Revoke, T + 300).await.is_err());
    assert_eq!(record(), before);
    assert!(!a.opens(&b.seal()) && b.ring.seals().is_some());

    // A new wrapping key comes first, the old one stays behind it until nothing needs it.
    key_file(folder.path(), "wrong", &[2, 1]);
    assert_eq!(b.look(T + 300).await, None);
    agree_after(&mut a, &b).await;
}

/// `a` knows the older wrapping key alone, and goes on with what it read.
async fn agree_after(a: &mut Gateway, b: &Gateway) {
    let error = a.look(T + 300).await.unwrap();
    assert!(error.contains("do not unwrap"), "{error}");
    assert!(
        b.opens(&a.seal()),
        "what it seals opens where both are known"
    );
}

#[tokio::test]
async fn another_fleet_generation_or_a_missing_wrapping_key_shares_nothing() {
    if is_missing("another_fleet_generation") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let wrap = key_file(folder.path(), "wrap", &[1]);
    let redis = Redis::start(folder.path(), &[]).await;
    let one = store(&[redis.url()], Mode::Single);
    let a = Gateway::begin(&one, &wrap, T).await;
    let other = |fleet: &str, generation| Setup {
        fleet: fleet.to_owned(),
        generation,
        ..setup()
    };
    for (other, same) in [
        (other("edge", 0), true),
        (other("b", 0), false),
        (other("edge", 1), false),
    ] {
        let b = Gateway::begin_with(other, &one, &wrap, T).await;
        assert_eq!(b.opens(&a.seal()), same);
    }
    let nowhere = WrapSource::File(folder.path().join("none"));
    let mut source = RedisKeys::new(setup(), one, nowhere);
    assert!(source.begin(T).await.unwrap_err().0.contains("none"));
}
