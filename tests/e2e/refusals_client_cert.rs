//! Client certificates: every wrong one is refused with the alert the RFC asks for and a reason of its own,
//! in every mode that asks, and nothing of it reaches the upstream.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Flaw, Leaf};
use rustls::AlertDescription as Alert;

use crate::harness::{
    CLIENT_CA_NAME, Client, Gateway, GatewayBuilder, RawTls, Refused, Site, Token, client_ca,
    client_leaf,
};

/// What each flaw ends in. RSA with 1,024 bits is not here: our client cannot even use such a key.
pub(crate) const MATRIX: [(Flaw, Alert, &str); 13] = [
    (
        Flaw::Expired,
        Alert::CertificateExpired,
        "CLIENT_CERT_EXPIRED",
    ),
    (
        Flaw::NotYetValid,
        Alert::CertificateExpired,
        "CLIENT_CERT_NOT_YET_VALID",
    ),
    (
        Flaw::WrongUsage,
        Alert::UnsupportedCertificate,
        "CLIENT_CERT_WRONG_EKU",
    ),
    (Flaw::UnknownCa, Alert::UnknownCA, "CLIENT_CERT_UNKNOWN_CA"),
    (
        Flaw::ForgedCa,
        Alert::BadCertificate,
        "CLIENT_CERT_BAD_SIGNATURE",
    ),
    (
        Flaw::Sha1,
        Alert::BadCertificate,
        "CLIENT_CERT_WEAK_SIGNATURE",
    ),
    (
        Flaw::SelfSigned,
        Alert::UnknownCA,
        "CLIENT_CERT_SELF_SIGNED",
    ),
    (
        Flaw::IssuedByLeaf,
        Alert::UnknownCA,
        "CLIENT_CERT_ISSUER_NOT_CA",
    ),
    (Flaw::IsCa, Alert::BadCertificate, "CLIENT_CERT_IS_CA"),
    (
        Flaw::PathLength,
        Alert::BadCertificate,
        "CLIENT_CERT_PATH_LENGTH",
    ),
    (
        Flaw::NameConstraint,
        Alert::BadCertificate,
        "CLIENT_CERT_NAME_CONSTRAINT",
    ),
    (
        Flaw::UriConstraint,
        Alert::BadCertificate,
        "CLIENT_CERT_CONSTRAINT_FORM",
    ),
    (Flaw::TenDeep, Alert::BadCertificate, "CLIENT_CERT_TOO_DEEP"),
];

fn gateway(mode: &str, echo: &Echo) -> GatewayBuilder {
    Gateway::builder()
        .client_cert(mode, client_ca())
        .upstream(echo)
        .allow("anyone")
}

fn forged(flaw: Flaw) -> Leaf {
    flaw.forge(&pki::Client::new("mallory"), client_ca(), CLIENT_CA_NAME)
        .unwrap()
}

/// The client over TLS 1.2, over TLS 1.3, and over TLS 1.3 with HTTP/2.
fn both_versions(client: &Client) -> [Client; 3] {
    let client = || client.clone();
    [client().tls12(), client().tls13(), client().tls13().h2()]
}

/// Connects, and asserts the alert and the reason of the refusal, and that there is only one.
async fn assert_refused(gateway: &Gateway, client: &Client, alert: Alert, reason: &str) {
    let refused = client.get(gateway, "/secret").await.unwrap_err();
    let Refused { port, error, .. } = &refused;
    let line = gateway.refusal_of(*port).await;
    assert_eq!(refused.alert, Some(alert), "{error}\n{line}");
    assert_eq!(line["reason"], reason, "{line}");
    let of_this = |line: &serde_json::Value| line["client.port"] == *port;
    assert_eq!(gateway.refusals().into_iter().filter(of_this).count(), 1);
}

async fn assert_matrix(gateway: &Gateway) {
    for (flaw, alert, reason) in MATRIX {
        let client = Client::new().certificate(&forged(flaw));
        for client in both_versions(&client) {
            assert_refused(gateway, &client, alert, reason).await;
        }
    }
}

#[tokio::test]
async fn every_wrong_certificate_is_refused_where_one_is_required() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).spawn().await;
    assert_matrix(&gateway).await;
    assert_eq!(echo.record().connection_count(), 0);
    assert!(gateway.access_log().is_empty());
}

#[tokio::test]
async fn every_wrong_certificate_is_refused_where_one_is_accepted() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("accept", &echo).spawn().await;
    assert_matrix(&gateway).await;
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn every_wrong_certificate_is_refused_with_the_server_key_in_a_token() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo)
        .token(Token::shared())
        .spawn()
        .await;
    assert_matrix(&gateway).await;
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn a_missing_certificate_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).spawn().await;
    let reason = "CLIENT_CERT_MISSING";
    // TLS 1.2 has no alert for it (RFC 5246 section 7.4.6), TLS 1.3 has (RFC 8446 section 4.4.2.4).
    let (old, new) = (Alert::HandshakeFailure, Alert::CertificateRequired);
    assert_refused(&gateway, &Client::new().tls12(), old, reason).await;
    assert_refused(&gateway, &Client::new().tls13(), new, reason).await;
    assert_refused(&gateway, &Client::new().tls13().h2(), new, reason).await;
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn a_small_rsa_key_is_refused() {
    let echo = Echo::start().await.unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let gateway = gateway("require", &echo).spawn().await;
        let files = forged(Flaw::Rsa1024)
            .write(gateway.folder(), "weak")
            .unwrap();
        let (chain, key) = (files.chain.to_str().unwrap(), files.key.to_str().unwrap());
        let mut arguments = vec!["-quiet", "-servername", "localhost", version];
        arguments.extend(["-cipher", "DEFAULT@SECLEVEL=0", "-cert", chain, "-key", key]);
        let said = gateway.s_client(&arguments, "GET / HTTP/1.1\r\n\r\n").await;
        assert!(said.stderr.contains("SSL alert number 42"), "{said:?}");
        let line = gateway.wait_for_refusal("CLIENT_CERT_WEAK_KEY").await;
        assert_eq!(line["site"], "localhost");
        assert_eq!(gateway.refusals().len(), 1);
    }
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn a_stolen_certificate_without_its_key_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).spawn().await;
    let (victim, thief) = (client_leaf("orders"), client_leaf("mallory"));
    let client = Client::new().certificate(&victim).key_of(&thief);
    for client in both_versions(&client) {
        // RFC 8446 section 4.4.3 and RFC 5246 section 7.2.2: a signature that does not verify.
        assert_refused(
            &gateway,
            &client,
            Alert::DecryptError,
            "CLIENT_CERT_NOT_PROVEN",
        )
        .await;
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).spawn().await;
    let right = client_leaf("orders");
    let der = right.chain_der().unwrap().remove(0);
    let longer = [&der[..], &[0]].concat();
    let client = Client::new().certificate(&right);
    for wrong in [&[][..], b"garbage", &der[..der.len() - 1], &longer] {
        let client = client.clone().chain_of(&[wrong]);
        for client in both_versions(&client) {
            let refused = client.get(&gateway, "/secret").await.unwrap_err();
            let line = gateway.refusal_of(refused.port).await;
            assert_eq!(refused.alert, Some(Alert::BadCertificate), "{line}");
            assert_eq!(line["reason"], "CLIENT_CERT_MALFORMED", "{line}");
        }
    }
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn a_chain_without_its_intermediate_is_refused_and_served_with_it() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).spawn().await;
    let issuing = client_ca().intermediate("Portcullis test branch").unwrap();
    let leaf = pki::Client::new("branch").issued_by(&issuing).unwrap();
    let whole = Client::new().certificate(&leaf);
    let bare = whole.clone().without_intermediates();
    assert_refused(&gateway, &bare, Alert::UnknownCA, "CLIENT_CERT_UNKNOWN_CA").await;
    assert_eq!(whole.get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn an_intermediate_as_trust_anchor_lends_no_trust_to_its_root() {
    let echo = Echo::start().await.unwrap();
    let branch = client_ca().intermediate("Portcullis test branch").unwrap();
    let gateway = Gateway::builder()
        .client_cert("require", &branch)
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let below = pki::Client::new("branch").issued_by(&branch).unwrap();
    let below = Client::new().certificate(&below);
    assert_eq!(below.get(&gateway, "/").await.unwrap().status, 200);
    let beside = Client::new().certificate(&client_leaf("orders"));
    assert_refused(
        &gateway,
        &beside,
        Alert::UnknownCA,
        "CLIENT_CERT_UNKNOWN_CA",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_is_good_only_on_sites_that_trust_its_ca() {
    let echo = Echo::start().await.unwrap();
    let partners = pki::Ca::root("Portcullis test partners").unwrap();
    let gateway = Gateway::builder()
        .site(Site::new("own.test").client_cert("require", Some(client_ca())))
        .site(Site::new("partners.test").client_cert("require", Some(&partners)))
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let partner = pki::Client::new("partner").issued_by(&partners).unwrap();
    let (own, partner) = (client_leaf("orders"), partner);
    for (host, right, wrong) in [
        ("own.test", &own, &partner),
        ("partners.test", &partner, &own),
    ] {
        let client = Client::of(host);
        let served = client.clone().certificate(right).get(&gateway, "/").await;
        assert_eq!(served.unwrap().status, 200, "{host}");
        let wrong = client.certificate(wrong);
        assert_refused(&gateway, &wrong, Alert::UnknownCA, "CLIENT_CERT_UNKNOWN_CA").await;
    }
    assert_eq!(echo.record().request_count(), 2);
}

#[tokio::test]
async fn a_client_that_sends_a_lot_ahead_still_reads_why_it_was_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).spawn().await;
    let client = Client::new().certificate(&forged(Flaw::Expired)).tls13();
    let mut raw = RawTls::connect(&client, gateway.address()).await.unwrap();
    let head = "POST /secret HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n";
    let written = raw.write(head.to_owned() + &"x".repeat(500_000)).await;
    let read = raw.read_to_end().await;
    assert!(written.is_ok(), "{written:?}");
    assert_eq!(read.unwrap_err().alert, Some(Alert::CertificateExpired));
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn a_certificate_larger_than_a_handshake_message_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).spawn().await;
    let client = Client::new().certificate(&forged(Flaw::ManyNames));
    for client in both_versions(&client) {
        let refused = client.get(&gateway, "/").await.unwrap_err();
        // A decode_error would be right (RFC 8446 section 6.2); rustls gives up without any alert, and
        // under TLS 1.3 nobody but rustls could encrypt one.
        assert_eq!(refused.alert, None, "{}", refused.error);
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], "HANDSHAKE_TOO_LARGE");
    }
    assert_eq!(echo.record().connection_count(), 0);
}
