//! What `portcullis explain` says of connections that carry no HTTP is what happens to them.

use portcullis_bench::pki::Leaf;
use serde_json::Value;

use crate::explain::agreed;
use crate::harness::{Client, Gateway, GatewayBuilder, Peer, RawTls, Site, client_ca, client_leaf};

const NAME: &str = "db.example.test";

fn builder(peer: &Peer) -> GatewayBuilder {
    let address = peer.address();
    Gateway::builder()
        .top("state_dir = '.'")
        .client_cert("accept", client_ca())
        .tcp(address, "")
        .role("name = 'orders'\ncommon_name = 'orders'")
        .rule("name = 'requests'\nroles = 'anyone'\npaths = '/**'")
        .rule("name = 'own'\nroles = 'orders'\nhosts = 'localhost'")
        .rule(&format!(
            "name = 'through'\nroles = 'anyone'\nhosts = '{NAME}'\nfrom = '127.0.0.1'"
        ))
        .extra_toml(&format!(
            "[[passthrough]]\nnames = '{NAME}'\nupstream = 'tcp://{address}'"
        ))
}

/// The step of this name.
fn step<'a>(told: &'a Value, name: &str) -> &'a Value {
    let mut steps = told["steps"].as_array().unwrap().iter();
    steps.find(|step| step["name"] == name).unwrap()
}

fn verdict(told: &Value) -> (&str, &str) {
    let verdict = &told["verdict"];
    let text = |key: &str| verdict[key].as_str().unwrap_or_default();
    (text("decision"), text("reason"))
}

#[tokio::test]
async fn connections_are_explained_as_they_are_decided() {
    let peer = Peer::start().await;
    let gateway = builder(&peer).spawn().await;
    let write = |name: &str| {
        let leaf: Leaf = client_leaf(name);
        let files = leaf.write(gateway.folder(), name).unwrap();
        files.chain.display().to_string()
    };
    let (orders, billing) = (write("orders"), write("billing"));
    for (certificate, name, expected) in [
        ("none", None, ("refused", "NOT_AUTHORIZED")),
        (&billing, Some("billing"), ("refused", "NOT_AUTHORIZED")),
        (&orders, Some("orders"), ("served", "")),
    ] {
        let told = agreed(&gateway, &["--cert", certificate, "--sni", "localhost"]).await;
        assert_eq!(verdict(&told), expected, "{told}");
        let seen = step(&told, "rule requests")["detail"].as_str().unwrap();
        assert!(
            seen.contains("does not match by") && seen.contains("paths"),
            "{seen}"
        );
        let client = Client::new().alpn(&[]);
        let client = match name {
            Some(name) => client.certificate(&client_leaf(name)),
            None => client,
        };
        let raw = RawTls::connect(&client, gateway.address()).await.unwrap();
        let line = match expected.0 {
            "served" => {
                peer.accept().await;
                drop(raw);
                continue;
            }
            _ => gateway.refusal_of(raw.port).await,
        };
        assert_eq!(line["reason"], expected.1);
    }
}

#[tokio::test]
async fn what_is_passed_through_is_explained_without_a_handshake() {
    let peer = Peer::start().await;
    let gateway = builder(&peer)
        .site(Site::new("*.example.test").tcp("upstream = 'raw'"))
        .spawn()
        .await;
    let told = agreed(&gateway, &["--cert", "none", "--sni", "DB.example.test."]).await;
    assert_eq!(verdict(&told), ("served", ""), "{told}");
    assert_eq!(step(&told, "server name")["section"], "connection");
    let away = ["--cert", "none", "--sni", NAME, "--from", "192.0.2.1"];
    let told = agreed(&gateway, &away).await;
    assert_eq!(verdict(&told), ("refused", "NOT_AUTHORIZED"));
    let sees = &told["verdict"]["client_sees"];
    assert_eq!(sees, "the TLS alert access_denied");
    let told = agreed(&gateway, &["--cert", "none", "--sni", "x.example.test"]).await;
    assert_eq!(step(&told, "server name")["section"], "handshake");
}
