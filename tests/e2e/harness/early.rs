//! Clients that send early data, and somebody who records it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, RawTls, within};

/// A request without a body, after which the connection ends.
pub(crate) fn request(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Comes once, so that there is a session; the next connection sends its request early.
pub(crate) async fn meet(client: &Client, address: SocketAddr) {
    let mut first = RawTls::connect(client, address).await.unwrap();
    first.write(request("GET", "/")).await.unwrap();
    assert!(
        first
            .read_to_end()
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
}

/// Sends one request with the first flight. What was answered, and whether it went early.
pub(crate) async fn early(client: &Client, address: SocketAddr, request: &str) -> (String, bool) {
    let mut stream = RawTls::connect(client, address)
        .await
        .unwrap()
        .into_stream();
    let exchange = async {
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        // An end without close_notify ends the answer all the same.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = within("an early answer", exchange).await;
    (answer, stream.get_ref().1.is_early_data_accepted())
}

/// How many requests for `path` reached the service.
pub(crate) fn served(echo: &Echo, path: &str) -> usize {
    let seen = echo.record().requests();
    let of_path = |seen: &&_| format!("{seen:?}").contains(path);
    seen.iter().filter(of_path).count()
}

/// Passes connections on to `to`, and keeps what clients sent.
pub(crate) async fn listening_in(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            kept.lock().unwrap().clear();
            let server = TcpStream::connect(to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                kept.lock().unwrap().extend(&buffer[..read]);
                if to_server.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    });
    (address, heard)
}
