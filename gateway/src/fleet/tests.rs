//! Against real servers: refusals first, then what comes back after an outage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{RedisMode as Mode, SecretSource};
use tempfile::TempDir;
use tokio::time::Instant;

use super::servers::{Cluster, Frozen, Redis, Watched, is_missing, until};
use super::{FleetError, Settings, Store};

const LONG: Duration = Duration::from_secs(60);

fn settings(urls: &[String], mode: Mode) -> Settings {
    Settings {
        name: "main".to_owned(),
        urls: urls.to_vec(),
        mode,
        user: None,
        password: None,
        ca: None,
        certificate: None,
        timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(2),
        prefix: "test".to_owned(),
    }
}

fn open(settings: Settings) -> Arc<Store> {
    let store = Store::new(settings);
    store.connect();
    store
}

async fn up(store: &Store) {
    until("a connection", async || store.health().up.then_some(())).await;
}

/// What the store says when it cannot connect.
async fn error_of(settings: Settings) -> String {
    let store = open(settings);
    until("an error", async || store.health().error).await
}

/// Every command does what it says.
async fn works(store: &Store) {
    assert_eq!(store.get("a").await.unwrap(), None);
    assert!(store.set_if_absent("a", b"1", LONG).await.unwrap());
    assert!(!store.set_if_absent("a", b"2", LONG).await.unwrap());
    assert_eq!(store.get("a").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.take("a").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.take("a").await.unwrap(), None);
    store.set_if_absent("a", b"\xff\x00", LONG).await.unwrap();
    assert_eq!(
        store.get("a").await.unwrap().as_deref(),
        Some(&b"\xff\x00"[..])
    );

    let taken = async || store.take_for_good("c", LONG).await.unwrap();
    assert_eq!(taken().await, None);
    let late = store.set_if_absent("c", b"1", LONG).await.unwrap();
    assert!(!late && taken().await.is_none(), "it came too late");
    assert!(store.set_if_absent("d", b"1", LONG).await.unwrap());
    let taken = async || store.take_for_good("d", LONG).await.unwrap();
    assert_eq!(taken().await.as_deref(), Some(&b"1"[..]));
    assert_eq!(taken().await, None);

    let swap =
        async |old: Option<&[u8]>, new: &[u8]| store.compare_and_set("b", old, new).await.unwrap();
    assert!(!swap(Some(b"x"), b"1").await);
    assert!(swap(None, b"1").await);
    assert!(!swap(None, b"2").await);
    assert!(!swap(Some(b"2"), b"3").await);
    assert!(swap(Some(b"1"), b"").await);
    assert!(!swap(None, b"3").await, "an empty value is a value");
    assert!(swap(Some(b""), b"4").await);
}

/// Writes a CA, a server certificate, and one of a client, each with its key.
fn pems(folder: &Path) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "CA");
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertifiedIssuer::self_signed(params, ca_key).unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("ca.pem", ca.pem());
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        write(
            &format!("{name}.pem"),
            params.signed_by(&key, &ca).unwrap().pem(),
        );
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

#[tokio::test]
async fn addresses_that_mix_or_loosen_tls_are_refused_and_no_error_shows_a_password() {
    for urls in [
        &["rediss://:pw@127.0.0.1:1/#insecure"][..],
        &["redis://:pw@127.0.0.1:1", "rediss://127.0.0.1:1"],
        &["unix:///pw"],
        &["pw"],
        &[],
    ] {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        let error = error_of(settings(&urls, Mode::Single)).await;
        assert!(error.contains("address"), "{error}");
        assert!(!error.contains("pw"), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_is_nowhere_refuses_at_once_and_starts_nothing_late() {
    // Nothing listens at port 1.
    let store = open(settings(&["redis://127.0.0.1:1".to_owned()], Mode::Single));
    let begin = Instant::now();
    for _ in 0..1000 {
        assert!(matches!(store.get("a").await, Err(FleetError::Away)));
    }
    assert!(begin.elapsed() < Duration::from_secs(1));
    let health = store.health();
    assert!(!health.up && health.failures >= 1000, "{health:?}");
    let error = until("an error", async || store.health().error).await;
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_the_right_one_is_taken_when_the_file_changes() {
    if is_missing("a_wrong_password_is_told") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "wr0ng\n").unwrap();
    let redis = Redis::start(folder.path(), &["requirepass s3cret"]).await;
    let store = open(Settings {
        password: Some(SecretSource::File(file.clone())),
        ..settings(&[redis.url()], Mode::Single)
    });
    let error = until("an error", async || store.health().error).await;
    assert!(error.contains("password"), "{error}");
    assert!(!format!("{error} {store:?}").contains("wr0ng"));
    std::fs::write(&file, "s3cret\n").unwrap();
    up(&store).await;
    works(&store).await;
}

#[tokio::test]
async fn every_command_works_on_one_server_and_from_other_threads() {
    if is_missing("every_command_works_on_one_server") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let redis = Redis::start(folder.path(), &[]).await;
    let store = open(settings(&[redis.url()], Mode::Single));
    up(&store).await;
    works(&store).await;
    assert!(
        redis
            .cli(&["keys", "*"])
            .lines()
            .all(|key| key.starts_with("test:"))
    );
    assert!(
        redis
            .cli(&["pttl", "test:a"])
            .trim()
            .parse::<i64>()
            .unwrap()
            > 0
    );

    let elsewhere = Arc::clone(&store);
    let worker = tokio::task::spawn_blocking(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let ask = || elsewhere.set_if_absent("once", b"", LONG);
            (ask().await.unwrap(), ask().await.unwrap())
        })
    });
    assert_eq!(worker.await.unwrap(), (true, false));
}

#[tokio::test]
async fn a_server_that_stands_still_costs_the_timeout_a_few_times_and_nothing_after() {
    if is_missing("a_server_that_stands_still") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let redis = Redis::start(folder.path(), &[]).await;
    let store = open(Settings {
        timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(200),
        ..settings(&[redis.url()], Mode::Single)
    });
    up(&store).await;
    redis.freeze(Frozen::Yes);
    let begin = Instant::now();
    let error = store.get("a").await.unwrap_err();
    assert!(matches!(error, FleetError::Late), "{error}");
    assert!(begin.elapsed() < Duration::from_millis(500));
    until("it counts as away", async || {
        matches!(store.get("a").await, Err(FleetError::Away)).then_some(())
    })
    .await;
    redis.freeze(Frozen::No);
    up(&store).await;
    until("an answer", async || store.get("a").await.ok()).await;
}

#[tokio::test]
async fn more_commands_than_may_be_under_way_are_refused_at_once() {
    if is_missing("more_commands_than_may_be_under_way") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let redis = Redis::start(folder.path(), &[]).await;
    let store = open(settings(&[redis.url()], Mode::Single));
    up(&store).await;
    redis.freeze(Frozen::Yes);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..1200 {
        let store = Arc::clone(&store);
        asking.spawn(async move { store.get("a").await });
    }
    let mut busy = 0;
    while let Some(answer) = asking.join_next().await {
        busy += usize::from(matches!(answer.unwrap(), Err(FleetError::Busy)));
    }
    redis.freeze(Frozen::No);
    assert!((100..=176).contains(&busy), "{busy} of 1200");
}

#[tokio::test]
async fn a_server_that_was_killed_is_used_again_when_it_returns() {
    if is_missing("a_server_that_was_killed") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut redis = Redis::start(folder.path(), &[]).await;
    let store = open(settings(&[redis.url()], Mode::Single));
    up(&store).await;
    store.set_if_absent("a", b"1", LONG).await.unwrap();
    redis.kill();
    // Without a command: it is noticed by itself.
    until("it counts as away", async || {
        (!store.health().up).then_some(())
    })
    .await;
    redis.start_again().await;
    up(&store).await;
    assert_eq!(store.get("a").await.unwrap(), None);
    works(&store).await;
}

#[tokio::test]
async fn tls_wants_the_named_authority_and_shows_our_certificate() {
    if is_missing("tls_wants_the_named_authority") {
        return;
    }
    let folder = TempDir::new().unwrap();
    pems(folder.path());
    let redis = Redis::start_tls(folder.path(), folder.path()).await;
    let file = |name: &str| folder.path().join(name);
    let right = Settings {
        ca: Some(file("ca.pem")),
        certificate: Some((file("client.pem"), file("client.key"))),
        ..settings(&[redis.url()], Mode::Single)
    };

    let public = Settings {
        ca: None,
        ..right.clone()
    };
    let error = error_of(public).await;
    assert!(error.contains("UnknownIssuer"), "{error}");
    let nobody = Settings {
        certificate: None,
        ..right.clone()
    };
    error_of(nobody).await;
    let nothing = Settings {
        ca: Some(file("none.pem")),
        ..right.clone()
    };
    let error = error_of(nothing).await;
    assert!(error.contains("none.pem"), "{error}");

    let store = open(right);
    up(&store).await;
    works(&store).await;
}

#[tokio::test]
async fn a_cluster_answers_for_every_slot_and_after_a_node_returned() {
    if is_missing("a_cluster_answers_for_every_slot") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path()).await;
    // One of them is enough to find the others.
    let store = open(settings(&cluster.urls()[..1], Mode::Cluster));
    up(&store).await;
    works(&store).await;
    for key in 0..30 {
        store
            .set_if_absent(&key.to_string(), b"1", LONG)
            .await
            .unwrap();
    }
    for node in &cluster.nodes {
        assert_ne!(node.cli(&["dbsize"]).trim(), "0");
    }
    cluster.nodes[2].kill();
    until("a slot that fails", async || {
        for key in 0..30 {
            if store.get(&key.to_string()).await.is_err() {
                return Some(());
            }
        }
        None
    })
    .await;
    cluster.nodes[2].start_again().await;
    until("every slot again", async || {
        for key in 0..30 {
            store.get(&key.to_string()).await.ok()?;
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn sentinels_name_the_new_master_after_a_failover() {
    if is_missing("sentinels_name_the_new_master") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut watched = Watched::start(folder.path(), Some("s3cret")).await;
    let file = folder.path().join("password");
    std::fs::write(&file, "s3cret").unwrap();
    let mode = |name: &str| Mode::Sentinel {
        master: name.to_owned(),
    };
    let urls = [watched.sentinel.url()];
    let knowing = |name: &str| Settings {
        password: Some(SecretSource::File(file.clone())),
        ..settings(&urls, mode(name))
    };
    let error = error_of(knowing("other")).await;
    assert!(error.contains("sentinel"), "{error}");
    let error = error_of(settings(&urls, mode(Watched::NAME))).await;
    assert!(error.contains("NOAUTH"), "{error}");

    let store = open(knowing(Watched::NAME));
    up(&store).await;
    works(&store).await;
    store.set_if_absent("kept", b"1", LONG).await.unwrap();
    until("a copy", async || {
        (watched.replica.cli(&["get", "test:kept"]).trim() == "1").then_some(())
    })
    .await;
    watched.master.kill();
    until("a write to the new master", async || {
        store.set_if_absent("new", b"1", LONG).await.ok()
    })
    .await;
    assert_eq!(store.get("kept").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(watched.replica.cli(&["get", "test:new"]).trim(), "1");
}
