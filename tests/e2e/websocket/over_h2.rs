//! WebSockets in streams of HTTP/2 (RFC 8441), to services that speak HTTP/1.1.

use bytes::Bytes as Body;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{SWITCH, before, echo_service, scripted};
use crate::harness::{Client, Connection, Gateway, client_ca, client_leaf, within};

/// A connection that has seen what the gateway can do.
async fn connection(client: &Client, gateway: &Gateway) -> Connection {
    let mut connection = client.connect(gateway.address()).await.unwrap();
    // Any answer: SETTINGS came before it.
    connection.request(Method::HEAD, "/").await.unwrap();
    connection
}

/// An extended CONNECT for `protocol`; a plain one without.
async fn ask(connection: &mut Connection, protocol: Option<&'static str>) -> Response<Incoming> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("https://localhost/chat")
        .header("sec-websocket-version", "13");
    if let Some(protocol) = protocol {
        request = request.extension(Protocol::from_static(protocol));
    }
    let request = request.body(Full::<Body>::default()).unwrap();
    connection.begin(request).await.unwrap()
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn open(connection: &mut Connection) -> Socket {
    let response = ask(connection, Some("websocket")).await;
    assert_eq!(response.status(), StatusCode::OK);
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let stream = hyper::upgrade::on(response);
    let stream = within("the stream", stream).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, None).await
}

async fn exchange(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    let echo = within("the echo", socket.next()).await.unwrap();
    assert_eq!(echo.unwrap(), message);
}

async fn has_ended(socket: &mut Socket) {
    let ended = within("the end", socket.next()).await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
}

#[tokio::test]
async fn a_connect_for_anything_else_is_refused() {
    let (service, mut heads) = scripted(SWITCH).await;
    let gateway = before(service).spawn().await;
    let mut client = Client::new().h2().connect(gateway.address()).await.unwrap();
    client.request(Method::POST, "/%2f").await.unwrap();
    for protocol in [Some("connect-udp"), Some("WebSocket")] {
        let answer = ask(&mut client, protocol).await;
        assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{protocol:?}");
    }
    gateway.wait_for_refusal("METHOD_NOT_SUPPORTED").await;
    assert!(heads.try_recv().is_err());
}

#[tokio::test]
async fn a_service_that_does_not_switch_is_no_success() {
    for (answer, status) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 404),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 502),
        // It does not know our key.
        (SWITCH, 502),
    ] {
        let (service, _heads) = scripted(answer).await;
        let gateway = before(service).spawn().await;
        let mut client = Client::new().h2().connect(gateway.address()).await.unwrap();
        client.request(Method::POST, "/%2f").await.unwrap();
        let said = ask(&mut client, Some("websocket")).await;
        assert_eq!(said.status(), status, "{answer}");
    }
}

#[tokio::test]
async fn who_is_not_allowed_gets_no_websocket_over_h2() {
    let (service, mut heads) = scripted(SWITCH).await;
    let gateway = Gateway::builder()
        .upstream_at("echo", &format!("http://{service}"), "")
        // The rule of the GET that it is over HTTP/1.1.
        .rule("roles = ['anyone']\nmethods = ['POST']")
        .spawn()
        .await;
    let mut client = connection(&Client::new().h2(), &gateway).await;
    let answer = ask(&mut client, Some("websocket")).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(heads.try_recv().is_err());
}

#[tokio::test]
async fn a_websocket_over_h2_without_a_byte_either_way_ends() {
    let service = echo_service().await;
    let gateway = before(service)
        .extra_toml("[timeouts]\ntunnel = '300ms'")
        .spawn()
        .await;
    let mut client = connection(&Client::new().h2(), &gateway).await;
    let mut socket = open(&mut client).await;
    has_ended(&mut socket).await;
    gateway.wait_for_refusal("TUNNEL_IDLE").await;
    // The connection goes on.
    let other = open(&mut client).await;
    drop(other);
}

#[tokio::test]
async fn a_websocket_over_h2_ends_when_a_reload_takes_its_rule_away() {
    let service = echo_service().await;
    let gateway = before(service).spawn().await;
    let mut client = connection(&Client::new().h2(), &gateway).await;
    let mut socket = open(&mut client).await;
    exchange(&mut socket, Message::text("before")).await;
    gateway.rewrite_config(|text| text.replace("[[rule]]", "[[rule]]\npaths = ['/other']"));
    gateway.reload().await.unwrap();
    has_ended(&mut socket).await;
    gateway.wait_for_refusal("NOT_AUTHORIZED").await;
}

#[tokio::test]
async fn a_websocket_over_h2_ends_with_the_client_that_is_denied() {
    let service = echo_service().await;
    let gateway = before(service)
        .client_cert("require", client_ca())
        .extra_toml("[timeouts]\nrevoked = '200ms'")
        .spawn()
        .await;
    let leaf = client_leaf("orders");
    let mut client = connection(&Client::new().h2().certificate(&leaf), &gateway).await;
    let mut socket = open(&mut client).await;
    exchange(&mut socket, Message::text("before")).await;
    let spiffe = "spiffe://test.portcullis/orders";
    gateway.rewrite_config(|text| format!("{text}\n[deny]\nspiffe = ['{spiffe}']\n"));
    gateway.reload().await.unwrap();
    has_ended(&mut socket).await;
    gateway.wait_for_refusal("CLIENT_CERT_DENIED").await;
}

#[tokio::test]
async fn ten_thousand_messages_go_over_h2_beside_others() {
    let service = echo_service().await;
    let gateway = before(service).spawn().await;
    let mut client = connection(&Client::new().h2(), &gateway).await;
    let mut socket = open(&mut client).await;
    let mut beside = open(&mut client).await;
    for number in 0..10_000_u32 {
        let bytes: Vec<u8> = number.to_be_bytes().repeat(1 + number as usize % 97);
        exchange(&mut socket, Message::Binary(Bytes::from(bytes))).await;
        if number.is_multiple_of(1000) {
            exchange(&mut beside, Message::text("beside")).await;
        }
    }
    // One that fills every buffer and window on the way.
    let large = Message::Binary(Bytes::from(vec![7; 8 << 20]));
    exchange(&mut socket, large).await;
    socket.close(None).await.unwrap();
    while within("the close", socket.next()).await.is_some() {}
    drop(socket);
    let line = gateway
        .wait_for_access(|line| line["url.path"] == "/chat")
        .await;
    assert_eq!(line["http.response.status_code"], 200, "{line}");
    assert_eq!(line["network.protocol.version"], "2", "{line}");
    exchange(&mut beside, Message::text("still there")).await;
}
