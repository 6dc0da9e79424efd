//! Early data (0-RTT): who may send it, what is answered, and that nothing is served twice.

use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::early::{early, listening_in, meet, request, served};
use crate::harness::{Client, Gateway, RawTls, Site, client_ca, client_leaf, within};

/// A site that takes early data, with a route that does and one that does not.
async fn gateway(echo: &Echo, mode: &str) -> Gateway {
    let site = Site::new("localhost")
        .client_cert(mode, (mode != "ignore").then(client_ca))
        .line("resumption = { early_data = '8KiB' }")
        .early("/early");
    Gateway::builder()
        .site(site)
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
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
        let told: String = answer.split_whitespace().collect();
        assert!(told.contains(r#"["early-data","1"]"#), "{answer}");
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
        replay.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = within("the end of a replay", replay.read_to_end(&mut answer)).await;
    }
    assert_eq!(served(&echo, "/early/once"), 1);
}
