//! The checks of a trust bundle beyond RFC 5280, each with its own reason.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Ca, Leaf, Usage};
use rustls::AlertDescription as Alert;

use crate::harness::{Client, Gateway, client_ca, client_leaf};

/// A gateway that requires certificates of a bundle with these keys.
async fn gateway(echo: &Echo, toml: &str) -> Gateway {
    Gateway::builder()
        .trust("clients", client_ca(), toml)
        .demand("require", "clients")
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
}

fn both_versions(leaf: &Leaf) -> [Client; 3] {
    let client = || Client::new().certificate(leaf);
    [client().tls12(), client().tls13(), client().tls13().h2()]
}

async fn assert_served(gateway: &Gateway, leaf: &Leaf) {
    for client in both_versions(leaf) {
        assert_eq!(client.get(gateway, "/").await.unwrap().status, 200);
    }
}

async fn assert_refused(gateway: &Gateway, leaf: &Leaf, alert: Alert, reason: &str) {
    for client in both_versions(leaf) {
        let refused = client.get(gateway, "/").await.unwrap_err();
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], reason, "{line}");
        assert_eq!(refused.alert, Some(alert), "{line}");
    }
}

fn with_usage(usage: Usage) -> Leaf {
    let client = pki::Client::new("orders").usage(usage);
    client.issued_by(client_ca()).unwrap()
}

#[tokio::test]
async fn extended_key_usage_is_required_optional_or_waived() {
    let echo = Echo::start().await.unwrap();
    let [client, unsaid, server] =
        [Usage::Client, Usage::Unsaid, Usage::ServerOnly].map(with_usage);
    let (alert, reason) = (Alert::UnsupportedCertificate, "CLIENT_CERT_WRONG_EKU");
    let strict = gateway(&echo, "eku = 'required'").await;
    assert_served(&strict, &client).await;
    assert_refused(&strict, &unsaid, alert, reason).await;
    assert_refused(&strict, &server, alert, reason).await;
    let default = gateway(&echo, "").await;
    assert_served(&default, &unsaid).await;
    assert_refused(&default, &server, alert, reason).await;
    let waived = gateway(&echo, "eku = 'waived'").await;
    for leaf in [&client, &unsaid, &server] {
        assert_served(&waived, leaf).await;
    }
}

#[tokio::test]
async fn a_chain_may_be_so_deep_and_no_deeper() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "max_depth = 1").await;
    let one = client_ca().intermediate("Portcullis test one").unwrap();
    let two = one.intermediate("Portcullis test two").unwrap();
    let leaf = |ca: &Ca| pki::Client::new("orders").issued_by(ca).unwrap();
    assert_served(&gateway, &client_leaf("orders")).await;
    assert_served(&gateway, &leaf(&one)).await;
    assert_refused(
        &gateway,
        &leaf(&two),
        Alert::BadCertificate,
        "CLIENT_CERT_TOO_DEEP",
    )
    .await;
}

#[tokio::test]
async fn six_intermediates_are_followed_and_seven_have_a_reason_of_their_own() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "").await;
    let mut ca = client_ca().intermediate("Portcullis test 1").unwrap();
    for level in 2..=6 {
        ca = ca
            .intermediate(&format!("Portcullis test {level}"))
            .unwrap();
    }
    let leaf = |ca: &Ca| pki::Client::new("deep").issued_by(ca).unwrap();
    assert_served(&gateway, &leaf(&ca)).await;
    let seven = ca.intermediate("Portcullis test 7").unwrap();
    assert_refused(
        &gateway,
        &leaf(&seven),
        Alert::BadCertificate,
        "CLIENT_CERT_TOO_DEEP",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_that_lives_too_long_is_refused_or_reported() {
    let echo = Echo::start().await.unwrap();
    let leaf = client_leaf("long-lived");
    let refusing = gateway(&echo, "max_lifetime = '3d'").await;
    assert_refused(
        &refusing,
        &leaf,
        Alert::AccessDenied,
        "CLIENT_CERT_LIFETIME",
    )
    .await;
    let longer = gateway(&echo, "max_lifetime = '8d'").await;
    assert_served(&longer, &leaf).await;
    let reporting = gateway(&echo, "max_lifetime = '3d'\nmax_lifetime_action = 'report'").await;
    assert_served(&reporting, &leaf).await;
    let report = reporting.ask(&["rollout", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report[0]["reason"], "CLIENT_CERT_LIFETIME", "{report}");
    assert_eq!(report[0]["who"], "spiffe://test.portcullis/long-lived");
    assert_eq!(report[0]["connections"], 3);
}

#[tokio::test]
async fn keys_below_the_bundles_bounds_are_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "min_rsa_bits = 3072\nmin_ec_bits = 384").await;
    for kind in [
        pki::KeyKind::P256,
        pki::KeyKind::Rsa2048,
        pki::KeyKind::Ed25519,
    ] {
        let leaf = pki::Client::new("weak")
            .key(kind)
            .issued_by(client_ca())
            .unwrap();
        assert_refused(
            &gateway,
            &leaf,
            Alert::BadCertificate,
            "CLIENT_CERT_WEAK_KEY",
        )
        .await;
    }
}

#[tokio::test]
async fn a_pinned_key_or_certificate_must_be_in_the_chain() {
    let echo = Echo::start().await.unwrap();
    let sum = |bytes: &[u8]| -> String {
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        sum.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let branch = client_ca().intermediate("Portcullis test branch").unwrap();
    let below = pki::Client::new("below").issued_by(&branch).unwrap();
    let (own, other) = (client_leaf("orders"), client_leaf("other"));
    let key_of = |pem: &str| sum(&pki::public_key_of(pem).unwrap());
    let refused = "CLIENT_CERT_NOT_PINNED";
    let by_key = gateway(&echo, &format!("spki_pins = '{}'", key_of(branch.pem()))).await;
    assert_served(&by_key, &below).await;
    assert_refused(&by_key, &own, Alert::AccessDenied, refused).await;
    let leaf = sum(&own.chain_der().unwrap()[0]);
    let by_certificate = gateway(&echo, &format!("certificate_pins = '{leaf}'")).await;
    assert_served(&by_certificate, &own).await;
    assert_refused(&by_certificate, &other, Alert::AccessDenied, refused).await;
    // The anchor is part of the chain.
    let by_anchor = gateway(
        &echo,
        &format!("spki_pins = '{}'", key_of(client_ca().pem())),
    )
    .await;
    assert_served(&by_anchor, &own).await;
}

#[tokio::test]
async fn a_spiffe_id_must_be_of_the_bundles_trust_domain() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "trust_domains = ['test.portcullis']").await;
    assert_served(&gateway, &client_leaf("orders")).await;
    let foreign = pki::Client::new("x").uri("spiffe://test.portcullis.evil/orders");
    let none = pki::Client::new("x").dns("test.portcullis").unwrap();
    let two = pki::Client::new("x")
        .uri("spiffe://test.portcullis/a")
        .unwrap();
    let two = two.uri("spiffe://test.portcullis/b");
    for client in [foreign.unwrap(), none, two.unwrap()] {
        let leaf = client.issued_by(client_ca()).unwrap();
        assert_refused(
            &gateway,
            &leaf,
            Alert::AccessDenied,
            "CLIENT_CERT_TRUST_DOMAIN",
        )
        .await;
    }
}

#[tokio::test]
async fn the_names_of_the_cas_are_sent_or_hidden() {
    let echo = Echo::start().await.unwrap();
    for (toml, told) in [("", true), ("ca_names = 'hide'", false)] {
        let gateway = gateway(&echo, toml).await;
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments = ["-servername", "localhost", version];
            let said = gateway.s_client(&arguments, "").await;
            let names = said
                .stdout
                .contains("Acceptable client certificate CA names");
            assert_eq!(names, told, "{toml} {version} {}", said.stdout);
        }
    }
}

#[tokio::test]
async fn several_bundles_are_alternatives_and_the_most_telling_refusal_counts() {
    let echo = Echo::start().await.unwrap();
    let partners = Ca::root("Portcullis test partners").unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "max_lifetime = '3d'")
        .trust("partners", &partners, "")
        .listener(
            "main",
            "client_cert = { mode = 'require', trust = ['clients', 'partners'] }",
        )
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let partner = pki::Client::new("partner").issued_by(&partners).unwrap();
    assert_served(&gateway, &partner).await;
    let own = client_leaf("orders");
    assert_refused(&gateway, &own, Alert::AccessDenied, "CLIENT_CERT_LIFETIME").await;
}

#[tokio::test]
async fn a_bundle_is_read_again_at_a_reload_and_a_broken_one_refuses_it() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "").await;
    let partners = Ca::root("Portcullis test partners").unwrap();
    let partner = pki::Client::new("partner").issued_by(&partners).unwrap();
    assert_refused(
        &gateway,
        &partner,
        Alert::UnknownCA,
        "CLIENT_CERT_UNKNOWN_CA",
    )
    .await;
    let bundle = gateway.folder().join("clients.pem");
    for broken in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&bundle, broken).unwrap();
        let error = gateway.reload().await.unwrap_err();
        assert!(
            error.contains("clients.pem") && error.contains("portcullis.toml:"),
            "{error}"
        );
        assert_served(&gateway, &client_leaf("orders")).await;
    }
    std::fs::write(&bundle, format!("{}{}", client_ca().pem(), partners.pem())).unwrap();
    gateway.reload().await.unwrap();
    assert_served(&gateway, &partner).await;
    std::fs::remove_file(&bundle).unwrap();
    assert!(gateway.reload().await.unwrap_err().contains("clients.pem"));
}
