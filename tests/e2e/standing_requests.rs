//! Requests in progress rest on what their route asked, which may be more than the handshake of the site did.

use std::fs;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::Ca;
use tokio::io::AsyncReadExt as _;

use crate::harness::{Client, Gateway, RawTls, Site, client_ca, client_leaf, until, within};

/// More than is ever read.
const ENDLESS: &str = "GET /bytes/107374182400 HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A download that has begun.
async fn download(gateway: &Gateway, client: &Client) -> RawTls {
    let mut raw = RawTls::connect(client, gateway.address()).await.unwrap();
    raw.write(ENDLESS).await.unwrap();
    let head = raw.read_until("\r\n\r\n").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    raw
}

/// Reads on until the gateway cuts the connection.
async fn assert_cut(raw: RawTls) {
    let mut stream = raw.into_stream();
    let mut bytes = vec![0; 64 * 1024];
    let cut = async { while matches!(stream.read(&mut bytes).await, Ok(1..)) {} };
    within("the download is cut", cut).await;
}

/// Reads a little more.
async fn assert_goes_on(raw: &mut RawTls) {
    raw.read_until("xxxx").await.unwrap();
}

async fn assert_cut_after(change: impl AsyncFn(&Gateway), mode: &str) {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .trust("partners", client_ca(), "")
        .site(
            Site::new("localhost")
                .line(mode)
                .demanding("/bytes", "{ mode = 'require', trust = 'clients' }"),
        )
        .upstream(&echo)
        .allow("anyone")
        .extra_toml("[timeouts]\nrevoked = '100ms'")
        .spawn()
        .await;
    let client = Client::new().certificate(&client_leaf("orders"));
    let raw = download(&gateway, &client).await;
    // Nobody of those who rest on the site alone is concerned.
    let mut other = client.connect(gateway.address()).await.unwrap();
    assert_eq!(other.get("/").await.unwrap().status, 200);
    change(&gateway).await;
    assert_cut(raw).await;
    assert_eq!(other.get("/").await.unwrap().status, 200);
    let refused = other.get("/bytes/1").await.unwrap();
    assert_eq!(refused.status, 403);
    until("the refusal is told", async || {
        let told = |line: &serde_json::Value| {
            let detail = line["detail"].as_str().unwrap_or_default();
            detail.ends_with("the connection ends")
        };
        gateway.refusals().iter().any(told).then_some(())
    })
    .await;
}

async fn anchor_removed(gateway: &Gateway) {
    let other = Ca::root("Portcullis test other").unwrap();
    fs::write(gateway.folder().join("clients.pem"), other.pem()).unwrap();
    gateway.reload().await.unwrap();
}

#[tokio::test]
async fn a_download_ends_when_its_route_believes_the_client_no_more_and_the_site_verifies_nobody() {
    assert_cut_after(anchor_removed, "client_cert = { mode = 'unverified' }").await;
}

#[tokio::test]
async fn a_download_ends_when_its_route_believes_the_client_no_more_and_the_site_still_does() {
    let mode = "client_cert = { mode = 'accept', trust = 'partners' }";
    assert_cut_after(anchor_removed, mode).await;
}

#[tokio::test]
async fn a_download_goes_on_where_nothing_changed_for_its_client() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .site(
            Site::new("localhost")
                .line("client_cert = { mode = 'unverified' }")
                .demanding("/bytes", "{ mode = 'require', trust = 'clients' }"),
        )
        .upstream(&echo)
        .allow("anyone")
        .extra_toml("[timeouts]\nrevoked = '0s'")
        .spawn()
        .await;
    let client = Client::new().certificate(&client_leaf("orders"));
    let mut raw = download(&gateway, &client).await;
    gateway.reload().await.unwrap();
    gateway
        .ask(&["deny", "add", "spiffe://test.portcullis/users"])
        .await;
    assert_goes_on(&mut raw).await;
    let mut other = client.connect(gateway.address()).await.unwrap();
    assert_eq!(other.get("/bytes/1").await.unwrap().status, 200);
    assert_goes_on(&mut raw).await;
}
