//! What the echo upstream was sent, request by request and byte by byte.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderMap, Method, Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Requests kept; later ones are only counted.
const MAX_REQUESTS: usize = 10_000;

/// Raw bytes kept of one connection.
const MAX_RAW: usize = 64 * 1024;

/// Connections whose raw bytes are kept.
const MAX_CONNECTIONS: usize = 1_000;

/// A request as the echo upstream understood it.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Its header fields.
    pub headers: HeaderMap,
}

/// Everything the echo upstream was sent. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    requests: Vec<SeenRequest>,
    count: usize,
    connections: Vec<Vec<u8>>,
    connection_count: usize,
}

impl Record {
    /// The requests so far, oldest first, the first 10,000 of them.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.contents().requests.clone()
    }

    /// How many requests there were.
    pub fn request_count(&self) -> usize {
        self.contents().count
    }

    /// How many connections there were.
    pub fn connection_count(&self) -> usize {
        self.contents().connection_count
    }

    /// The first 64 KiB of each connection as they came off the socket, oldest first: for HTTP/1.1
    /// the request heads and bodies, exactly as written by the gateway.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        self.contents().connections.clone()
    }

    /// Forgets everything so far. Connections stay in the list, emptied.
    pub fn clear(&self) {
        let mut contents = self.contents();
        contents.requests.clear();
        contents.count = 0;
        for raw in &mut contents.connections {
            raw.clear();
        }
    }

    /// Notes one request.
    pub(super) fn note<B>(&self, request: &Request<B>) {
        let mut contents = self.contents();
        contents.count += 1;
        if contents.requests.len() < MAX_REQUESTS {
            contents.requests.push(SeenRequest {
                method: request.method().clone(),
                uri: request.uri().clone(),
                version: request.version(),
                headers: request.headers().clone(),
            });
        }
    }

    /// Where the bytes of a new connection are to be noted.
    pub(super) fn open_connection(&self) -> ConnectionRecord {
        let mut contents = self.contents();
        contents.connection_count += 1;
        let index = contents.connections.len();
        if index < MAX_CONNECTIONS {
            contents.connections.push(Vec::new());
        }
        ConnectionRecord {
            record: self.clone(),
            index,
        }
    }

    /// A panic of another thread leaves nothing half done here, so its poison means nothing.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The raw bytes of one connection.
#[derive(Debug)]
pub(super) struct ConnectionRecord {
    record: Record,
    index: usize,
}

impl ConnectionRecord {
    fn note(&self, bytes: &[u8]) {
        let mut contents = self.record.contents();
        if let Some(raw) = contents.connections.get_mut(self.index) {
            let room = MAX_RAW.saturating_sub(raw.len()).min(bytes.len());
            raw.extend_from_slice(&bytes[..room]);
        }
    }
}

/// A socket whose incoming bytes are noted.
#[derive(Debug)]
pub(super) struct Recorded {
    stream: TcpStream,
    record: ConnectionRecord,
}

impl Recorded {
    pub(super) fn new(stream: TcpStream, record: ConnectionRecord) -> Self {
        Self { stream, record }
    }
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buf);
        self.record.note(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
