//! Intermediates that the operator gives, for clients that do not send theirs: believed no more than one that is sent.

use std::path::{Path, PathBuf};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Ca, Leaf, List};
use rustls::AlertDescription as Alert;
use tempfile::TempDir;

use crate::harness::{Client, Gateway, client_ca, until};

const UNKNOWN: &str = "CLIENT_CERT_UNKNOWN_CA";

fn put(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn knows(file: &Path) -> String {
    format!("intermediates = {file:?}")
}

async fn gateway(echo: &Echo, toml: &str) -> Gateway {
    Gateway::builder()
        .trust("clients", client_ca(), toml)
        .demand("require", "clients")
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
}

fn below(ca: &Ca) -> Leaf {
    pki::Client::new("orders").issued_by(ca).unwrap()
}

/// Clients that send the leaf alone.
fn bare(leaf: &Leaf) -> [Client; 3] {
    let client = || Client::new().certificate(leaf).without_intermediates();
    [client().tls12(), client().tls13(), client().tls13().h2()]
}

async fn assert_bare_served(gateway: &Gateway, leaf: &Leaf) {
    for client in bare(leaf) {
        assert_eq!(client.get(gateway, "/").await.unwrap().status, 200);
    }
}

async fn assert_bare_refused(gateway: &Gateway, leaf: &Leaf, (alert, reason): (Alert, &str)) {
    for client in bare(leaf) {
        let refused = client.get(gateway, "/").await.unwrap_err();
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], reason, "{line}");
        assert_eq!(refused.alert, Some(alert), "{line}");
    }
}

#[tokio::test]
async fn a_leaf_alone_is_believed_where_its_issuer_is_known_and_nowhere_else() {
    let (echo, folder) = (Echo::start().await.unwrap(), tempfile::tempdir().unwrap());
    let upper = client_ca().intermediate("Portcullis test upper").unwrap();
    let issuing = upper.intermediate("Portcullis test issuing").unwrap();
    let leaf = below(&issuing);
    let both = format!("{}{}", issuing.pem(), upper.pem());
    let file = put(&folder, "both.pem", both.as_bytes());
    assert_bare_served(&gateway(&echo, &knows(&file)).await, &leaf).await;
    let half = put(&folder, "half.pem", issuing.pem().as_bytes());
    for toml in [String::new(), knows(&half)] {
        let gateway = gateway(&echo, &toml).await;
        assert_bare_refused(&gateway, &leaf, (Alert::UnknownCA, UNKNOWN)).await;
    }
    // What leads to no anchor is worth nothing, whoever says that it is there.
    let strange = Ca::root("Portcullis test strange").unwrap();
    let branch = strange.intermediate("Portcullis test branch").unwrap();
    let text = format!("{}{}", branch.pem(), strange.pem());
    let gateway = gateway(&echo, &knows(&put(&folder, "strange.pem", text.as_bytes()))).await;
    assert_bare_refused(&gateway, &below(&branch), (Alert::UnknownCA, UNKNOWN)).await;
}

#[tokio::test]
async fn a_known_intermediate_that_was_revoked_lets_nobody_in() {
    let (echo, folder) = (Echo::start().await.unwrap(), tempfile::tempdir().unwrap());
    let branch = |serial| client_ca().intermediate_numbered("Portcullis test branch", serial);
    let (bad, good) = (branch(70).unwrap(), branch(80).unwrap());
    let lists = [
        ("upper", client_ca(), List::new(1).revoke(70_u64)),
        ("of-bad", &bad, List::new(1)),
        ("of-good", &good, List::new(1)),
    ];
    let lists = lists.map(|(name, ca, list)| put(&folder, name, &list.signed_by(ca).unwrap()));
    // Both have one name: each leaf is led to its own issuer.
    let text = format!("{}{}", bad.pem(), good.pem());
    let file = put(&folder, "branches.pem", text.as_bytes());
    let toml = format!("{}\n[trust.clients.crl]\nfiles = {lists:?}", knows(&file));
    let gateway = gateway(&echo, &toml).await;
    let revoked = (Alert::CertificateRevoked, "CLIENT_CERT_REVOKED_CRL");
    assert_bare_refused(&gateway, &below(&bad), revoked).await;
    assert_bare_served(&gateway, &below(&good)).await;
}

#[tokio::test]
async fn depth_and_pins_count_what_was_not_sent() {
    let (echo, folder) = (Echo::start().await.unwrap(), tempfile::tempdir().unwrap());
    let issuing = client_ca().intermediate("Portcullis test issuing").unwrap();
    let leaf = below(&issuing);
    let file = knows(&put(&folder, "issuing.pem", issuing.pem().as_bytes()));
    let flat = gateway(&echo, &format!("{file}\nmax_depth = 0")).await;
    let deep = (Alert::BadCertificate, "CLIENT_CERT_TOO_DEEP");
    assert_bare_refused(&flat, &leaf, deep).await;
    let der = &leaf.chain_der().unwrap()[1];
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|it| format!("{it:02x}")).collect() };
    let sum = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref());
    let pinned = gateway(&echo, &format!("{file}\ncertificate_pins = '{sum}'")).await;
    assert_bare_served(&pinned, &leaf).await;
    let sibling = client_ca().intermediate("Portcullis test sibling").unwrap();
    let client = Client::new().certificate(&below(&sibling));
    let refused = client.get(&pinned, "/").await.unwrap_err();
    let line = pinned.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "CLIENT_CERT_NOT_PINNED", "{line}");
}

#[tokio::test]
async fn an_upstream_is_told_only_what_the_client_sent() {
    let (echo, folder) = (Echo::start().await.unwrap(), tempfile::tempdir().unwrap());
    let issuing = client_ca().intermediate("Portcullis test issuing").unwrap();
    let file = put(&folder, "issuing.pem", issuing.pem().as_bytes());
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), &knows(&file))
        .demand("require", "clients")
        .upstream_at(
            "echo",
            &echo.url(),
            "identity = ['client-cert', 'client-cert-chain']",
        )
        .allow("anyone")
        .spawn()
        .await;
    let leaf = below(&issuing);
    for client in bare(&leaf) {
        let answer = client.get(&gateway, "/").await.unwrap();
        assert_eq!(answer.upstream_saw("client-cert").len(), 1);
        assert_eq!(answer.upstream_saw("client-cert-chain"), [""; 0]);
    }
    let whole = Client::new().certificate(&leaf);
    let answer = whole.get(&gateway, "/").await.unwrap();
    assert_eq!(answer.upstream_saw("client-cert-chain").len(), 1);
}

#[tokio::test]
async fn a_client_whose_intermediate_is_forgotten_is_served_no_more() {
    let (echo, folder) = (Echo::start().await.unwrap(), tempfile::tempdir().unwrap());
    let issuing = client_ca().intermediate("Portcullis test issuing").unwrap();
    let other = client_ca().intermediate("Portcullis test other").unwrap();
    let file = put(&folder, "known.pem", issuing.pem().as_bytes());
    let gateway = gateway(&echo, &knows(&file)).await;
    let leaf = below(&issuing);
    let [_, short, _] = bare(&leaf);
    let mut short = short.connect(gateway.address()).await.unwrap();
    let long = Client::new().certificate(&leaf);
    let mut long = long.connect(gateway.address()).await.unwrap();
    assert_eq!(short.get("/").await.unwrap().status, 200);
    assert_eq!(long.get("/").await.unwrap().status, 200);
    std::fs::write(&file, other.pem()).unwrap();
    gateway.reload().await.unwrap();
    let turned_away = async || match short.get("/").await {
        Ok(answer) if answer.status == 200 => None,
        _ => Some(()),
    };
    until("a refusal", turned_away).await;
    // Who sent it needs nobody to know it.
    assert_eq!(long.get("/").await.unwrap().status, 200);
    assert_bare_refused(&gateway, &leaf, (Alert::UnknownCA, UNKNOWN)).await;
}

#[tokio::test]
async fn files_that_complete_no_chain_are_refused_at_their_line() {
    let (echo, folder) = (Echo::start().await.unwrap(), tempfile::tempdir().unwrap());
    let issuing = client_ca().intermediate("Portcullis test issuing").unwrap();
    let leaf = below(&issuing);
    let file = put(&folder, "known.pem", issuing.pem().as_bytes());
    let gateway = gateway(&echo, &knows(&file)).await;
    let second = format!("{}{}", issuing.pem(), leaf.leaf_pem());
    for (content, problem) in [
        (second.as_str(), "certificate 2 in "),
        ("", "no CERTIFICATE block"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "PEM"),
    ] {
        std::fs::write(&file, content).unwrap();
        let said = gateway.reload().await.unwrap_err();
        assert!(said.contains(problem), "{said}");
        assert!(said.contains("intermediates = "), "{said}");
    }
    assert_bare_served(&gateway, &leaf).await;
}
