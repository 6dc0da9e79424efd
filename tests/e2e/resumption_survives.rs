//! What a session outlives, and when it ends all the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{List, public_key_of, write_file};
use rustls::HandshakeKind;
use tokio::time::interval;

use crate::harness::{Client, Gateway, GatewayBuilder, client_ca, client_leaf, server_ca, until};

/// A gateway whose ticket keys outlive it, and which believes a list of revoked clients.
fn lasting(echo: &Echo, folder: &Path) -> GatewayBuilder {
    let (crl, keys) = (folder.join("a.crl"), folder.join("tickets.keys"));
    let crl = format!("[trust.clients.crl]\nfiles = [{crl:?}]\ncheck = '100ms'");
    Gateway::builder()
        .trust("clients", client_ca(), &crl)
        .demand("accept", "clients")
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!(
            "[tickets]\nkeys = {{ file = {keys:?} }}\n[resumption]\nmode = 'tickets'\n"
        ))
}

fn sign(folder: &Path, list: &List) {
    let draft = folder.join("draft");
    fs::write(&draft, list.signed_by(client_ca()).unwrap()).unwrap();
    fs::rename(draft, folder.join("a.crl")).unwrap();
}

fn keys(folder: &Path, byte: &str) {
    let path = folder.join("tickets.keys");
    fs::write(&path, byte.repeat(32)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// With and without a certificate, in both versions.
fn clients() -> [Client; 4] {
    let leaf = client_leaf("somebody");
    let with = || Client::new().certificate(&leaf);
    [
        with().tls12(),
        with().tls13(),
        Client::new().tls12(),
        Client::new().tls13(),
    ]
}

async fn kind(client: &Client, gateway: &Gateway) -> HandshakeKind {
    let mut connection = client.connect(gateway.address()).await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    connection.tls.kind
}

async fn assert_all(clients: &[Client], gateway: &Gateway, wanted: HandshakeKind, when: &str) {
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(
            kind(client, gateway).await,
            wanted,
            "client {number} {when}"
        );
    }
}

#[tokio::test]
async fn sessions_outlive_lists_reloads_renewals_and_restarts() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    sign(folder, &List::new(1));
    keys(folder, "5a");
    let gateway = lasting(&echo, folder).spawn().await;
    let clients = clients();
    assert_all(&clients, &gateway, HandshakeKind::Full, "at first").await;
    assert_all(&clients, &gateway, HandshakeKind::Resumed, "at once").await;

    sign(folder, &List::new(2).revoke(99u64));
    until("the new list is in force", async || {
        let (_, metrics) = gateway.probe("/metrics").await;
        let mut lines = metrics.lines();
        let new = |line: &str| line.starts_with("portcullis_crl_entries{") && line.ends_with(" 1");
        lines.any(new).then_some(())
    })
    .await;
    assert_all(&clients, &gateway, HandshakeKind::Resumed, "after a list").await;

    gateway.rewrite_config(|toml| toml + "[limits]\nsessions = 1000\n");
    gateway.reload().await.unwrap();
    assert_all(&clients, &gateway, HandshakeKind::Resumed, "after a reload").await;

    let file = gateway.folder().join("site0-p256.pem");
    let before = fs::read_to_string(&file).unwrap();
    let public_key = public_key_of(&before).unwrap();
    let renewed = server_ca()
        .server_chain(&["localhost"], &public_key)
        .unwrap();
    assert_ne!(before, renewed);
    write_file(&file, &renewed).unwrap();
    gateway.reload().await.unwrap();
    assert_all(
        &clients,
        &gateway,
        HandshakeKind::Resumed,
        "after a renewal",
    )
    .await;

    drop(gateway);
    let again = lasting(&echo, folder).spawn().await;
    assert_all(&clients, &again, HandshakeKind::Resumed, "after a restart").await;

    drop(again);
    keys(folder, "5b");
    let strange = lasting(&echo, folder).spawn().await;
    assert_all(&clients, &strange, HandshakeKind::Full, "under other keys").await;
}

/// Clients that offer what they have, however old, and how they are called.
fn patient() -> [(&'static str, Client); 2] {
    [
        ("1.2", Client::new().never_forgets().tls12()),
        ("1.3", Client::new().never_forgets().tls13()),
    ]
}

async fn timed(echo: &Echo, mode: &str, times: &str) -> Gateway {
    Gateway::builder()
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!(
            "[resumption]\nmode = '{mode}'\ntickets = 8\n{times}\n"
        ))
        .spawn()
        .await
}

/// What the access log says about the last request to `path`: why a session was declined.
async fn declined(gateway: &Gateway, path: &str) -> Option<String> {
    let line = gateway
        .wait_for_access(|line| line["url.path"] == path)
        .await;
    let declined = line["tls.resumption_declined"].as_str().map(str::to_owned);
    assert_eq!(line["tls.resumed"] == true, declined.is_none(), "{line}");
    declined
}

/// Comes again and again until a session is declined: after how long, and why.
async fn until_declined(gateway: &Gateway, client: &Client, way: &str) -> (Duration, String) {
    let begun = Instant::now();
    let mut round = 0;
    // So that a client has sessions left when it gets no more.
    let mut pace = interval(Duration::from_millis(200));
    let (took, why) = until("a session is declined", async || {
        pace.tick().await;
        round += 1;
        let path = format!("/{way}/{round}");
        assert_eq!(client.get(gateway, &path).await.unwrap().status, 200);
        let why = declined(gateway, &path).await?;
        Some((begun.elapsed(), why))
    })
    .await;
    assert!(round > 3, "it was resumed before: {round} rounds");
    (took, why)
}

#[tokio::test]
async fn a_lineage_of_resumptions_ends() {
    let echo = Echo::start().await.unwrap();
    for mode in ["tickets", "stateful"] {
        let gateway = timed(&echo, mode, "lifetime = '3s'\nmax_lineage = '3s'").await;
        for (way, client) in patient() {
            assert_eq!(kind(&client, &gateway).await, HandshakeKind::Full);
            let (took, why) = until_declined(&gateway, &client, way).await;
            assert!((3..=6).contains(&took.as_secs()), "{mode} {way}: {took:?}");
            let wanted = match (mode, way) {
                // A session that is kept for an id stays the same one, and ends with its own age.
                ("stateful", "1.2") => "expired",
                _ => "lineage",
            };
            assert_eq!(why, wanted, "{mode} {way}");
            // The full handshake began another, once older sessions are used up.
            until("it resumes again", async || {
                (kind(&client, &gateway).await == HandshakeKind::Resumed).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_session_that_is_not_renewed_ends_with_its_lifetime() {
    let echo = Echo::start().await.unwrap();
    let gateway = timed(&echo, "tickets", "lifetime = '2s'").await;
    for (way, client) in patient() {
        assert_eq!(kind(&client, &gateway).await, HandshakeKind::Full);
        client.sessions().close();
        assert_eq!(
            kind(&client, &gateway).await,
            HandshakeKind::Resumed,
            "{way}"
        );
        let begun = Instant::now();
        until("it has ended", async || {
            (begun.elapsed() > Duration::from_secs(4)).then_some(())
        })
        .await;
        let path = format!("/late/{way}");
        assert_eq!(client.get(&gateway, &path).await.unwrap().status, 200);
        let why = declined(&gateway, &path).await;
        assert_eq!(why.as_deref(), Some("expired"), "{way}");
    }
}

#[tokio::test]
async fn another_fleet_or_generation_takes_no_session_though_it_has_the_keys() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    keys(folder.path(), "5a");
    let keys = folder.path().join("tickets.keys");
    let fleet = async |fleet: &str| {
        let builder = Gateway::builder().upstream(&echo).allow("anyone");
        let tickets = format!("[tickets]\nkeys = {{ file = {keys:?} }}\n{fleet}\n");
        let mode = "[resumption]\nmode = 'tickets'\ntickets = 8\n";
        builder.extra_toml(&(tickets + mode)).spawn().await
    };
    let home = fleet("fleet = 'home'\ngeneration = 1").await;
    let twin = fleet("fleet = 'home'\ngeneration = 1").await;
    let strangers = [
        fleet("fleet = 'away'\ngeneration = 1").await,
        fleet("fleet = 'home'\ngeneration = 2").await,
        fleet("fleet = 'home'\ngeneration = 0").await,
    ];
    for (way, client) in patient() {
        assert_eq!(kind(&client, &home).await, HandshakeKind::Full);
        client.sessions().close();
        for stranger in &strangers {
            let before = client.sessions().offered();
            assert_eq!(kind(&client, stranger).await, HandshakeKind::Full, "{way}");
            assert_eq!(client.sessions().offered(), before + 1);
        }
        assert_eq!(kind(&client, &twin).await, HandshakeKind::Resumed, "{way}");
    }
}
