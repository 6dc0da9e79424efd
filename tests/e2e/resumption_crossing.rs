//! Sessions offered where they do not belong: they open nothing, and break nothing.

mod doors;

use http::Request;
use portcullis_bench::echo::Echo;
use rustls::HandshakeKind;

use crate::harness::{Client, Gateway, client_ca, client_leaf};
use doors::{MODES, MTLS, OPEN, assert_kept_out, assert_served, gateway, ways};

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
