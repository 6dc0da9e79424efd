//! Upstreams that misbehave: what they do to one request must not reach the next one, nor last for ever.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Client, DEADLINE, Gateway, RawTls};

const CHUNKED_UPLOAD: &str =
    "POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An upstream that follows a script, one task for each connection. It ends when this is dropped.
struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    listener: JoinHandle<()>,
}

impl Scripted {
    async fn start<F>(script: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let listener = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(script(stream)); // A gateway that hangs up is no failure here.
            }
        });
        Self {
            address,
            connections,
            listener,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn gateway(&self, toml: &str) -> Gateway {
        let url = format!("http://{}", self.address);
        let gateway = Gateway::builder().upstream_at("echo", &url, toml);
        gateway.allow("anyone").spawn().await
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Reads a request head; empty at the end of the stream.
async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(String::new());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Answers every request of a connection with these bytes.
async fn answer_all(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    while !head(&mut stream).await?.is_empty() {
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// A gateway in front of an echo upstream that is spoken to in this protocol.
async fn echo_over(protocol: &str, echo: &Echo, toml: &str) -> Gateway {
    Gateway::builder()
        .upstream_at(
            "echo",
            &echo.url(),
            &format!("protocol = '{protocol}'\n{toml}"),
        )
        .extra_toml("[limits]\nbody = '1MiB'")
        .allow("anyone")
        .spawn()
        .await
}

#[tokio::test]
async fn a_body_that_was_announced_but_not_sent_ends_the_upstream_connection() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let upstream = Scripted::start(move |mut stream| {
        let heads = Arc::clone(&heads);
        async move {
            loop {
                let head = head(&mut stream).await?;
                if head.is_empty() {
                    return Ok(());
                }
                let status = if head.starts_with("POST") { 401 } else { 200 };
                heads.lock().unwrap().push(head);
                let answer = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: 2\r\n\r\nok");
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    })
    .await;
    let gateway = upstream.gateway("").await;
    // One connection of an HTTP/2 client stays with one worker, and so with one pool.
    let client = Client::new().h2();
    let mut client = client.connect(gateway.address()).await.unwrap();
    let body = Bytes::from_static(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
    let post = Request::post("/")
        .header("expect", "100-continue")
        .header("content-length", body.len())
        .body(Full::new(body))
        .unwrap();
    assert_eq!(client.send(post).await.unwrap().status, 401);
    assert_eq!(upstream.connections(), 1);
    assert_eq!(client.get("/next").await.unwrap().status, 200);
    assert_eq!(upstream.connections(), 2);
    assert_eq!(client.get("/reused").await.unwrap().status, 200);
    assert_eq!(upstream.connections(), 2);
    let heads = seen.lock().unwrap();
    assert!(heads[0].contains("content-length: 35"), "{heads:?}");
    assert!(!heads.concat().contains("smuggled"), "{heads:?}");
}

#[tokio::test]
async fn an_upstream_that_stops_reading_is_given_up() {
    let upstream = Scripted::start(|stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    for protocol in ["http1", "h2"] {
        let timeouts = format!(
            "protocol = '{protocol}'\nbody_timeout = '300ms'\nresponse_timeout = '300ms'\n"
        );
        let gateway = upstream.gateway(&timeouts).await;
        let client = Client::new().h2();
        let mut client = client.connect(gateway.address()).await.unwrap();
        // More than all the sockets on the way can hold.
        let body = Full::new(Bytes::from(vec![0; 32 << 20]));
        let answer = client.send(Request::post("/").body(body).unwrap()).await;
        assert_eq!(
            answer.unwrap().status,
            StatusCode::GATEWAY_TIMEOUT,
            "{protocol}"
        );
        gateway.wait_for_refusal("UPSTREAM_TIMEOUT").await;
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_the_clients_fault_over_every_protocol() {
    let echo = Echo::start().await.unwrap();
    for protocol in ["http1", "h2"] {
        let gateway = echo_over(protocol, &echo, "").await;
        let mut client = RawTls::connect(&Client::new(), gateway.address())
            .await
            .unwrap();
        let chunk = format!("80000\r\n{}\r\n", "x".repeat(0x80000));
        client
            .write(format!("{CHUNKED_UPLOAD}{chunk}{chunk}{chunk}"))
            .await
            .unwrap();
        let answer = client.read_until("\r\n\r\n").await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 413 "),
            "{protocol}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn the_response_timeout_does_not_count_a_slow_upload() {
    let echo = Echo::start().await.unwrap();
    for protocol in ["http1", "h2"] {
        let gateway = echo_over(protocol, &echo, "response_timeout = '1s'").await;
        let mut client = RawTls::connect(&Client::new(), gateway.address())
            .await
            .unwrap();
        client.write(CHUNKED_UPLOAD).await.unwrap();
        for _ in 0..3 {
            sleep(Duration::from_millis(500)).await; // The client's slowness is what is tested.
            client.write("1\r\nx\r\n").await.unwrap();
        }
        client.write("0\r\n\r\n").await.unwrap();
        let answer = client.read_until("}\n").await.unwrap();
        assert!(answer.contains("\"bytes\": 3"), "{protocol}: {answer:?}");
        let slow = "GET /slow/10000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write(slow).await.unwrap();
        let answer = client.read_until("\r\n\r\n").await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 504 "),
            "{protocol}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn clients_that_read_nothing_do_not_hold_up_the_streams_of_others() {
    let echo = Echo::start().await.unwrap();
    let gateway = echo_over("h2", &echo, "").await;
    let request = "GET /bytes/50000000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stalled = Vec::new();
    // Enough for both workers' connections to the upstream.
    for _ in 0..24 {
        let mut client = RawTls::connect(&Client::new(), gateway.address())
            .await
            .unwrap();
        client.write(request).await.unwrap();
        client.read_until("\r\n\r\n").await.unwrap();
        stalled.push(client);
    }
    for _ in 0..40 {
        let client = Client::new().h2();
        let mut client = client.connect(gateway.address()).await.unwrap();
        let answer = client.get("/bytes/100000").await.unwrap();
        assert_eq!(answer.body.len(), 100_000);
    }
}

#[tokio::test]
async fn a_silent_endpoint_leaves_time_for_the_next_one() {
    let echo = Echo::start().await.unwrap();
    let (silent, _waiting) = silent_endpoint().await;
    let endpoints = format!(
        "[upstream.echo]\nendpoints = ['http://{silent}', '{}']\nconnect_timeout = '1s'\n",
        echo.url()
    );
    let gateway = Gateway::builder().extra_toml(&endpoints);
    let gateway = gateway.allow("anyone").spawn().await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
}

/// A listener whose queue is full: Linux drops what comes then.
async fn silent_endpoint() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let end = Instant::now() + DEADLINE;
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        assert!(Instant::now() < end, "the queue never fills");
        waiting.push(connected.unwrap());
    }
    (address, (listener, waiting))
}

#[tokio::test]
async fn an_answer_with_trailers_gives_its_connection_back() {
    let answer =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
    let upstream = Scripted::start(move |stream| answer_all(stream, answer)).await;
    let gateway = upstream.gateway("").await;
    let client = Client::new().h2();
    let mut client = client.connect(gateway.address()).await.unwrap();
    for _ in 0..3 {
        let get = Request::get("/").header("te", "trailers");
        let answer = client.send(get.body(Full::default()).unwrap()).await;
        assert_eq!(answer.unwrap().body, "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn interim_answers_without_end_are_an_error() {
    for (count, status) in [(16, 200), (17, 502)] {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(count);
        let answer: &str = (interim + "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").leak();
        let upstream = Scripted::start(move |stream| answer_all(stream, answer)).await;
        let gateway = upstream.gateway("").await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        assert_eq!(client.get("/").await.unwrap().status, status, "{count}");
    }
}

#[tokio::test]
async fn te_is_named_in_connection_towards_http1() {
    let echo = Echo::start().await.unwrap();
    for (protocol, connection) in [("http1", vec!["te"]), ("h2", vec![])] {
        let gateway = echo_over(protocol, &echo, "").await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        let get = Request::get("/")
            .header("te", "trailers")
            .header("connection", "te");
        let answer = client.send(get.body(Full::default()).unwrap()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.upstream_saw("te"), ["trailers"], "{protocol}");
        assert_eq!(answer.upstream_saw("connection"), connection, "{protocol}");
    }
}
