//! Upstreams that misbehave: what they do to one request must not reach the next one, nor last for ever.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::{Client, Gateway};

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
