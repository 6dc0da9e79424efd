//! A small web server for revocation lists and OCSP answers: one that answers, errs, hangs, or is gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A web server on a port of its own. It ends, with its connections, when this is dropped.
pub(crate) struct Web {
    address: SocketAddr,
    site: Arc<Mutex<Site>>,
    /// Aborts what runs when it is dropped.
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Site {
    pages: BTreeMap<String, Page>,
    /// Paths, in the order they were asked for.
    asked: Vec<String>,
}

/// What is made of the body of a request. `None` hangs.
type Page = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

impl Web {
    /// A server on a free port, without pages.
    pub(crate) async fn start() -> Self {
        Self::start_on(([127, 0, 0, 1], 0).into()).await
    }

    /// A server on this address.
    pub(crate) async fn start_on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::new(Mutex::new(Site::default()));
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&site);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                connections.spawn(serve(tcp, Arc::clone(&served)));
            }
        });
        Self {
            address,
            site,
            _tasks: tasks,
        }
    }

    /// A page that is there until it is replaced.
    pub(crate) fn put(&self, path: &str, content: Vec<u8>) {
        self.answer(path, move |_| Some(content.clone()));
    }

    /// A page that takes the question and gives no answer.
    pub(crate) fn hang(&self, path: &str) {
        self.answer(path, |_| None);
    }

    /// A page that depends on the body of the request.
    pub(crate) fn answer(
        &self,
        path: &str,
        page: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) {
        let mut site = self.site.lock().unwrap();
        site.pages.insert(path.to_owned(), Arc::new(page));
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a page was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        let site = self.site.lock().unwrap();
        site.asked.iter().filter(|asked| *asked == path).count()
    }
}

/// One request, one connection.
async fn serve(mut tcp: TcpStream, site: Arc<Mutex<Site>>) {
    let Some((path, body)) = read(&mut tcp).await else {
        return;
    };
    let page = {
        let mut site = site.lock().unwrap();
        site.asked.push(path.clone());
        site.pages.get(&path).cloned()
    };
    let (status, content) = match page.map(|page| page(&body)) {
        None => ("404 Not Found", Vec::new()),
        Some(Some(content)) => ("200 OK", content),
        Some(None) => return std::future::pending().await,
    };
    let length = content.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // A client that left is its own business.
    let _ = tcp.write_all(&[head.as_bytes(), &content].concat()).await;
}

/// The path and the body of a request; `None` when it ends early.
async fn read(tcp: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        tcp.read_buf(&mut bytes)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    while bytes.len() < end + length {
        tcp.read_buf(&mut bytes)
            .await
            .ok()
            .filter(|count| *count > 0)?;
    }
    let path = head.split(' ').nth(1)?.to_owned();
    Some((path, bytes.split_off(end)))
}
