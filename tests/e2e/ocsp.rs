//! The Online Certificate Status Protocol with real responders, and with those that lie, hang or are gone.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Answer, Ca, Leaf, Standing, Usage};
use rustls::AlertDescription as Alert;

use crate::harness::judge::{assert_closed, assert_refused, assert_served, ways};
use crate::harness::{Client, Gateway, GatewayBuilder, Responder, Site, Web, client_ca};

const REVOKED: &str = "CLIENT_CERT_REVOKED_OCSP";
const UNKNOWN: &str = "CLIENT_CERT_OCSP_UNKNOWN";
const UNAVAILABLE: &str = "CLIENT_CERT_OCSP_UNAVAILABLE";

/// Numbers of certificates a real responder is asked about.
const GOOD: u64 = 7;
const BAD: u64 = 8;
const STRANGE: u64 = 9;
const STANDINGS: [(u64, Standing); 2] = [(GOOD, Standing::Good), (BAD, Standing::Revoked)];

fn describe(echo: &Echo, toml: &str) -> GatewayBuilder {
    let ocsp = format!("[trust.clients.ocsp]\n{toml}");
    Gateway::builder()
        .trust("clients", client_ca(), &ocsp)
        .demand("require", "clients")
        .upstream(echo)
        .allow("anyone")
}

async fn gateway(echo: &Echo, toml: &str) -> Gateway {
    describe(echo, toml).spawn().await
}

/// A client whose certificate says where it is asked about.
fn leaf(serial: u64, responder: &str) -> Leaf {
    let client = pki::Client::new("orders").serial(serial);
    let client = client.responder_at(responder);
    client.issued_by(client_ca()).unwrap()
}

async fn soft_passes(gateway: &Gateway) -> f64 {
    let name = "portcullis_ocsp_soft_passes_total{bundle=\"clients\"}";
    gateway.metric(name).await
}

/// Closed after the first handshake, which no alert can follow; refused in the next, from memory.
async fn assert_closed_then_refused(
    gateway: &Gateway,
    leaf: &Leaf,
    alert: Alert,
    reason: &str,
) -> String {
    let first = Client::new().certificate(leaf);
    let detail = assert_closed(gateway, &first, reason).await;
    assert_refused(gateway, leaf, alert, reason).await;
    detail
}

#[tokio::test]
async fn a_real_responder_is_believed_soft_and_hard() {
    let echo = Echo::start().await.unwrap();
    let responder = Responder::of(client_ca(), &STANDINGS);
    let [good, bad, strange] = [GOOD, BAD, STRANGE].map(|serial| leaf(serial, &responder.url()));
    for mode in ["soft", "hard"] {
        let gateway = gateway(&echo, &format!("mode = '{mode}'")).await;
        assert_served(&gateway, &good).await;
        let alert = Alert::CertificateRevoked;
        assert_closed_then_refused(&gateway, &bad, alert, REVOKED).await;
        if mode == "soft" {
            assert_eq!(soft_passes(&gateway).await, 0.0);
            assert_served(&gateway, &strange).await;
            assert!(soft_passes(&gateway).await >= 1.0);
        } else {
            let alert = Alert::CertificateUnknown;
            assert_closed_then_refused(&gateway, &strange, alert, UNKNOWN).await;
        }
        let asked = gateway.metric("portcullis_ocsp_questions_total{bundle=\"clients\"}");
        assert_eq!(asked.await, 3.0, "each certificate once");
    }
}

#[tokio::test]
async fn a_first_handshake_with_a_revoked_certificate_is_closed_over_every_protocol() {
    let echo = Echo::start().await.unwrap();
    let responder = Responder::of(client_ca(), &STANDINGS);
    let bad = leaf(BAD, &responder.url());
    for client in ways(&bad) {
        let gateway = gateway(&echo, "mode = 'hard'").await;
        assert_closed(&gateway, &client, REVOKED).await;
    }
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn without_a_valid_answer_soft_passes_and_hard_refuses() {
    let (echo, web) = (Echo::start().await.unwrap(), Web::start().await);
    let other = Ca::root("Portcullis test other").unwrap();
    let good = Answer::new(Standing::Good);
    // "good", but for one thing.
    web.answer("/stale", move |question| {
        let stale = good.valid(-7200, -600);
        stale.signed_by(client_ca(), question).ok()
    });
    web.answer("/early", move |question| {
        good.valid(600, 7200).signed_by(client_ca(), question).ok()
    });
    web.answer("/signer", move |question| {
        good.signed_by(&other, question).ok()
    });
    web.put("/broken", b"nonsense".to_vec());
    web.put("/later", vec![0x30, 3, 0x0a, 1, 3]);
    web.hang("/slow");
    let dead = format!("http://127.0.0.1:{}/", free_port());
    let wrong_signer = Responder::signing(client_ca(), credentials(&plain()), &STANDINGS);
    let cases = [
        (web.url("/stale"), "out of date"),
        (web.url("/early"), "from the future"),
        (web.url("/signer"), "not signed by the issuer"),
        (web.url("/broken"), "broken"),
        (web.url("/later"), "try later"),
        (web.url("/slow"), "within the deadline"),
        (web.url("/missing"), "not reached"),
        (dead, "not reached"),
        (wrong_signer.url(), "not signed by the issuer"),
    ];
    let toml = |mode| format!("mode = '{mode}'\ndeadline = '500ms'");
    let (soft, hard) = (
        gateway(&echo, &toml("soft")).await,
        gateway(&echo, &toml("hard")).await,
    );
    for (serial, (address, word)) in (100..).zip(cases) {
        let leaf = leaf(serial, &address);
        let client = Client::new().certificate(&leaf);
        let detail = assert_closed(&hard, &client, UNAVAILABLE).await;
        assert!(detail.contains(word), "{address}: {detail}");
        let before = soft_passes(&soft).await;
        assert_served(&soft, &leaf).await;
        assert!(soft_passes(&soft).await > before, "{address}");
    }
    // In memory for a moment: the next is refused in the handshake.
    let signer = leaf(200, &web.url("/broken"));
    let alert = Alert::CertificateUnknown;
    assert_closed_then_refused(&hard, &signer, alert, UNAVAILABLE).await;
}

/// A port nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A certificate of the CA that may not sign answers.
fn plain() -> Leaf {
    pki::Client::new("plain").issued_by(client_ca()).unwrap()
}

fn credentials(leaf: &Leaf) -> (&str, &str) {
    (leaf.leaf_pem(), leaf.key_pem())
}

#[tokio::test]
async fn a_responder_with_a_certificate_of_the_issuer_needs_the_right_usage_and_the_right_issuer() {
    let echo = Echo::start().await.unwrap();
    let usable = |ca: &Ca| {
        let responder = pki::Client::new("responder").usage(Usage::OcspSigning);
        responder.issued_by(ca).unwrap()
    };
    let expired = pki::Client::new("responder")
        .usage(Usage::OcspSigning)
        .validity(pki::Validity::Expired)
        .issued_by(client_ca())
        .unwrap();
    let other = Ca::root("Portcullis test other").unwrap();
    let below = client_ca().intermediate("Portcullis test branch").unwrap();
    for (signer, is_right) in [
        (usable(client_ca()), true),
        (plain(), false),
        (expired, false),
        (usable(&other), false),
        (usable(&below), false),
    ] {
        let responder = Responder::signing(client_ca(), credentials(&signer), &STANDINGS);
        let gateway = gateway(&echo, "mode = 'hard'").await;
        let good = leaf(GOOD, &responder.url());
        if is_right {
            assert_served(&gateway, &good).await;
        } else {
            let client = Client::new().certificate(&good);
            assert_closed(&gateway, &client, UNAVAILABLE).await;
        }
    }
}

#[tokio::test]
async fn a_nonce_must_come_back_where_one_is_wanted() {
    let (echo, web) = (Echo::start().await.unwrap(), Web::start().await);
    let responder = Responder::of(client_ca(), &STANDINGS);
    let gateway = gateway(&echo, "mode = 'hard'\nnonce = true").await;
    assert_served(&gateway, &leaf(GOOD, &responder.url())).await;
    web.answer("/", |question| {
        let good = Answer::new(Standing::Good);
        good.signed_by(client_ca(), question).ok()
    });
    let replayed = Client::new().certificate(&leaf(100, &web.url("/")));
    let detail = assert_closed(&gateway, &replayed, UNAVAILABLE).await;
    assert!(detail.contains("nonce"), "{detail}");
}

#[tokio::test]
async fn the_bundles_responder_is_asked_instead_of_the_certificates() {
    let (echo, web) = (Echo::start().await.unwrap(), Web::start().await);
    web.put("/trap", Vec::new());
    let responder = Responder::of(client_ca(), &STANDINGS);
    let toml = format!("mode = 'hard'\nresponder = '{}'", responder.url());
    let gateway = gateway(&echo, &toml).await;
    assert_served(&gateway, &leaf(GOOD, &web.url("/trap"))).await;
    let bad = leaf(BAD, &web.url("/trap"));
    let alert = Alert::CertificateRevoked;
    assert_closed_then_refused(&gateway, &bad, alert, REVOKED).await;
    assert_eq!(web.count("/trap"), 0);
}

#[tokio::test]
async fn a_route_with_a_bundle_of_its_own_waits_for_the_answer_before_its_first_request() {
    let (echo, web) = (Echo::start().await.unwrap(), Web::start().await);
    let standing = |serial| match serial {
        Some(GOOD) => Standing::Good,
        _ => Standing::Revoked,
    };
    web.answer("/", move |question| {
        let answer = Answer::new(standing(pki::serial_asked(question)));
        answer.signed_by(client_ca(), question).ok()
    });
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .trust("strict", client_ca(), "[trust.strict.ocsp]\nmode = 'hard'")
        .site(
            Site::new("localhost")
                .line("client_cert = { mode = 'accept', trust = 'clients' }")
                .demanding("/admin", "{ mode = 'require', trust = 'strict' }"),
        )
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    for (serial, status) in [(GOOD, 200), (BAD, 403)] {
        for client in ways(&leaf(serial, &web.url("/"))) {
            let mut connection = client.connect(gateway.address()).await.unwrap();
            assert_eq!(connection.get("/").await.unwrap().status, 200);
            for _ in 0..2 {
                let answer = connection.get("/admin").await.unwrap();
                assert_eq!(answer.status, status);
            }
            // The site's own bundle has no OCSP: there the client goes on.
            let answer = connection.get("/").await.unwrap();
            assert_eq!(answer.status, 200);
            if status == 403 {
                assert_eq!(gateway.refusal_of(answer.port).await["reason"], REVOKED);
            }
        }
    }
    assert_eq!(web.count("/"), 2, "each certificate is asked about once");
}
