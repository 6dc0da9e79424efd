//! What a site's TLS policy allows: versions, suites, groups, protocols; refusals first.

use portcullis_bench::echo::Echo;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, kx_group};
use rustls::{AlertDescription as Alert, NamedGroup, ProtocolVersion};

use crate::harness::{Client, Connection, Gateway, KeyKind, Site, Token};

/// A gateway with this line in its only site.
async fn gateway(echo: &Echo, line: &str) -> Gateway {
    let site = Site::new("localhost").line(line);
    let builder = Gateway::builder().site(site).upstream(echo);
    builder.allow("anyone").spawn().await
}

async fn assert_refused(gateway: &Gateway, client: &Client, alert: Alert, reason: &str) {
    let refused = client.get(gateway, "/").await.unwrap_err();
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(refused.alert, Some(alert), "{}\n{line}", refused.error);
    assert_eq!(line["reason"], reason, "{line}");
}

async fn connect(gateway: &Gateway, client: &Client) -> Connection {
    let mut connection = client.connect(gateway.address()).await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    connection
}

#[tokio::test]
async fn a_version_the_site_does_not_speak_is_refused() {
    let echo = Echo::start().await.unwrap();
    let (alert, reason) = (Alert::ProtocolVersion, "TLS_VERSION");
    let old = gateway(&echo, "tls = { versions = ['1.2'] }").await;
    assert_refused(&old, &Client::new().tls13(), alert, reason).await;
    let new = gateway(&echo, "tls = { versions = ['1.3'] }").await;
    assert_refused(&new, &Client::new().tls12(), alert, reason).await;
    assert_eq!(echo.record().connection_count(), 0);
    for (gateway, version) in [
        (old, ProtocolVersion::TLSv1_2),
        (new, ProtocolVersion::TLSv1_3),
    ] {
        assert_eq!(connect(&gateway, &Client::new()).await.tls.version, version);
    }
}

#[tokio::test]
async fn versions_before_1_2_are_refused() {
    let echo = Echo::start().await.unwrap();
    for version in ["-tls1", "-tls1_1"] {
        let gateway = Gateway::open_to_all(&echo).await;
        let arguments = [
            "-servername",
            "localhost",
            "-cipher",
            "DEFAULT@SECLEVEL=0",
            version,
        ];
        let said = gateway.s_client(&arguments, "").await;
        assert!(said.stderr.contains("SSL alert number 70"), "{said:?}");
        gateway.wait_for_refusal("TLS_VERSION").await;
    }
}

#[tokio::test]
async fn without_a_common_suite_or_group_the_handshake_is_refused() {
    let echo = Echo::start().await.unwrap();
    let line = "tls = { groups = ['secp384r1'], suites = ['TLS_AES_256_GCM_SHA384',
        'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384'] }"
        .replace('\n', " ");
    let gateway = gateway(&echo, &line).await;
    let (alert, reason) = (Alert::HandshakeFailure, "TLS_PARAMETERS");
    let small = [
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    // The site's key is ECDSA.
    let rsa = [suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384];
    let x25519 = [kx_group::X25519];
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let other_suite = client.clone().suites(&small);
        assert_refused(&gateway, &other_suite, alert, reason).await;
        let other_group = client.clone().groups(&x25519);
        assert_refused(&gateway, &other_group, alert, reason).await;
        connect(&gateway, &client).await;
    }
    let wrong_key = Client::new().tls12().suites(&rsa);
    assert_refused(&gateway, &wrong_key, alert, reason).await;
}

#[tokio::test]
async fn tls_1_2_without_extended_master_secret_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let conf = gateway.folder().join("openssl.cnf");
    let text = "openssl_conf = all\n[all]\nssl_conf = modules\n[modules]\n\
        system_default = tls\n[tls]\nOptions = -ExtendedMasterSecret\n";
    std::fs::write(&conf, text).unwrap();
    let arguments = ["-servername", "localhost", "-tls1_2"];
    let said = gateway.s_client_with(&arguments, "", Some(&conf)).await;
    // RFC 7627 section 5.3 asks for handshake_failure.
    assert!(said.stderr.contains("SSL alert number 40"), "{said:?}");
    gateway.wait_for_refusal("NO_EXTENDED_MASTER_SECRET").await;
    let said = gateway.s_client(&arguments, "").await;
    assert!(
        said.stdout.contains("Extended master secret: yes"),
        "{said:?}"
    );
}

#[tokio::test]
async fn an_application_protocol_the_site_does_not_speak_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "http2 = false").await;
    let (alert, reason) = (Alert::NoApplicationProtocol, "ALPN_MISMATCH");
    for client in [Client::new().h2(), Client::new().alpn(&["smtp"])] {
        assert_refused(&gateway, &client.clone().tls12(), alert, reason).await;
        assert_refused(&gateway, &client.tls13(), alert, reason).await;
    }
    for protocols in [&["h2", "http/1.1"][..], &[]] {
        connect(&gateway, &Client::new().alpn(protocols)).await;
    }
}

#[tokio::test]
async fn suites_are_chosen_in_the_order_of_the_site_and_groups_in_that_of_the_client() {
    let echo = Echo::start().await.unwrap();
    let line = "tls = { groups = ['secp256r1', 'X25519'], suites = ['TLS_CHACHA20_POLY1305_SHA256', \
        'TLS_AES_256_GCM_SHA384', 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384', \
        'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256'] }";
    let gateway = gateway(&echo, line).await;
    let reverse = [
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS13_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ];
    let groups = [kx_group::SECP384R1, kx_group::X25519, kx_group::SECP256R1];
    let client = Client::new().suites(&reverse).groups(&groups);
    for (client, expected) in [
        (
            client.clone().tls13(),
            suite::TLS13_CHACHA20_POLY1305_SHA256,
        ),
        (
            client.tls12(),
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
    ] {
        let connection = connect(&gateway, &client).await;
        assert_eq!(connection.tls.suite, expected);
        assert_eq!(connection.tls.group, NamedGroup::X25519);
    }
}

#[tokio::test]
async fn post_quantum_key_exchange_is_used_with_clients_that_offer_it() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let offers: [(&[&'static dyn SupportedKxGroup], NamedGroup, &str); 3] = [
        (
            &[kx_group::X25519MLKEM768, kx_group::X25519],
            NamedGroup::X25519MLKEM768,
            "X25519MLKEM768",
        ),
        (&[kx_group::X25519], NamedGroup::X25519, "X25519"),
        (&[kx_group::SECP256R1], NamedGroup::secp256r1, "secp256r1"),
    ];
    for (groups, expected, name) in offers {
        let client = Client::new().tls13().groups(groups);
        let connection = connect(&gateway, &client).await;
        assert_eq!(connection.tls.group, expected);
        let port = connection.tls.port;
        let line = gateway
            .wait_for_access(|line| line["client.port"] == port)
            .await;
        assert_eq!(line["tls.curve"], name);
    }
    assert_eq!(
        connect(&gateway, &Client::new()).await.tls.group,
        NamedGroup::X25519MLKEM768
    );
}

#[tokio::test]
async fn the_access_log_tells_version_and_suite() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    for (client, version, name) in [
        (
            Client::new().suites(&[suite::TLS13_AES_256_GCM_SHA384]),
            "1.3",
            "TLS_AES_256_GCM_SHA384",
        ),
        (
            Client::new().suites(&[suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]),
            "1.2",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
    ] {
        let port = client.get(&gateway, "/").await.unwrap().port;
        let line = gateway
            .wait_for_access(|line| line["client.port"] == port)
            .await;
        assert_eq!(line["tls.protocol.version"], version);
        assert_eq!(line["tls.cipher"], name);
        assert_eq!(line["tls.resumed"], false);
    }
}

#[tokio::test]
async fn every_kind_of_key_in_the_token_serves_tls_1_2_and_1_3() {
    let echo = Echo::start().await.unwrap();
    let mut builder = Gateway::builder().token(Token::shared());
    for kind in KeyKind::ALL {
        let host = format!("{}.test", kind.name());
        builder = builder.site(Site::new(&host).keys(&[kind]));
    }
    let gateway = builder.upstream(&echo).allow("anyone").spawn().await;
    for kind in KeyKind::ALL {
        let client = Client::of(&format!("{}.test", kind.name()));
        connect(&gateway, &client.clone().tls12()).await;
        connect(&gateway, &client.tls13()).await;
    }
}

#[tokio::test]
async fn an_rsa_key_in_the_token_signs_with_both_paddings() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .token(Token::shared())
        .site(Site::new("localhost").keys(&[KeyKind::Rsa2048]))
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    for (version, algorithms, kind) in [
        ("-tls1_2", "RSA+SHA256", "RSA"),
        ("-tls1_2", "RSA+SHA512", "RSA"),
        ("-tls1_2", "RSA-PSS+SHA256", "RSA-PSS"),
        ("-tls1_3", "RSA-PSS+SHA384", "RSA-PSS"),
    ] {
        let arguments = ["-servername", "localhost", version, "-sigalgs", algorithms];
        let said = gateway.s_client(&arguments, "").await;
        let expected = format!("Peer signature type: {kind}\n");
        assert!(said.stdout.contains(&expected), "{algorithms}: {said:?}");
        assert!(
            said.stdout.contains("Verify return code: 0 (ok)"),
            "{said:?}"
        );
    }
    // TLS 1.3 knows no PKCS#1 v1.5 in a handshake (RFC 8446 section 4.2.3).
    let arguments = [
        "-servername",
        "localhost",
        "-tls1_3",
        "-sigalgs",
        "RSA+SHA256",
    ];
    let said = gateway.s_client(&arguments, "").await;
    assert!(
        said.stderr.contains("alert") || said.stderr.contains("error"),
        "{said:?}"
    );
}
