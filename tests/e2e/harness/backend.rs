//! An HTTP/1.1 upstream that writes down what it was sent, and misbehaves when told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// An upstream on a port of its own, which it keeps after a restart. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// What it answers with.
    name: &'static str,
    mood: Mutex<Mood>,
    seen: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

/// What it does with a request, after it has read and written down all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers with this status and its name.
    Well(u16),
    /// The same, after a while.
    Slow(Duration),
    /// Never answers.
    Hung,
    /// Resets the connection.
    Resetting,
    /// Resets one connection, and is well from then on.
    ResettingOnce,
    /// Answers with what is no HTTP.
    Babbling,
}

impl Backend {
    /// One that is well.
    pub(crate) async fn start(name: &'static str) -> Self {
        let shared = Shared {
            name,
            mood: Mutex::new(Mood::Well(200)),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
        };
        let mut backend = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            shared: Arc::new(shared),
            listener: None,
        };
        backend.revive().await;
        backend
    }

    /// `http://IP:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `IP:PORT`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, also for requests that it has already.
    pub(crate) fn be(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Every request so far: `METHOD TARGET`.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Requests and connections so far.
    pub(crate) fn requests(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Ends it with all its connections: its port refuses.
    pub(crate) async fn kill(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
            let _ = listener.await; // It was aborted.
        }
    }

    /// Starts it again, on the same port.
    pub(crate) async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let shared = Arc::clone(&self.shared);
        self.listener = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        }));
    }
}

impl Shared {
    fn next_mood(&self) -> Mood {
        let mut mood = self.mood.lock().unwrap();
        let now = *mood;
        if now == Mood::ResettingOnce {
            *mood = Mood::Well(200);
        }
        now
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    // What goes wrong here is what the gateway did, or what was asked for.
    while let Ok(line) = request(&mut stream).await {
        shared.seen.lock().unwrap().push(line);
        let mood = shared.next_mood();
        let status = match mood {
            Mood::Well(status) => status,
            Mood::Slow(time) => {
                tokio::time::sleep(time).await; // Its slowness is what is tested.
                200
            }
            Mood::Hung => std::future::pending().await,
            Mood::Babbling => {
                let _ = stream.write_all(b"SIP/2.0 200 OK\r\n\r\n").await;
                return;
            }
            Mood::Resetting | Mood::ResettingOnce => {
                let _ = stream.set_zero_linger();
                return;
            }
        };
        let name = shared.name;
        let answer = format!(
            "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{name}",
            name.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a whole request; its method and target.
async fn request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.split_once("content-length: ");
    let length = length.and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let line = head.split(" http/1.1").next().unwrap_or_default();
    let (method, target) = line.split_once(' ').unwrap_or_default();
    Ok(format!("{} {target}", method.to_uppercase()))
}
