//! The echo upstream answers as its table says, over both versions on one port.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

type Body = BoxBody<Bytes, std::convert::Infallible>;

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let uri = format!("http://echo.test{path}");
    let request = Request::builder().method(method).uri(uri);
    request
        .header("te", "trailers")
        .header("X-Twice", "1")
        .body(body)
        .unwrap()
}

fn empty() -> Body {
    Empty::new().boxed()
}

/// Sends one request over HTTP/1.1 or HTTP/2.
async fn send(echo: &Echo, version: Version, request: Request<Body>) -> Response<Incoming> {
    let stream = TokioIo::new(TcpStream::connect(echo.address()).await.unwrap());
    if version == Version::HTTP_2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (mut client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        return client.send_request(request).await.unwrap();
    }
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.send_request(request).await.unwrap()
}

async fn read(response: Response<Incoming>) -> (Bytes, Option<HeaderMap>) {
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    (collected.to_bytes(), trailers)
}

#[tokio::test]
async fn a_get_is_described_over_both_versions() {
    let echo = Echo::start().await.unwrap();
    for (version, name) in [
        (Version::HTTP_11, "HTTP/1.1"),
        (Version::HTTP_2, "HTTP/2.0"),
    ] {
        let sent = request(Method::GET, "/a/b?c=d", empty());
        let (text, _) = read(send(&echo, version, sent).await).await;
        let said: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(said["method"], "GET");
        assert_eq!(said["path"], "/a/b?c=d");
        assert_eq!(said["version"], name);
        let headers = said["headers"].as_array().unwrap();
        assert!(
            headers.contains(&serde_json::json!(["x-twice", "1"])),
            "{text:?}"
        );
    }
    assert_eq!(
        (
            echo.record().request_count(),
            echo.record().connection_count()
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn a_post_comes_back_with_its_trailers() {
    let echo = Echo::start().await.unwrap();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
        let body = Full::new(Bytes::from_static(b"hello"));
        let body = body.with_trailers(async { Some(Ok(trailers)) }).boxed();
        let mut sent = request(Method::POST, "/anything", body);
        sent.headers_mut()
            .insert("trailer", "x-sum".parse().unwrap());
        if version == Version::HTTP_11 {
            let chunked = "chunked".parse().unwrap();
            sent.headers_mut().insert("transfer-encoding", chunked);
        }
        let (text, trailers) = read(send(&echo, version, sent).await).await;
        assert_eq!(text, "hello");
        assert_eq!(trailers.unwrap()["x-sum"], "42", "{version:?}");
    }
}

#[tokio::test]
async fn the_special_paths_do_what_they_are_named_for() {
    let echo = Echo::start().await.unwrap();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let get =
            async |path: &str| send(&echo, version, request(Method::GET, path, empty())).await;
        assert_eq!(
            get("/status/503").await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(get("/status/101").await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(get("/bytes/x").await.status(), StatusCode::BAD_REQUEST);
        let many = get("/bytes/100000").await;
        assert_eq!(many.headers()["content-length"], "100000");
        assert_eq!(read(many).await.0.len(), 100_000);
        let (_, trailers) = read(get("/trailers").await).await;
        assert_eq!(trailers.unwrap()["x-echo-trailer"], "end", "{version:?}");
        let began = std::time::Instant::now();
        assert_eq!(get("/slow/30").await.status(), StatusCode::OK);
        assert!(began.elapsed() >= Duration::from_millis(30));
    }
}

#[tokio::test]
async fn an_upload_is_counted_and_hashed() {
    let echo = Echo::start().await.unwrap();
    let body = Full::new(Bytes::from_static(b"abc")).boxed();
    let sent = request(Method::PUT, "/upload", body);
    let (text, _) = read(send(&echo, Version::HTTP_11, sent).await).await;
    let said: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(said["bytes"], 3);
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(said["sha256"], hash);
}

#[tokio::test]
async fn the_record_has_the_very_bytes() {
    let echo = Echo::start().await.unwrap();
    let raw = b"GET /x HTTP/1.1\r\nhOsT: a\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(echo.address()).await.unwrap();
    stream.write_all(raw).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(echo.record().raw(), [raw.to_vec()]);
    assert_eq!(echo.record().requests()[0].uri.path(), "/x");
    echo.record().clear();
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn a_dropped_echo_is_gone() {
    let echo = Echo::start().await.unwrap();
    let address = echo.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    drop(echo);
    // The end of the accept task closes both, at the latest when the runtime next runs it.
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(address).await.is_err());
}
