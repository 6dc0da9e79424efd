//! A TCP connection to an HTTP/1.1 upstream with its buffers, in use or in a pool.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::upstream::stream::Stream;
use crate::upstream::tls::Trusted;

/// Bytes read at once: small first, more while the upstream fills what it is offered.
const FIRST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// Room that is still worth a read. A new buffer for every read would leave the rest of the old one behind
/// while a piece of it is on its way to the client: a few bytes would hold many kilobytes.
const LEAST_ROOM: usize = 2 * 1024;

/// A connection between requests.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    pub(super) stream: Rc<Stream>,
    trusted: Trusted,
    pub(super) read: BytesMut,
    pub(super) write: BytesMut,
    /// Served a request before, so the upstream may have closed it meanwhile.
    pub(super) used: bool,
    next_read: usize,
}

impl Connection {
    pub(in crate::upstream) fn new((stream, trusted): (Stream, Trusted)) -> Self {
        Self {
            stream: Rc::new(stream),
            trusted,
            read: BytesMut::new(),
            write: BytesMut::new(),
            used: false,
            next_read: FIRST_READ,
        }
    }

    /// Whether the connection is open and the upstream has said nothing unasked.
    pub(in crate::upstream) fn is_quiet(&self) -> bool {
        self.read.is_empty() && self.stream.is_quiet()
    }

    /// Whether a new request may use it, as far as the service's certificate goes.
    pub(in crate::upstream) fn is_trusted(&self, epoch: u64) -> bool {
        self.trusted.holds(epoch)
    }

    /// Reads what is there; zero bytes are the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < LEAST_ROOM {
            self.read.reserve(self.next_read);
        }
        let room = self.read.capacity() - self.read.len();
        let read = self.stream.poll_read(&mut self.read, cx);
        if matches!(read, Poll::Ready(Ok(read)) if read == room) {
            self.next_read = (self.next_read * 2).min(LARGEST_READ);
        }
        read
    }

    /// Makes the connection small for its time in the pool.
    pub(super) fn rest(&mut self) {
        self.used = true;
        self.next_read = FIRST_READ;
        for buffer in [&mut self.read, &mut self.write] {
            if buffer.capacity() > 2 * FIRST_READ {
                *buffer = BytesMut::new();
            }
        }
    }
}
