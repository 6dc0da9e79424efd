//! Client certificates that are right, and sites that do not insist on one.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, KeyKind, Leaf, Usage};

use crate::harness::{Client, Gateway, Site, client_ca, client_leaf};

/// As many names as one handshake message has room for, and a few to spare.
const NAMES: usize = 3_000;

async fn gateway(mode: &str, echo: &Echo) -> Gateway {
    Gateway::builder()
        .client_cert(mode, client_ca())
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
}

fn right_ones() -> Vec<(&'static str, Leaf)> {
    let client = || pki::Client::new("right");
    let root = client_ca();
    let branch = root.intermediate("branch").unwrap();
    let last = root.intermediate_with_path_length("last", 0).unwrap();
    let bound = root
        .intermediate_for_domain("bound", "allowed.example")
        .unwrap();
    let within = client().dns("a.allowed.example").unwrap();
    let names = (0..NAMES).try_fold(client(), |client, at| client.dns(&format!("n{at}.a.test")));
    let mut deep = root.intermediate("deep 1").unwrap();
    for level in 2..=6 {
        deep = deep.intermediate(&format!("deep {level}")).unwrap();
    }
    let issued = [
        ("P-256", client().issued_by(root)),
        ("RSA", client().key(KeyKind::Rsa2048).issued_by(root)),
        ("Ed25519", client().key(KeyKind::Ed25519).issued_by(root)),
        (
            "no extended key usage",
            client().usage(Usage::Unsaid).issued_by(root),
        ),
        ("an intermediate", client().issued_by(&branch)),
        ("six intermediates", client().issued_by(&deep)),
        ("a path length that suffices", client().issued_by(&last)),
        ("a name within the constraints", within.issued_by(&bound)),
        ("3,000 names", names.unwrap().issued_by(root)),
    ];
    let unwrapped = issued.into_iter().map(|(what, leaf)| (what, leaf.unwrap()));
    unwrapped.collect()
}

#[tokio::test]
async fn right_certificates_are_served_over_every_version() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("require", &echo).await;
    for (what, leaf) in right_ones() {
        let client = Client::new().certificate(&leaf);
        for client in [client.clone().tls12(), client.tls13()] {
            let answer = client.get(&gateway, "/").await;
            let answer = answer.unwrap_or_else(|refused| panic!("{what}: {refused:?}"));
            assert_eq!(answer.status, 200, "{what}");
        }
    }
    assert!(gateway.refusals().is_empty());
}

#[tokio::test]
async fn where_a_certificate_is_accepted_its_absence_is_served_without_identity() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("accept", &echo).await;
    for client in [
        Client::new().tls12(),
        Client::new().tls13(),
        Client::new().h2(),
    ] {
        let answer = client.get(&gateway, "/").await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.upstream_saw("x-forwarded-client-cert").is_empty());
        let line = gateway
            .wait_for_access(|line| line["client.port"] == answer.port)
            .await;
        assert_eq!(line.get("tls.client.subject"), None);
        assert_eq!(line.get("tls.client.verified"), None);
    }
    let known = Client::new().certificate(&client_leaf("orders"));
    let answer = known.get(&gateway, "/").await.unwrap();
    assert_eq!(answer.upstream_saw("x-forwarded-client-cert").len(), 1);
    let line = gateway
        .wait_for_access(|line| line["client.port"] == answer.port)
        .await;
    assert_eq!(line["tls.client.subject"], "CN=orders");
    assert_eq!(line["tls.client.verified"], true);
    assert_eq!(
        line["tls.client.spiffe_id"],
        "spiffe://test.portcullis/orders"
    );
}

#[tokio::test]
async fn where_certificates_are_ignored_none_is_asked_for() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .site(Site::new("localhost").client_cert("ignore", None))
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let client = Client::new().certificate(&client_leaf("orders"));
    for client in [client.clone().tls12(), client.tls13()] {
        let answer = client.get(&gateway, "/").await.unwrap();
        assert!(answer.upstream_saw("x-forwarded-client-cert").is_empty());
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let said = gateway
            .s_client(&["-servername", "localhost", version], "")
            .await;
        let nothing = "No client certificate CA names sent";
        assert!(said.stdout.contains(nothing), "{said:?}");
        assert!(
            !said.stdout.contains("Requested Signature Algorithms"),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn the_names_of_trusted_cas_are_told_to_clients_that_must_choose() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway("accept", &echo).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let said = gateway
            .s_client(&["-servername", "localhost", version], "")
            .await;
        assert!(
            said.stdout
                .contains("Acceptable client certificate CA names"),
            "{said:?}"
        );
        assert!(said.stdout.contains("Portcullis test clients"), "{said:?}");
    }
}
