//! Forged words about who the client is: every header × every spelling × HTTP/1.1 and HTTP/2 × headers and
//! trailers × every mode. The requests the upstream recorded tell.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_bench::echo::Echo;

use crate::harness::{
    Client, Gateway, GatewayBuilder, RawTls, client_ca, client_leaf, status_of, within,
};

const FORGED: &str = "Hash=zz-forged";

/// What only the gateway may say.
const HEADERS: [&str; 12] = [
    "x-forwarded-client-cert",
    "client-cert",
    "client-cert-chain",
    "client-cert-verified",
    "x-client-identity",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
    "x-real-ip",
];

/// What is written, and the mode it makes.
const MODES: [&str; 5] = [
    "[forwarding.xfcc]\nmode = 'set'",
    "[forwarding.xfcc]\nmode = 'sanitize'",
    "[forwarding.xfcc]\nmode = 'append'\ntrusted = 'proxies'",
    "[forwarding.xfcc]\nmode = 'forward'\ntrusted = 'proxies'",
    "[forwarding.jwt]\nkey = 'file:p256.key'",
];

fn gateway(echo: &Echo, mode: &str) -> GatewayBuilder {
    let identity = match mode.contains("jwt") {
        true => "identity = ['xfcc', 'client-cert', 'client-cert-chain', 'jwt']",
        false => "identity = ['xfcc', 'client-cert', 'client-cert-chain']",
    };
    Gateway::builder()
        .client_cert("accept", client_ca())
        .upstream_at("echo", &echo.url(), identity)
        .allow("anyone")
        .role("name = 'proxies'\nspiffe = 'spiffe://test.portcullis/proxy'")
        .extra_toml(mode)
}

/// The spellings of a name that some stack would read as the name.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![
        name.to_owned(),
        name.to_uppercase(),
        name.replace('-', "_"),
        name.replacen('-', "_", 1),
        name.replace('-', "."),
        name.to_uppercase().replace('-', "_"),
    ];
    all.sort_unstable();
    all.dedup();
    all
}

/// The forgeries that count in a mode: without a signing key nobody reads `x-client-identity`.
fn forgeries(mode: &str) -> impl Iterator<Item = (&'static str, String)> {
    let signed = mode.contains("jwt");
    let claims = HEADERS
        .into_iter()
        .filter(move |name| signed || *name != "x-client-identity");
    claims.flat_map(|name| {
        spellings(name)
            .into_iter()
            .map(move |spelled| (name, spelled))
    })
}

fn clients() -> [Client; 2] {
    [
        Client::new(),
        Client::new().certificate(&client_leaf("orders")),
    ]
}

/// Nothing of it arrived, under whatever name, and what the gateway says is there once.
fn assert_clean(seen: &HeaderMap, what: &str) {
    assert!(
        !format!("{seen:?}").contains("zz-forged"),
        "{what}: {seen:?}"
    );
    for name in HEADERS {
        assert!(seen.get_all(name).iter().count() <= 1, "{what}: {name}");
    }
    let odd = seen
        .keys()
        .filter(|name| name.as_str().contains(['_', '.']));
    assert_eq!(odd.count(), 0, "{what}: {seen:?}");
}

#[tokio::test]
async fn no_forged_header_over_http1_reaches_the_upstream() {
    for mode in MODES {
        let echo = Echo::start().await.unwrap();
        let gateway = gateway(&echo, mode).spawn().await;
        for client in clients() {
            let mut raw = RawTls::connect(&client, gateway.address()).await.unwrap();
            for (name, spelled) in forgeries(mode) {
                for fields in [
                    format!("{spelled}: {FORGED}\r\n"),
                    format!("{spelled}: {FORGED}\r\nX-Kept: 1\r\n{spelled}: zz-forged\r\n"),
                    format!("{name}: {FORGED}\r\n{spelled}: zz-forged\r\n"),
                    format!("{spelled}: {FORGED}\r\nConnection: {spelled}\r\n"),
                    format!("Connection: x-other, {name}\r\n{spelled}: {FORGED}\r\n"),
                ] {
                    let head =
                        format!("GET /status/204 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
                    raw.write(head).await.unwrap();
                    let answer = raw.read_until("\r\n\r\n").await.unwrap();
                    assert_eq!(status_of(&answer), Some(204), "{fields}: {answer}");
                    let seen = echo.record().requests().pop().unwrap();
                    assert_clean(&seen.headers, &format!("{mode}: {fields}"));
                    assert_eq!(
                        seen.headers.contains_key("x-kept"),
                        fields.contains("X-Kept")
                    );
                    echo.record().clear();
                }
            }
        }
    }
}

/// An HTTP/2 connection that can send anything.
pub(crate) type Http2 = SendRequest<BoxBody<Bytes, Infallible>>;

pub(crate) async fn http2(client: &Client, gateway: &Gateway) -> Http2 {
    let raw = RawTls::connect(&client.clone().h2(), gateway.address())
        .await
        .unwrap();
    let io = TokioIo::new(raw.into_stream());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn no_forged_header_over_http2_reaches_the_upstream() {
    for mode in MODES {
        let echo = Echo::start().await.unwrap();
        let gateway = gateway(&echo, mode).spawn().await;
        for client in clients() {
            let mut sender = http2(&client, &gateway).await;
            for (name, spelled) in forgeries(mode) {
                let spelled = spelled.to_lowercase();
                for more in [None, Some(spelled.as_str()), Some(name)] {
                    let mut request = Request::builder().uri("https://localhost/status/204");
                    request = request.header(&spelled, FORGED).header("x-kept", "1");
                    if let Some(more) = more {
                        request = request.header(more, "zz-forged");
                    }
                    let request = request.body(Empty::new().boxed()).unwrap();
                    let answer = within("an answer", sender.send_request(request)).await;
                    assert_eq!(answer.unwrap().status(), 204, "{spelled}");
                    let seen = echo.record().requests().pop().unwrap();
                    assert_clean(&seen.headers, &format!("{mode}: {spelled}, {more:?}"));
                    assert!(seen.headers.contains_key("x-kept"));
                    echo.record().clear();
                }
            }
        }
    }
}

/// A body of unknown length: only such a one can have trailers on its way over HTTP/1.1.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// What the gateway wrote to its upstreams.
fn written(echo: &Echo) -> String {
    let raw = echo.record().raw().concat();
    String::from_utf8_lossy(&raw).into_owned()
}

#[tokio::test]
async fn no_forged_trailer_over_http1_reaches_the_upstream() {
    for mode in MODES {
        let echo = Echo::start().await.unwrap();
        let gateway = gateway(&echo, mode).spawn().await;
        for client in clients() {
            for (_, spelled) in forgeries(mode) {
                let mut raw = RawTls::connect(&client, gateway.address()).await.unwrap();
                let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                    Connection: close\r\nTE: trailers\r\n\r\n";
                let trailers =
                    format!("X-Kept: 1\r\n{spelled}: {FORGED}\r\n{spelled}: zz-forged\r\n");
                let answer = raw
                    .exchange(format!("{head}1\r\na\r\n0\r\n{trailers}\r\n"))
                    .await;
                let answer = answer.unwrap();
                assert_eq!(status_of(&answer), Some(200), "{spelled}: {answer}");
                let written = written(&echo).to_lowercase();
                assert!(written.contains("x-kept: 1"), "{written}");
                assert!(
                    !written.contains("zz-forged"),
                    "{mode}: {spelled}: {written}"
                );
                echo.record().clear();
            }
        }
    }
}

#[tokio::test]
async fn no_forged_trailer_over_http2_reaches_the_upstream() {
    for mode in MODES {
        let echo = Echo::start().await.unwrap();
        let gateway = gateway(&echo, mode).spawn().await;
        for client in clients() {
            let mut sender = http2(&client, &gateway).await;
            for (_, spelled) in forgeries(mode) {
                let mut trailers = HeaderMap::new();
                let name: HeaderName = spelled.to_lowercase().parse().unwrap();
                trailers.append(&name, HeaderValue::from_static(FORGED));
                trailers.append(&name, HeaderValue::from_static("zz-forged"));
                trailers.append("x-kept", HeaderValue::from_static("1"));
                let data = Frame::data(Bytes::from_static(b"a"));
                let body = Frames([data, Frame::trailers(trailers)].into());
                let request = Request::builder()
                    .method(Method::POST)
                    .uri("https://localhost/");
                let request = request.body(body.boxed()).unwrap();
                let answer = within("an answer", sender.send_request(request))
                    .await
                    .unwrap();
                assert_eq!(answer.status(), 200, "{spelled}");
                within("the end", answer.into_body().collect())
                    .await
                    .unwrap();
                let written = written(&echo).to_lowercase();
                assert!(written.contains("x-kept: 1"), "{written}");
                assert!(
                    !written.contains("zz-forged"),
                    "{mode}: {spelled}: {written}"
                );
                echo.record().clear();
            }
        }
    }
}
