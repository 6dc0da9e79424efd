//! Connections that stand for a while: silent, stalled, left, or overtaken by a reload.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use portcullis_bench::echo::Echo;
use portcullis_bench::pki::Ca;

use crate::harness::{Client, Gateway, RawTls, client_ca, client_leaf, until};

const SHORT: &str = "[timeouts]\nidle = '300ms'\nwrite = '300ms'\n";

#[tokio::test]
async fn an_http_2_client_that_never_speaks_is_closed() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(SHORT)
        .spawn()
        .await;
    let client = Client::new().h2();
    let mut silent = RawTls::connect(&client, gateway.address()).await.unwrap();
    // The end of the stream, in whatever way, within the deadline of the harness.
    let _ = silent.read_to_end().await;
    until("its place is free", async || {
        (gateway.metric("portcullis_connections_open").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_http_2_client_that_reads_nothing_is_cut() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(SHORT)
        .spawn()
        .await;
    let client = Client::new().h2();
    let mut stalled = RawTls::connect(&client, gateway.address()).await.unwrap();
    // Preface, SETTINGS with INITIAL_WINDOW_SIZE 0, and one GET /bytes/1000000 (RFC 7541 literals).
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frames.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    let mut fields = vec![0x82, 0x87, 0x04, 14];
    fields.extend(b"/bytes/1000000");
    fields.extend([0x01, 9]);
    fields.extend(b"localhost");
    frames.extend([0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1]);
    frames.extend(fields);
    stalled.write(frames).await.unwrap();
    let line = gateway
        .wait_for_access(|line| line["url.path"] == "/bytes/1000000")
        .await;
    assert_eq!(line["complete"], false);
    assert_eq!(line["http.response.status_code"], 200);
}

#[tokio::test]
async fn a_client_that_leaves_while_the_upstream_thinks_is_noticed() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut client = RawTls::connect(&Client::new(), gateway.address())
        .await
        .unwrap();
    client
        .write("GET /slow/60000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    until("the request is on its way", async || {
        (echo.record().request_count() > 0).then_some(())
    })
    .await;
    drop(client);
    let line = gateway
        .wait_for_access(|line| line["url.path"] == "/slow/60000")
        .await;
    assert_eq!(line["http.response.status_code"], 499);
}

#[tokio::test]
async fn the_clients_of_a_removed_ca_stop_at_the_reload_and_the_others_do_not() {
    let echo = Echo::start().await.unwrap();
    let other = Ca::root("Another CA").unwrap();
    let both = format!("{}{}", client_ca().root_pem(), other.root_pem());
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream(&echo)
        .allow("verified")
        .spawn()
        .await;
    let bundle = gateway.folder().join("listener-trust.pem");
    std::fs::write(&bundle, both).unwrap();
    gateway.reload().await.unwrap();
    let leaf = portcullis_bench::pki::Client::new("stranger")
        .issued_by(&other)
        .unwrap();
    let mut connections = Vec::new();
    for leaf in [&client_leaf("ours"), &leaf] {
        for client in [Client::new(), Client::new().h2()] {
            let mut connection = client
                .certificate(leaf)
                .connect(gateway.address())
                .await
                .unwrap();
            assert_eq!(connection.get("/").await.unwrap().status, 200);
            connections.push(connection);
        }
    }
    std::fs::write(&bundle, client_ca().root_pem()).unwrap();
    gateway.reload().await.unwrap();
    for (connection, status) in connections.iter_mut().zip([200, 200, 403, 403]) {
        assert_eq!(connection.get("/after").await.unwrap().status, status);
    }
    gateway.wait_for_refusal("CLIENT_CERT_UNKNOWN_CA").await;
}

#[tokio::test]
async fn cookie_pieces_of_http_2_reach_an_http_1_upstream_as_one_line() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut client = Client::new().h2().connect(gateway.address()).await.unwrap();
    let request = Request::get("/")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let answer = client
        .send(request.body(Full::<Bytes>::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.upstream_saw("cookie"), ["a=1; b=2"]);
}
