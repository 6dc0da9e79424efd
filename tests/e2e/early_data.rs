//! Early data (0-RTT): who may send it, what is answered, and that nothing is served twice.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Client, Gateway, RawTls, Site, client_ca, client_leaf, within};

/// A site that takes early data, with a route that does and one that does not.
async fn gateway(echo: &Echo, mode: &str) -> Gateway {
    let site = Site::new("localhost")
        .client_cert(mode, (mode != "ignore").then(client_ca))
        .line("resumption = { early_data = '16KiB' }")
        .early("/early");
    Gateway::builder()
        .site(site)
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
}

fn request(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Comes once, so that there is a session; the next connection sends its request early.
async fn meet(client: &Client, address: SocketAddr) {
    let mut first = RawTls::connect(client, address).await.unwrap();
    first.write(request("GET", "/")).await.unwrap();
    assert!(
        first
            .read_to_end()
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
}

/// Sends one request with the first flight. What was answered, and whether it went early.
async fn early(client: &Client, address: SocketAddr, request: &str) -> (String, bool) {
    let mut stream = RawTls::connect(client, address)
        .await
        .unwrap()
        .into_stream();
    let exchange = async {
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        // An end without close_notify ends the answer all the same.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = within("an early answer", exchange).await;
    (answer, stream.get_ref().1.is_early_data_accepted())
}

#[tokio::test]
async fn what_is_not_safe_or_not_opted_in_is_too_early_and_never_reaches_the_upstream() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "ignore").await;
    for (method, path) in [("POST", "/early"), ("DELETE", "/early"), ("GET", "/late")] {
        let client = Client::new().tls13().early_data();
        meet(&client, gateway.address()).await;
        let before = echo.record().request_count();
        let (answer, accepted) = early(&client, gateway.address(), &request(method, path)).await;
        assert!(accepted, "{method} {path}");
        assert!(
            answer.starts_with("HTTP/1.1 425 "),
            "{method} {path}: {answer}"
        );
        assert_eq!(echo.record().request_count(), before, "{method} {path}");
        gateway.wait_for_refusal("TOO_EARLY").await;
    }
}

#[tokio::test]
async fn early_data_is_served_once_and_the_upstream_is_told() {
    let echo = Echo::start().await.unwrap();
    for mode in ["ignore", "require"] {
        let gateway = gateway(&echo, mode).await;
        let client = Client::new()
            .tls13()
            .early_data()
            .certificate(&client_leaf("somebody"));
        meet(&client, gateway.address()).await;
        let (answer, accepted) =
            early(&client, gateway.address(), &request("GET", "/early/1")).await;
        assert!(accepted && answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(r#"["early-data","1"]"#), "{answer}");
        let line = gateway
            .wait_for_access(|line| line["url.path"] == "/early/1")
            .await;
        assert_eq!(line["tls.resumed"], true);
    }
}

#[tokio::test]
async fn a_request_after_the_handshake_is_not_early() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "ignore").await;
    let client = Client::new().tls13().early_data();
    meet(&client, gateway.address()).await;
    let mut stream = RawTls::connect(&client, gateway.address()).await.unwrap();
    let first = "HEAD /early/first HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write(first).await.unwrap();
    let head = stream.read_until("\r\n\r\n").await.unwrap();
    assert!(head.contains("200 OK"), "{head}");
    stream.write(request("POST", "/late")).await.unwrap();
    let answer = stream.read_to_end().await.unwrap();
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("early-data"), "{answer}");
}

/// Passes connections on to `to`, and keeps what clients sent.
async fn listening_in(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            kept.lock().unwrap().clear();
            let server = TcpStream::connect(to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                kept.lock().unwrap().extend(&buffer[..read]);
                if to_server.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    });
    (address, heard)
}

#[tokio::test]
async fn a_recorded_first_flight_is_not_served_again() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "ignore").await;
    let (relay, heard) = listening_in(gateway.address()).await;
    let client = Client::new().tls13().early_data();
    meet(&client, relay).await;
    let (answer, accepted) = early(&client, relay, &request("GET", "/early/once")).await;
    assert!(accepted && answer.starts_with("HTTP/1.1 200"), "{answer}");
    let flight = heard.lock().unwrap().clone();
    for _ in 0..20 {
        let mut replay = TcpStream::connect(gateway.address()).await.unwrap();
        replay.write_all(&flight).await.unwrap();
        let mut answer = Vec::new();
        let _ = within("the end of a replay", replay.read_to_end(&mut answer)).await;
    }
    let seen = echo.record().requests();
    let served = seen
        .iter()
        .filter(|seen| format!("{seen:?}").contains("/early/once"));
    assert_eq!(served.count(), 1);
}
