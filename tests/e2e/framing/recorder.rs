//! An upstream that keeps every byte it is sent and answers each request with 200.
//!
//! It knows no more of HTTP than where a request ends that the gateway itself has written.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The upstream, and what it was sent.
pub(super) struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// One connection.
#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    ended: bool,
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let index = {
                    let mut all = all.lock().unwrap();
                    all.push(Seen::default());
                    all.len() - 1
                };
                tokio::spawn(serve(tcp, Arc::clone(&all), index));
            }
        });
        Self { address, seen }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came since the last call, without the two fields that are new for each request.
    pub(super) fn take(&self) -> String {
        let mut seen = self.seen.lock().unwrap();
        let taken = seen
            .iter_mut()
            .flat_map(|one| std::mem::take(&mut one.bytes));
        let text = String::from_utf8(taken.collect()).unwrap();
        let ids = ["x-request-id: ", "traceparent: "];
        text.split_inclusive("\r\n")
            .filter(|line| !ids.iter().any(|id| line.starts_with(id)))
            .collect()
    }

    /// Whether a connection has ended on which something came since the last [`Self::take`].
    pub(super) fn has_lost_one(&self) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.iter().any(|one| one.ended && !one.bytes.is_empty())
    }
}

async fn serve(mut tcp: TcpStream, all: Arc<Mutex<Vec<Seen>>>, index: usize) {
    let mut buffer = Vec::new();
    let mut room = [0; 4096];
    loop {
        let read = tcp.read(&mut room).await.unwrap_or(0);
        {
            let mut all = all.lock().unwrap();
            all[index].bytes.extend_from_slice(&room[..read]);
            all[index].ended = read == 0;
        }
        if read == 0 {
            return;
        }
        buffer.extend_from_slice(&room[..read]);
        if is_whole(&buffer) {
            buffer.clear();
            let _ = tcp.write_all(ANSWER).await; // Who is gone has its end recorded with the next read.
        }
    }
}

/// Whether this is a whole request, as the gateway writes them.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    if head.contains("\r\ntransfer-encoding: chunked") {
        return body.starts_with("0\r\n") && body.ends_with("\r\n\r\n")
            || body.contains("\r\n0\r\n") && body.ends_with("\r\n\r\n");
    }
    let length = head.split("\r\ncontent-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
