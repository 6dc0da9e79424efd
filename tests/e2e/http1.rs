//! HTTP/1.1 as clients speak it: strict framing, bodies, Expect, trailers, keep-alive.

use portcullis_bench::echo::Echo;

use crate::harness::{Client, Gateway, RawTls};

const HOST: &str = "Host: localhost\r\n";

async fn raw(gateway: &Gateway) -> RawTls {
    RawTls::connect(&Client::new().tls13(), gateway.address())
        .await
        .unwrap()
}

#[tokio::test]
async fn requests_with_two_readings_are_refused_and_the_connection_closed() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\nHost: localhost\n\n", 400),
        ("GET http://other/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    ] {
        let answer = raw(&gateway)
            .await
            .exchange(format!("{request}{smuggled}"))
            .await
            .unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {answer:?}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1").count(),
            1,
            "{request:?}: {answer:?}"
        );
    }
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn connect_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let connect =
        "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nConnection: close\r\n\r\n";
    let answer = raw(&gateway).await.exchange(connect).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn a_bad_chunk_ends_both_connections_without_a_second_request() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let head = format!("POST /upload HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n");
    for chunk in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\n",
        "3\r\nabcd\r\n",
    ] {
        let answer = raw(&gateway)
            .await
            .exchange(format!("{head}{chunk}"))
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer:?}");
    }
    for connection in echo.record().raw() {
        let text = String::from_utf8_lossy(&connection).into_owned();
        assert!(
            !text.ends_with("0\r\n\r\n"),
            "a broken body was completed: {text}"
        );
    }
}

#[tokio::test]
async fn too_large_heads_are_refused_with_their_own_status() {
    let echo = Echo::start().await.unwrap();
    let limits = "[limits]\nheader_bytes = '4KiB'\nheaders = 20\ntarget = '1KiB'\nbody = '1KiB'\n";
    let gateway = Gateway::builder()
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(limits)
        .spawn()
        .await;
    let many = "X: y\r\n".repeat(30);
    let long = "a".repeat(2000);
    let huge = "a".repeat(5000);
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\n{HOST}\r\n"), 414),
        (format!("GET / HTTP/1.1\r\n{HOST}{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{HOST}X: {huge}\r\n\r\n"), 431),
        (
            format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 2000\r\n\r\n"),
            413,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n7d0\r\n{long}\r\n0\r\n\r\n"
            ),
            413,
        ),
    ] {
        let answer = raw(&gateway).await.exchange(&request).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_given_up() {
    let echo = Echo::start().await.unwrap();
    let timeouts = "[timeouts]\nheader = '200ms'\nbody = '200ms'\nidle = '300ms'\n";
    let gateway = Gateway::builder()
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(timeouts)
        .spawn()
        .await;
    let answer = raw(&gateway).await.exchange("GET / HT").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    let head = format!("POST /upload HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nabc");
    let answer = raw(&gateway).await.exchange(head).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    assert_eq!(
        raw(&gateway).await.exchange("").await.unwrap(),
        "",
        "an idle client is let go in peace"
    );
}

#[tokio::test]
async fn expect_continue_is_answered_when_the_upstream_wants_the_body() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut client = raw(&gateway).await;
    let head =
        format!("POST /upload HTTP/1.1\r\n{HOST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client.write(head).await.unwrap();
    assert_eq!(
        client.read_until("\r\n\r\n").await.unwrap(),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write("hello").await.unwrap();
    let answer = client.read_until("}").await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"bytes\": 5"),
        "{answer}"
    );
    let other = format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nExpect: miracles\r\n\r\n");
    let answer = client.exchange(other).await.unwrap();
    assert!(answer.trim_start().starts_with("HTTP/1.1 417 "), "{answer}");
}

#[tokio::test]
async fn a_refused_upload_is_answered_without_a_continue() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder().upstream(&echo).spawn().await;
    let head =
        format!("POST /x HTTP/1.1\r\n{HOST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = raw(&gateway).await.exchange(head).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways_and_pipelined_requests_keep_their_order() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut client = raw(&gateway).await;
    let chunked = format!(
        "POST /echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n2;q=1\r\nde\r\n0\r\nx-sum: 5\r\nx-forwarded-client-cert: forged\r\n\r\n"
    );
    client.write(chunked).await.unwrap();
    let answer = client.read_until("0\r\nx-sum: 5\r\n\r\n").await.unwrap();
    assert!(answer.contains("abc") && answer.contains("de"), "{answer}");
    assert!(!answer.contains("forged"), "{answer}");
    let two = format!(
        "HEAD /first HTTP/1.1\r\n{HOST}\r\nGET /trailers HTTP/1.1\r\n{HOST}Connection: close\r\nTE: trailers\r\n\r\n"
    );
    let answer = client.exchange(two).await.unwrap();
    let (first, second) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        first.contains("content-length: ") && second.starts_with("HTTP/1.1 200 OK"),
        "{answer}"
    );
    assert!(second.ends_with("x-echo-trailer: end\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn http_1_0_clients_are_served_and_closed() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let answer = raw(&gateway)
        .await
        .exchange(format!("GET /bytes/100000 HTTP/1.0\r\n{HOST}\r\n"))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        !head.contains("chunked") && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(body.len(), 100_000);
}

#[tokio::test]
async fn a_dead_pooled_connection_is_replaced_and_a_dead_upstream_is_a_502() {
    let echo = Echo::start().await.unwrap();
    let address = echo.address();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
    drop(echo);
    let dead = client.get("/").await.unwrap();
    assert_eq!(dead.status, 502);
    assert!(dead.body.is_empty(), "a refusal tells nothing");
    gateway.wait_for_refusal("UPSTREAM_CONNECT").await;
    let _echo = Echo::start_on(address).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
}
