//! Which site a client gets: by server name, and never another one's by Host or `:authority`.

use http::{Method, Request};
use portcullis_bench::echo::Echo;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::{AlertDescription, SupportedCipherSuite};

use crate::harness::{
    Client, Gateway, GatewayBuilder, KeyKind, RawTls, Site, Token, client_ca, client_leaf,
    status_of,
};

fn gateway(echo: &Echo, listener: &str) -> GatewayBuilder {
    Gateway::builder()
        .listener("main", listener)
        .site(Site::new("api.test").host("www.api.test"))
        .site(Site::new("*.shop.test"))
        .upstream(echo)
        .allow("anyone")
}

/// Connects with `server_name`, sees the certificate of `site`, and is served as `host`.
async fn assert_served(gateway: &Gateway, server_name: Option<&str>, site: &str, host: &str) {
    for client in [Client::of(host), Client::of(host).h2()] {
        let client = client.server_name(server_name, site);
        let answer = client.get(gateway, "/").await;
        let answer = answer.unwrap_or_else(|refused| panic!("{server_name:?}: {refused:?}"));
        assert_eq!(answer.status, 200, "{server_name:?} as {host}");
    }
}

async fn assert_unknown(gateway: &Gateway, server_name: Option<&str>) {
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let client = client.server_name(server_name, "api.test");
        let refused = client.get(gateway, "/").await.unwrap_err();
        // RFC 6066 section 3.
        let alert = AlertDescription::UnrecognisedName;
        assert_eq!(
            refused.alert,
            Some(alert),
            "{server_name:?}: {}",
            refused.error
        );
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], "UNKNOWN_SERVER_NAME");
    }
}

#[tokio::test]
async fn a_name_no_site_has_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "").spawn().await;
    for name in [
        "other.test",
        "test",
        "a.api.test",
        "shop.test",
        "a.b.shop.test",
        "xapi.test",
    ] {
        assert_unknown(&gateway, Some(name)).await;
    }
    assert_unknown(&gateway, None).await;
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn exact_names_and_wildcards_find_their_site_in_any_spelling() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "").spawn().await;
    assert_served(&gateway, Some("api.test"), "api.test", "api.test").await;
    assert_served(&gateway, Some("www.api.test"), "api.test", "www.api.test").await;
    assert_served(&gateway, Some("a.shop.test"), "b.shop.test", "a.shop.test").await;
    // Two hosts of one site are one site.
    assert_served(&gateway, Some("api.test"), "api.test", "www.api.test").await;
    for spelling in ["API.Test", "api.test.", "API.TEST.", "api.test:8443"] {
        assert_served(&gateway, Some("api.test"), "api.test", spelling).await;
    }
    let client = Client::of("api.test").server_name(Some("API.Test"), "api.test");
    assert_eq!(client.get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_trailing_dot_in_the_server_name_makes_no_other_site() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "default_site = '*.shop.test'").spawn().await;
    // RFC 6066 section 3 has no such name; our client would take the dot off, openssl sends it.
    let arguments = ["-servername", "api.test.", "-verify_hostname", "api.test"];
    let said = gateway.s_client(&arguments, "").await;
    assert!(
        said.stdout.contains("Verified peername: api.test"),
        "{said:?}"
    );
    assert!(
        said.stdout.contains("Verify return code: 0 (ok)"),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_default_site_takes_clients_without_a_name_and_with_an_unknown_one() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "default_site = 'api.test'").spawn().await;
    assert_served(&gateway, None, "api.test", "api.test").await;
    assert_served(&gateway, Some("other.test"), "api.test", "api.test").await;
    assert_served(&gateway, Some("a.shop.test"), "b.shop.test", "a.shop.test").await;
    // The name is unknown still: the default site does not serve it.
    let client = Client::of("other.test").server_name(Some("other.test"), "api.test");
    assert_eq!(client.get(&gateway, "/").await.unwrap().status, 421);
}

#[tokio::test]
async fn with_strict_sni_the_default_site_is_only_for_clients_without_a_name() {
    let echo = Echo::start().await.unwrap();
    let listener = "default_site = 'api.test'\nstrict_sni = true";
    let gateway = gateway(&echo, listener).spawn().await;
    assert_served(&gateway, None, "api.test", "api.test").await;
    assert_unknown(&gateway, Some("other.test")).await;
}

#[tokio::test]
async fn a_site_for_every_host_takes_what_no_other_has() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "").site(Site::new("*")).spawn().await;
    assert_served(&gateway, Some("other.test"), "localhost", "other.test").await;
    assert_served(&gateway, None, "localhost", "anything.test").await;
    assert_served(&gateway, Some("api.test"), "api.test", "api.test").await;
    let client = Client::of("api.test").server_name(Some("other.test"), "localhost");
    assert_eq!(client.get(&gateway, "/").await.unwrap().status, 421);
}

#[tokio::test]
async fn sites_live_only_on_their_listeners() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .listener("public", "")
        .listener("private", "")
        .site(Site::new("public.test").line("listeners = ['public']"))
        .site(Site::new("private.test").line("listeners = ['private']"))
        .site(Site::new("both.test"))
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    for (listener, host, expected) in [
        ("public", "public.test", true),
        ("public", "private.test", false),
        ("private", "private.test", true),
        ("private", "public.test", false),
        ("public", "both.test", true),
        ("private", "both.test", true),
    ] {
        let connected = Client::of(host).connect(gateway.addr(listener)).await;
        assert_eq!(connected.is_ok(), expected, "{host} on {listener}");
    }
    // Nor by naming it on a connection to another site of the same listener.
    let client = Client::of("private.test").server_name(Some("public.test"), "public.test");
    assert_eq!(client.get(&gateway, "/").await.unwrap().status, 421);
}

#[tokio::test]
async fn a_host_of_another_site_is_misdirected() {
    let echo = Echo::start().await.unwrap();
    // The other site asks for a certificate, which this way would never be shown.
    let gateway = gateway(&echo, "")
        .site(Site::new("secret.test").client_cert("require", Some(client_ca())))
        .spawn()
        .await;
    for client in [Client::of("api.test"), Client::of("api.test").h2()] {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        for host in [
            "secret.test",
            "a.shop.test",
            "other.test",
            "SECRET.test.:443",
        ] {
            let request = Request::builder().uri(format!("https://{host}/"));
            let request = request.body(Default::default()).unwrap();
            let Ok(answer) = connection.send(request).await else {
                panic!("{host}");
            };
            assert_eq!(answer.status, 421, "{host}");
            assert!(answer.body.is_empty());
        }
        // It was this request alone (RFC 9110 section 15.5.20); the connection is good for its own site.
        let answer = connection.request(Method::GET, "/").await.unwrap();
        assert_eq!(answer.status, 200);
    }
    gateway.wait_for_refusal("MISDIRECTED").await;
    assert_eq!(echo.record().request_count(), 2);
    let known = Client::of("secret.test").certificate(&client_leaf("orders"));
    assert_eq!(known.get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn an_absolute_target_of_another_site_is_misdirected_too() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "").spawn().await;
    for (target, host, expected) in [
        ("https://a.shop.test/", "a.shop.test", 421),
        ("https://a.shop.test/", "api.test", 400),
        ("https://api.test/", "a.shop.test", 400),
        ("https://api.test/", "api.test", 200),
    ] {
        let client = Client::of("api.test");
        let mut raw = RawTls::connect(&client, gateway.address()).await.unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw.exchange(head).await.unwrap();
        assert_eq!(status_of(&answer), Some(expected), "{target} with {host}");
    }
    assert_eq!(echo.record().request_count(), 1);
}

#[tokio::test]
async fn each_client_gets_the_certificate_it_can_use() {
    let echo = Echo::start().await.unwrap();
    let site = Site::new("localhost").keys(&[KeyKind::P256, KeyKind::Rsa2048]);
    let ecdsa = cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let rsa = cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    for builder in [
        Gateway::builder(),
        Gateway::builder().token(Token::shared()),
    ] {
        let gateway = builder.site(site.clone()).upstream(&echo).allow("anyone");
        let gateway = gateway.spawn().await;
        let suite_of = async |suites: &[SupportedCipherSuite]| {
            let client = Client::new().tls12().suites(suites);
            let mut connection = client.connect(gateway.address()).await.unwrap();
            assert_eq!(connection.get("/").await.unwrap().status, 200);
            connection.tls.suite
        };
        assert_eq!(suite_of(&[ecdsa]).await, ecdsa);
        assert_eq!(suite_of(&[rsa]).await, rsa);
        // Both will do: the first certificate of the site is preferred, whatever the client prefers.
        assert_eq!(suite_of(&[rsa, ecdsa]).await, ecdsa);
        // TLS 1.3 suites say nothing of the key; the signature algorithms do.
        for (algorithms, kind) in [
            ("RSA-PSS+SHA256", "RSA-PSS"),
            ("ECDSA+SHA256", "ECDSA"),
            ("RSA-PSS+SHA256:ECDSA+SHA256", "ECDSA"),
        ] {
            let arguments = [
                "-servername",
                "localhost",
                "-tls1_3",
                "-sigalgs",
                algorithms,
            ];
            let said = gateway.s_client(&arguments, "").await;
            let expected = format!("Peer signature type: {kind}");
            assert!(said.stdout.contains(&expected), "{algorithms}: {said:?}");
        }
    }
}
