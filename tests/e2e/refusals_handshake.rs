//! Handshakes that come to nothing, and the reason each is known by.

use portcullis_bench::echo::Echo;
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Client, Gateway, Site, within};

/// The beginning of a ClientHello of 0x2000 bytes in records of 0x1000.
const HELLO_BEGINS: [u8; 9] = [22, 3, 1, 0x10, 0, 1, 0, 0x20, 0];

async fn quick_gateway(echo: &Echo) -> Gateway {
    Gateway::builder()
        .extra_toml("[timeouts]\nclient_hello = '200ms'\nhandshake = '400ms'")
        .extra_toml("[limits]\nclient_hello = '4KiB'")
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
}

/// Sends bytes and reads what comes back until the gateway closes.
async fn exchange(gateway: &Gateway, bytes: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let port = stream.local_addr().unwrap().port();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = within("the gateway closes", stream.read_to_end(&mut answer)).await;
    (port, answer)
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // An SSL 2.0 ClientHello.
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80],
        &[0xff; 64],
        // A record with no handshake in it.
        &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
    ] {
        let (port, answer) = exchange(&gateway, bytes).await;
        assert_eq!(
            gateway.refusal_of(port).await["reason"],
            "NOT_TLS",
            "{bytes:?}"
        );
        // An alert or nothing, never HTTP.
        assert!(
            answer.is_empty() || answer[0] == 21,
            "{bytes:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_or_not_enough_is_given_up() {
    let echo = Echo::start().await.unwrap();
    let gateway = quick_gateway(&echo).await;
    for bytes in [&[][..], &[22], &HELLO_BEGINS] {
        let (port, answer) = exchange(&gateway, bytes).await;
        assert!(answer.is_empty());
        let line = gateway.refusal_of(port).await;
        assert_eq!(line["reason"], "CLIENT_HELLO_TIMEOUT", "{bytes:?}");
    }
}

#[tokio::test]
async fn a_client_hello_without_end_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = quick_gateway(&echo).await;
    let mut hello = HELLO_BEGINS.to_vec();
    hello.resize(5 + 0x1000, 0);
    hello.extend([22, 3, 1, 0x0f, 0xff]);
    hello.resize(hello.len() + 0xff0, 0);
    let (port, answer) = exchange(&gateway, &hello).await;
    assert_eq!(
        gateway.refusal_of(port).await["reason"],
        "CLIENT_HELLO_TOO_LARGE"
    );
    assert_eq!(
        answer,
        [21, 3, 3, 0, 2, 2, u8::from(AlertDescription::DecodeError)]
    );
}

#[tokio::test]
async fn a_client_that_stops_after_its_hello_is_given_up() {
    let echo = Echo::start().await.unwrap();
    let gateway = quick_gateway(&echo).await;
    let (port, answer) = exchange(&gateway, &hello()).await;
    assert_eq!(answer[0], 22, "the gateway's flight came");
    assert_eq!(
        gateway.refusal_of(port).await["reason"],
        "HANDSHAKE_TIMEOUT"
    );
}

#[tokio::test]
async fn a_client_that_leaves_is_told_apart_from_one_that_distrusts_us() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .site(Site::new("localhost"))
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let port = stream.local_addr().unwrap().port();
    stream.write_all(&hello()).await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    assert_eq!(gateway.refusal_of(port).await["reason"], "HANDSHAKE_CLOSED");
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let distrustful = client.server_name(Some("localhost"), "other.test");
        let refused = distrustful.get(&gateway, "/").await.unwrap_err();
        assert_eq!(refused.alert, None, "it was the client that refused");
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], "HANDSHAKE_ABORTED", "{line}");
    }
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn garbage_after_the_hello_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    for garbage in [
        // A record type there is none of, an encrypted record that is not, a second hello.
        [&[99, 3, 3, 0, 1, 0][..], &[23, 3, 3, 0, 32], &[7; 32]].concat(),
        [&[23, 3, 3, 0, 32][..], &[7; 32]].concat(),
        hello(),
    ] {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let port = stream.local_addr().unwrap().port();
        stream.write_all(&hello()).await.unwrap();
        // What comes in one piece with the hello is looked at with the next piece, or at the deadline.
        stream.read_u8().await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        assert_eq!(
            gateway.refusal_of(port).await["reason"],
            "HANDSHAKE_PROTOCOL"
        );
    }
    let answer = Client::new().get(&gateway, "/").await.unwrap();
    assert_eq!(answer.status, 200);
}

/// A right ClientHello for `localhost`.
fn hello() -> Vec<u8> {
    Client::new().client_hello()
}
