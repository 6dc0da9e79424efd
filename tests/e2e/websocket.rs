//! WebSockets over HTTP/1.1: who gets one, what goes through it, and when it ends. Over HTTP/2: the file below.

mod over_h2;

use std::fs;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{Client, Gateway, GatewayBuilder, RawTls, within};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

/// A WebSocket service that sends everything back.
async fn echo_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// A service that answers each first request with `answer`, whatever it asks, and hands the head over.
async fn scripted(
    answer: &'static str,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = tcp.read_u8().await else { break };
                head.push(byte);
            }
            let _ = heads.send(String::from_utf8_lossy(&head).into_owned());
            let _ = tcp.write_all(answer.as_bytes()).await;
            tokio::spawn(async move {
                let mut rest = Vec::new();
                let _ = tcp.read_to_end(&mut rest).await;
            });
        }
    });
    (address, seen)
}

fn before(service: SocketAddr) -> GatewayBuilder {
    Gateway::builder()
        .upstream_at("echo", &format!("http://{service}"), "")
        .allow("anyone")
}

async fn raw(gateway: &Gateway) -> RawTls {
    RawTls::connect(&Client::new().tls13(), gateway.address())
        .await
        .unwrap()
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn connect(gateway: &Gateway) -> Socket {
    let stream = raw(gateway).await.into_stream();
    let (socket, response) = within("the handshake", client_async("ws://localhost/chat", stream))
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    socket
}

#[tokio::test]
async fn an_upgrade_to_anything_else_never_reaches_the_service() {
    let (service, mut heads) = scripted("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = before(service).spawn().await;
    let asks = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings, close\r\n\
                upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = raw(&gateway).await.exchange(asks).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(
        !head.contains("upgrade") && !head.contains("http2-settings"),
        "{head}"
    );
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_an_error_of_the_service() {
    let (service, _heads) = scripted(SWITCH).await;
    let gateway = before(service).spawn().await;
    let asks = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = raw(&gateway).await.exchange(asks).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    gateway.wait_for_refusal("UPSTREAM_PROTOCOL").await;
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_was_asked_for_is_an_error_of_the_service() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let (service, _heads) = scripted(other).await;
    let gateway = before(service).spawn().await;
    let mut client = raw(&gateway).await;
    client.write(format!("{ASK}\r\n")).await.unwrap();
    let head = client.read_until("\r\n\r\n").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

#[tokio::test]
async fn who_is_not_allowed_gets_no_websocket() {
    let (service, mut heads) = scripted(SWITCH).await;
    let gateway = Gateway::builder()
        .upstream_at("echo", &format!("http://{service}"), "")
        .rule("roles = ['anyone']\npaths = ['/other']")
        .spawn()
        .await;
    let mut client = raw(&gateway).await;
    client.write(format!("{ASK}\r\n")).await.unwrap();
    let head = client.read_until("\r\n\r\n").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert!(heads.try_recv().is_err());
}

#[tokio::test]
async fn a_service_that_says_no_is_heard_and_the_connection_goes_on() {
    let (service, mut heads) =
        scripted("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let gateway = before(service).spawn().await;
    let mut client = raw(&gateway).await;
    for _ in 0..2 {
        client.write(format!("{ASK}\r\n")).await.unwrap();
        let head = client.read_until("\r\n\r\n").await.unwrap();
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
    let head = heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
}

#[tokio::test]
async fn what_the_service_sends_along_with_its_switch_arrives() {
    let (service, _heads) = scripted(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\u{1}early",
    )
    .await;
    let gateway = before(service).spawn().await;
    let mut client = raw(&gateway).await;
    client.write(format!("{ASK}\r\n")).await.unwrap();
    let head = client.read_until("\u{1}early").await.unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n\u{1}early"),
        "{head}"
    );
}

#[tokio::test]
async fn a_websocket_without_a_byte_either_way_ends() {
    let service = echo_service().await;
    let gateway = before(service)
        .extra_toml("[timeouts]\ntunnel = '300ms'")
        .spawn()
        .await;
    let mut socket = connect(&gateway).await;
    let ended = within("the end", socket.next()).await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
    gateway.wait_for_refusal("TUNNEL_IDLE").await;
}

#[tokio::test]
async fn a_websocket_ends_when_a_reload_takes_its_rule_away() {
    let service = echo_service().await;
    let gateway = before(service).spawn().await;
    let mut socket = connect(&gateway).await;
    let file = gateway.folder().join("portcullis.toml");
    let config = fs::read_to_string(&file).unwrap();
    let stricter = config.replace("[[rule]]", "[[rule]]\npaths = ['/other']");
    assert_ne!(config, stricter);
    fs::write(&file, stricter).unwrap();
    gateway.reload().await.unwrap();
    let ended = within("the end", socket.next()).await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
    gateway.wait_for_refusal("NOT_AUTHORIZED").await;
}

#[tokio::test]
async fn ten_thousand_messages_come_back_as_they_went() {
    let service = echo_service().await;
    let gateway = before(service).spawn().await;
    let mut socket = connect(&gateway).await;
    for number in 0..10_000_u32 {
        let bytes: Vec<u8> = number.to_be_bytes().repeat(1 + number as usize % 97);
        let message = Message::Binary(Bytes::from(bytes));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(
            within("the echo", socket.next()).await.unwrap().unwrap(),
            message
        );
    }
    // One that fills every buffer on the way.
    let large = Message::Binary(Bytes::from(vec![7; 8 << 20]));
    socket.send(large.clone()).await.unwrap();
    assert_eq!(
        within("the echo", socket.next()).await.unwrap().unwrap(),
        large
    );
    socket.close(None).await.unwrap();
    while within("the close", socket.next()).await.is_some() {}
    drop(socket);
    let line = gateway
        .wait_for_access(|line| line["http.response.status_code"] == 101)
        .await;
    assert_eq!(
        (&line["complete"], &line["url.path"]),
        (&true.into(), &"/chat".into())
    );
    assert!(
        line["http.response.body.size"].as_u64().unwrap() > 8 << 20,
        "{line}"
    );
}
