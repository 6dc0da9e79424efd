//! Every kind of client certificate × every mode × TLS 1.2 and 1.3 × HTTP/1.1 and 2: who is served, who is refused,
//! with which alert and for which reason. RSA with 1,024 bits, which our own client cannot use, is tried with openssl in
//! `refusals_client_cert`.

use std::path::Path;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Flaw, KeyKind, Leaf, List, Standing};
use rustls::AlertDescription as Alert;
use serde_json::Value;

use crate::harness::{CLIENT_CA_NAME, Client, Gateway, Responder, Site, client_ca};
use crate::refusals_client_cert::MATRIX;

const ON_THE_LIST: u64 = 7_001;
const BY_OCSP: u64 = 7_002;

/// What becomes of a client where certificates are verified.
#[derive(Debug, Clone, Copy)]
enum Verified {
    Served,
    Refused(Alert, &'static str),
    /// rustls gives up before anybody is asked, without an alert.
    TooLarge,
}

use Verified::{Refused, Served, TooLarge};

fn forged(flaw: Flaw) -> Leaf {
    flaw.forge(&pki::Client::new("mallory"), client_ca(), CLIENT_CA_NAME)
        .unwrap()
}

fn issued(client: pki::Client) -> Leaf {
    client.issued_by(client_ca()).unwrap()
}

/// The kinds, but for "none".
fn kinds() -> Vec<(&'static str, Leaf, Verified)> {
    let within = client_ca()
        .intermediate_for_domain("Portcullis bound", "allowed.example")
        .unwrap();
    let within = pki::Client::new("orders")
        .dns("orders.allowed.example")
        .unwrap()
        .issued_by(&within);
    let mut kinds = vec![
        ("good", issued(pki::Client::new("orders")), Served),
        (
            "RSA-2048",
            issued(pki::Client::new("orders").key(KeyKind::Rsa2048)),
            Served,
        ),
        ("name constraint, good", within.unwrap(), Served),
        (
            "revoked by CRL",
            issued(pki::Client::new("orders").serial(ON_THE_LIST)),
            Refused(Alert::CertificateRevoked, "CLIENT_CERT_REVOKED_CRL"),
        ),
        (
            "revoked by OCSP",
            issued(pki::Client::new("orders").serial(BY_OCSP)),
            Refused(Alert::CertificateRevoked, "CLIENT_CERT_REVOKED_OCSP"),
        ),
        ("3,000 names", forged(Flaw::ManyNames), TooLarge),
    ];
    kinds.extend(flaws());
    kinds
}

fn flaws() -> Vec<(&'static str, Leaf, Verified)> {
    let mut flaws = Vec::new();
    for (flaw, alert, reason) in MATRIX {
        if matches!(flaw, Flaw::ForgedCa | Flaw::IsCa) {
            continue; // Kinds of "wrong CA" and "wrong EKU", tried in `refusals_client_cert`.
        }
        let name = &*String::leak(format!("{flaw:?}"));
        flaws.push((name, forged(flaw), Refused(alert, reason)));
    }
    flaws
}

/// A gateway in this mode, whose bundle looks at a list and asks a responder.
async fn gateway(mode: &str, echo: &Echo, responder: &Responder, folder: &Path) -> Gateway {
    let builder = Gateway::builder().upstream(echo).allow("anyone");
    if !matches!(mode, "accept" | "require") {
        let line = format!("client_cert = {{ mode = '{mode}' }}");
        return builder
            .site(Site::new("localhost").line(&line))
            .spawn()
            .await;
    }
    let list = folder.join("clients.crl");
    let revoked = List::new(1)
        .revoke(ON_THE_LIST)
        .signed_by(client_ca())
        .unwrap();
    std::fs::write(&list, revoked).unwrap();
    let revocation = format!(
        "[trust.clients.crl]\nfiles = '{}'\nscope = 'leaf'\n[trust.clients.ocsp]\nmode = 'soft'\nresponder = '{}'",
        list.display(),
        responder.url()
    );
    // The CAs below the root have no list of their own, so what they issue is not on one.
    let soft = revocation.replace("scope = 'leaf'", "scope = 'leaf'\nstale = 'soft'");
    builder
        .trust("clients", client_ca(), &soft)
        .demand(mode, "clients")
        .spawn()
        .await
}

/// The client over both versions and both protocols.
fn everywhere(client: &Client) -> [Client; 4] {
    let client = || client.clone();
    [
        client().tls12(),
        client().tls13(),
        client().tls12().h2(),
        client().tls13().h2(),
    ]
}

async fn assert_served(gateway: &Gateway, client: &Client, what: &str) {
    for client in everywhere(client) {
        let answer = client.get(gateway, "/").await;
        let answer = answer.unwrap_or_else(|refused| panic!("{what}: {refused:?}"));
        assert_eq!(answer.status, 200, "{what}");
    }
}

async fn assert_refused(gateway: &Gateway, client: &Client, alert: Option<Alert>, reason: &str) {
    for client in everywhere(client) {
        let refused = client.get(gateway, "/").await.unwrap_err();
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(
            (refused.alert, &line["reason"]),
            (alert, &Value::from(reason)),
            "{line}"
        );
    }
}

#[tokio::test]
async fn every_kind_in_every_mode_over_every_version_and_protocol() {
    let echo = Echo::start().await.unwrap();
    let responder = Responder::of(client_ca(), &[(BY_OCSP, Standing::Revoked)]);
    let folder = tempfile::tempdir().unwrap();
    let kinds = kinds();
    for mode in ["ignore", "accept", "require", "unverified"] {
        let gateway = gateway(mode, &echo, &responder, folder.path()).await;
        let verifies = matches!(mode, "accept" | "require");
        if mode == "require" {
            for client in everywhere(&Client::new()) {
                let refused = client.get(&gateway, "/").await.unwrap_err();
                let line = gateway.refusal_of(refused.port).await;
                assert_eq!(line["reason"], "CLIENT_CERT_MISSING");
            }
        } else {
            assert_served(&gateway, &Client::new(), "none").await;
        }
        if verifies {
            // The first answer of a responder comes after the handshake; from then on the verifier knows it.
            let revoked = issued(pki::Client::new("orders").serial(BY_OCSP));
            let refused = Client::new()
                .certificate(&revoked)
                .get(&gateway, "/")
                .await
                .unwrap_err();
            let line = gateway.refusal_of(refused.port).await;
            assert_eq!(
                (refused.alert, &line["reason"]),
                (None, &Value::from("CLIENT_CERT_REVOKED_OCSP"))
            );
        }
        for (kind, leaf, verified) in &kinds {
            let client = Client::new().certificate(leaf);
            match verified {
                _ if mode == "ignore" => assert_served(&gateway, &client, kind).await,
                TooLarge => assert_refused(&gateway, &client, None, "HANDSHAKE_TOO_LARGE").await,
                Refused(alert, reason) if verifies => {
                    assert_refused(&gateway, &client, Some(*alert), reason).await;
                }
                Served | Refused(..) => assert_served(&gateway, &client, kind).await,
            }
        }
    }
}
