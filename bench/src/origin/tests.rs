//! The origin against real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Origin, bytes_of};

fn start() -> Origin {
    Origin::start((Ipv4Addr::LOCALHOST, 0).into(), None).unwrap()
}

/// Sends bytes and reads until the origin closes.
fn exchange(origin: &Origin, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(origin.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn an_unknown_path_or_too_many_bytes_are_not_found() {
    for path in [
        "/",
        "/2k",
        "/bytes/",
        "/bytes/-1",
        "/bytes/x",
        "/bytes/1073741825",
    ] {
        assert_eq!(bytes_of(path), None, "{path}");
    }
    assert_eq!(bytes_of("/bytes/1073741824"), Some(1 << 30));
    let answer = exchange(&start(), b"GET /nothing HTTP/1.1\r\nhost: o\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 404 "));
}

#[test]
fn a_head_without_end_or_without_a_path_ends_the_connection() {
    let origin = start();
    for garbage in [
        "GARBAGE\r\n\r\n",
        "GET /1k HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "GET /1k HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        assert!(
            exchange(&origin, garbage.as_bytes()).is_empty(),
            "{garbage}"
        );
    }
    let mut stream = TcpStream::connect(origin.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let endless = vec![b'a'; 64 * 1024];
    // The origin may close while this is still sent.
    let _ = stream.write_all(&endless);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
}

#[test]
fn requests_in_one_write_are_all_answered_in_order() {
    let request = "GET /bytes/3?x=1 HTTP/1.1\r\nhost: o\r\n\r\n".to_owned()
        + "GET /1k HTTP/1.1\r\nhost: o\r\n\r\n"
        + "GET /nothing HTTP/1.1\r\nhost: o\r\n\r\n";
    let answer = String::from_utf8(exchange(&start(), request.as_bytes())).unwrap();
    let bodies: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies[0].ends_with("content-length: 3\r\n\r\nxxx"));
    assert!(bodies[1].ends_with(&"x".repeat(1024)));
    assert!(bodies[2].starts_with("404"));
}

#[test]
fn bodies_are_skipped_however_they_arrive() {
    let origin = start();
    let mut stream = TcpStream::connect(origin.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let requests =
        "GET /bytes/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\r\n\r\r\n0\r\n\r\n"
            .to_owned()
            + "GET /bytes/2 HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n"
            + "GET /bytes/3 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            + "GET /bytes/4 HTTP/1.1\r\nhost: o\r\n\r\n";
    stream.set_nodelay(true).unwrap();
    for byte in requests.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let bodies: Vec<&str> = answer.split("\r\n\r\n").skip(1).collect();
    let lengths: Vec<usize> = bodies
        .iter()
        .map(|body| body.matches('x').count())
        .collect();
    assert_eq!(lengths, [1, 2, 3, 4], "{answer}");
}

#[test]
fn a_long_answer_arrives_whole() {
    let answer = exchange(&start(), b"GET /10m HTTP/1.1\r\nhost: o\r\n\r\n");
    let head = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert_eq!(answer.len() - head, 10 << 20);
}

#[tokio::test]
async fn http2_without_tls_is_answered_too() {
    let origin = start();
    let stream = tokio::net::TcpStream::connect(origin.address())
        .await
        .unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (path, status, length) in [("/1k", 200, 1024), ("/10m", 200, 10 << 20), ("/x", 404, 0)] {
        let request = Request::get(format!("http://o{path}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), length, "{path}");
    }
}
