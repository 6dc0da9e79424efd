//! A TCP connection to an HTTP/1.1 upstream with its buffers, in use or in a pool.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes read at once: small first, more while the upstream fills what it is offered.
const FIRST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// Room that is still worth a read. A new buffer for every read would leave the rest of the old one behind
/// while a piece of it is on its way to the client: a few bytes would hold many kilobytes.
const LEAST_ROOM: usize = 2 * 1024;

/// A connection between requests.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    pub(super) tcp: Rc<TcpStream>,
    pub(super) read: BytesMut,
    pub(super) write: BytesMut,
    /// Served a request before, so the upstream may have closed it meanwhile.
    pub(super) used: bool,
    next_read: usize,
}

impl Connection {
    pub(in crate::upstream) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp: Rc::new(tcp),
            read: BytesMut::new(),
            write: BytesMut::new(),
            used: false,
            next_read: FIRST_READ,
        }
    }

    /// Whether the connection is open and the upstream has said nothing unasked. Costs a system call only
    /// where readiness was reported.
    pub(in crate::upstream) fn is_quiet(&self) -> bool {
        let nothing = self.tcp.try_read(&mut [0; 1]);
        self.read.is_empty()
            && nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads what is there; zero bytes are the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if self.read.capacity() - self.read.len() < LEAST_ROOM {
                self.read.reserve(self.next_read);
            }
            let room = self.read.capacity() - self.read.len();
            match self.tcp.try_read_buf(&mut self.read) {
                Ok(read) => {
                    if read == room {
                        self.next_read = (self.next_read * 2).min(LARGEST_READ);
                    } else {
                        self.note_drained();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_read_ready(cx))?
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// A short read took all there was: what comes next is reported again (epoll, edge-triggered), and until then
    /// nobody needs to ask the kernel. tokio knows that of its own reads, not of tries.
    fn note_drained(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.tcp.try_io(Interest::READABLE, nothing);
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
