//! Sessions offered where they do not belong: they open nothing, and break nothing.

use std::fs;
use std::net::SocketAddr;

use http::Request;
use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{Ca, public_key_of, write_file};
use rustls::HandshakeKind;

use crate::harness::{Client, Gateway, Refused, Response, Site, client_ca, client_leaf, server_ca};

/// The name every certificate here is for, so that a client may go anywhere.
const ANY: &str = "any.test";

/// Modes that keep sessions in different places.
const MODES: [&str; 2] = ["tickets", "stateful"];

/// Two open sites, and two that demand certificates, of different CAs; two listeners.
async fn gateway(echo: &Echo, mode: &str, default_site: &str) -> Gateway {
    let partners = Ca::root("Portcullis test partners").unwrap();
    let listener = format!("default_site = '{default_site}'");
    let gateway = Gateway::builder()
        .listener("main", &listener)
        .listener("other", &listener)
        .site(Site::new("open.test").client_cert("ignore", None))
        .site(Site::new("*.wild.test").client_cert("ignore", None))
        .site(Site::new("mtls.test").client_cert("require", Some(client_ca())))
        .site(Site::new("*.mtls.test").client_cert("require", Some(&partners)))
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!("[resumption]\nmode = '{mode}'\ntickets = 8\n"))
        .spawn()
        .await;
    let hosts = [ANY, "open.test", "*.wild.test", "mtls.test", "*.mtls.test"];
    for site in 0..4 {
        let file = gateway.folder().join(format!("site{site}-p256.pem"));
        let public_key = public_key_of(&fs::read_to_string(&file).unwrap()).unwrap();
        let chain = server_ca().server_chain(&hosts, &public_key).unwrap();
        write_file(&file, &chain).unwrap();
    }
    gateway.reload().await.unwrap();
    gateway
}

/// A client over each version and protocol, with names for them.
fn ways(describe: impl Fn(Client) -> Client) -> [(&'static str, Client); 4] {
    let client = || describe(Client::new().never_forgets().server_name(None, ANY));
    [
        ("1.2", client().tls12()),
        ("1.3", client().tls13()),
        ("1.2/h2", client().tls12().h2()),
        ("1.3/h2", client().tls13().h2()),
    ]
}

/// Asks `host` under a server name: the handshake as the client sees it, and the answer.
async fn ask(
    client: &Client,
    address: SocketAddr,
    (server_name, host): (Option<&str>, &str),
) -> (Option<HandshakeKind>, Result<Response, Refused>) {
    let client = client.elsewhere(server_name, host);
    let mut connection = match client.connect(address).await {
        Ok(connection) => connection,
        Err(refused) => return (None, Err(refused)),
    };
    (Some(connection.tls.kind), connection.get("/asked").await)
}

/// It is served there, after this kind of handshake.
async fn assert_served(
    client: &Client,
    address: SocketAddr,
    (server_name, host): (Option<&str>, &str),
    wanted: HandshakeKind,
) -> Response {
    let (kind, answer) = ask(client, address, (server_name, host)).await;
    let answer = answer.unwrap_or_else(|refused| panic!("{server_name:?}: {refused:?}"));
    assert_eq!(answer.status, 200, "{server_name:?}");
    assert_eq!(kind, Some(wanted), "{server_name:?}");
    answer
}

/// It offers a session there, and is refused for this reason all the same.
async fn assert_kept_out(
    gateway: &Gateway,
    client: &Client,
    (listener, server_name, host): (&str, Option<&str>, &str),
    reason: &str,
) {
    let before = client.sessions().offered();
    let (kind, answer) = ask(client, gateway.addr(listener), (server_name, host)).await;
    assert_eq!(client.sessions().offered(), before + 1, "{server_name:?}");
    assert_ne!(kind, Some(HandshakeKind::Resumed), "{server_name:?}");
    let refused = answer.expect_err(host);
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], reason, "{server_name:?}: {line}");
    // Not broken off: told by its alert.
    assert!(refused.alert.is_some(), "{server_name:?}: {refused:?}");
}

const OPEN: (Option<&str>, &str) = (Some("open.test"), "open.test");
const MTLS: (Option<&str>, &str) = (Some("mtls.test"), "mtls.test");

#[tokio::test]
async fn a_session_of_an_open_site_opens_no_site_that_demands_certificates() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode, "open.test").await;
        let address = gateway.address();
        for (way, client) in ways(|client| client) {
            assert_served(&client, address, OPEN, HandshakeKind::Full).await;
            client.sessions().close();
            let served = echo.record().request_count();
            for (listener, name) in [
                ("main", "mtls.test"),
                ("other", "mtls.test"),
                ("main", "MTLS.Test"),
                ("main", "a.mtls.test"),
                ("other", "open.mtls.test"),
            ] {
                // Whichever host it would have asked for.
                let host = if listener == "main" {
                    name
                } else {
                    "open.test"
                };
                let to = (listener, Some(name), host);
                assert_kept_out(&gateway, &client, to, "CLIENT_CERT_MISSING").await;
            }
            assert_eq!(echo.record().request_count(), served, "{mode} {way}");
            // It was a good session, at both listeners.
            let other = gateway.addr("other");
            assert_served(&client, other, OPEN, HandshakeKind::Resumed).await;
        }
    }
}

#[tokio::test]
async fn a_session_of_a_site_that_demands_certificates_is_nobodys_elsewhere() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode, "open.test").await;
        let address = gateway.address();
        let leaf = client_leaf("somebody");
        for (way, client) in ways(|client| client.certificate(&leaf)) {
            assert_served(&client, address, MTLS, HandshakeKind::Full).await;
            client.sessions().close();
            let open = assert_served(&client, address, OPEN, HandshakeKind::Full).await;
            let xfcc = open.upstream_saw("x-forwarded-client-cert");
            assert!(xfcc.is_empty(), "{mode} {way}: {xfcc:?}");
            let to = ("other", Some("a.mtls.test"), "a.mtls.test");
            assert_kept_out(&gateway, &client, to, "CLIENT_CERT_UNKNOWN_CA").await;
            let back = assert_served(&client, address, MTLS, HandshakeKind::Resumed).await;
            assert!(!back.upstream_saw("x-forwarded-client-cert").is_empty());
        }
    }
}

#[tokio::test]
async fn without_a_server_name_a_session_is_for_no_other_site_either() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let locked = gateway(&echo, mode, "mtls.test").await;
        for (_, client) in ways(|client| client) {
            assert_served(&client, locked.address(), OPEN, HandshakeKind::Full).await;
            for host in ["open.test", "mtls.test"] {
                let to = ("main", None, host);
                assert_kept_out(&locked, &client, to, "CLIENT_CERT_MISSING").await;
            }
        }
        let open = gateway(&echo, mode, "open.test").await;
        for (_, client) in ways(|client| client) {
            let nameless = (None, "open.test");
            let address = open.address();
            assert_served(&client, address, nameless, HandshakeKind::Full).await;
            assert_served(&client, address, nameless, HandshakeKind::Resumed).await;
            let to = ("main", MTLS.0, MTLS.1);
            assert_kept_out(&open, &client, to, "CLIENT_CERT_MISSING").await;
            // Of the same site, but not of this name: nothing is broken.
            client.sessions().close();
            assert_served(&client, address, OPEN, HandshakeKind::Full).await;
        }
    }
}

#[tokio::test]
async fn under_a_wildcard_each_name_has_its_own_sessions() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode, "open.test").await;
        for (_, client) in ways(|client| client) {
            let (a, b) = ("a.wild.test", "b.wild.test");
            let address = gateway.address();
            assert_served(&client, address, (Some(a), a), HandshakeKind::Full).await;
            client.sessions().close();
            assert_served(&client, address, (Some(b), b), HandshakeKind::Full).await;
            let again = (Some("A.Wild.test"), "A.WILD.TEST:8443");
            assert_served(&client, address, again, HandshakeKind::Resumed).await;
        }
    }
}

#[tokio::test]
async fn a_resumed_connection_asks_for_no_other_site() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode, "open.test").await;
        for (way, client) in ways(|client| client) {
            assert_served(&client, gateway.address(), OPEN, HandshakeKind::Full).await;
            let client = client.elsewhere(OPEN.0, OPEN.1);
            let mut connection = client.connect(gateway.address()).await.unwrap();
            assert_eq!(connection.tls.kind, HandshakeKind::Resumed);
            let served = echo.record().request_count();
            for host in [
                "mtls.test",
                "MTLS.Test",
                "mtls.test.",
                "mtls.test:443",
                "MTLS.TEST.:8443",
                "a.mtls.test",
            ] {
                let uri = format!("https://{host}/asked");
                let request = Request::get(uri).body(Default::default()).unwrap();
                let answer = connection.send(request).await.unwrap();
                assert_eq!(answer.status, 421, "{way} {host}");
            }
            assert_eq!(echo.record().request_count(), served, "{mode} {way}");
            for host in ["open.test", "OPEN.Test.", "open.test:443"] {
                let uri = format!("https://{host}/asked");
                let request = Request::get(uri).body(Default::default()).unwrap();
                let answer = connection.send(request).await.unwrap();
                assert_eq!(answer.status, 200, "{way} {host}");
            }
        }
    }
}

#[tokio::test]
async fn a_site_that_begins_to_demand_certificates_takes_no_session_from_before() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = Gateway::builder()
            .client_cert("accept", client_ca())
            .upstream(&echo)
            .allow("anyone")
            .extra_toml(&format!("[resumption]\nmode = '{mode}'\ntickets = 8\n"))
            .spawn()
            .await;
        let here = (Some("localhost"), "localhost");
        let address = gateway.address();
        let leaf = client_leaf("somebody");
        let local = |client: Client| client.server_name(here.0, "localhost");
        let without = ways(local);
        let with = ways(|client| local(client).certificate(&leaf));
        for (_, client) in without.iter().chain(&with) {
            assert_served(client, address, here, HandshakeKind::Full).await;
            assert_served(client, address, here, HandshakeKind::Resumed).await;
        }
        gateway.rewrite_config(|toml| toml.replace("mode = 'accept'", "mode = 'require'"));
        gateway.reload().await.unwrap();
        for (_, client) in &without {
            for _ in 0..3 {
                let to = ("main", here.0, here.1);
                assert_kept_out(&gateway, client, to, "CLIENT_CERT_MISSING").await;
            }
        }
        for (_, client) in &with {
            client.sessions().close();
            assert_served(client, address, here, HandshakeKind::Full).await;
        }
    }
}

/// `openssl s_client` for a path under a server name as it stands there, with a file of its session.
async fn openssl(gateway: &Gateway, name: &str, path: &str, arguments: &[&str]) -> bool {
    let file = gateway.folder().join("session").display().to_string();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let fixed = ["-servername", name, "-ign_eof", arguments[1], &file];
    let arguments = [&arguments[..1], &fixed].concat();
    let said = gateway.s_client(&arguments, &request).await;
    said.stdout.contains("HTTP/1.1 200 OK")
}

#[tokio::test]
async fn no_spelling_of_a_server_name_makes_another_site_of_it() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode, "open.test").await;
        for version in ["-tls1_2", "-tls1_3"] {
            let learn = [version, "-sess_out"];
            for locked in ["mtls.test", "MTLS.TEST", "mtls.test.", "a.mtls.test."] {
                assert!(openssl(&gateway, "open.test", "/first", &learn).await);
                let offer = [version, "-sess_in"];
                assert!(
                    !openssl(&gateway, locked, "/never", &offer).await,
                    "{locked}"
                );
            }
            for open in ["OPEN.TEST", "open.test.", "a.wild.test"] {
                assert!(openssl(&gateway, "open.test", "/first", &learn).await);
                let path = format!("/{version}/{open}");
                assert!(openssl(&gateway, open, &path, &[version, "-sess_in"]).await);
                let line = gateway.wait_for_access(|line| line["url.path"] == path);
                let line = line.await;
                let declined = line["tls.resumption_declined"].is_string();
                // Taken or declined: it was offered.
                assert_ne!(line["tls.resumed"] == true, declined, "{line}");
                let same = open.trim_end_matches('.').eq_ignore_ascii_case("open.test");
                assert!(same || declined, "{line}");
            }
        }
        let seen = echo.record().requests();
        assert!(seen.iter().all(|seen| seen.uri.path() != "/never"));
    }
}
