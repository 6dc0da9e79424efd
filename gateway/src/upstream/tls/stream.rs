//! TLS to a service, over a socket of tokio's.
//!
//! Nothing signs after the handshake, so everything here is done on the network thread.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustls::ClientConnection;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::stream::note_drained;

/// A TLS connection to a service that is believed.
#[derive(Debug)]
pub struct TlsStream {
    tcp: RefCell<TcpStream>,
    tls: RefCell<Box<ClientConnection>>,
}

impl TlsStream {
    pub(super) fn new(tcp: TcpStream, tls: Box<ClientConnection>) -> Self {
        Self {
            tcp: RefCell::new(tcp),
            tls: RefCell::new(tls),
        }
    }

    /// Whether it is open and has nothing to read; takes in session tickets.
    pub(in crate::upstream) fn is_quiet(&self) -> bool {
        let (tcp, mut tls) = (self.tcp.borrow(), self.tls.borrow_mut());
        loop {
            match tls.read_tls(&mut Socket(&tcp)) {
                Ok(0) => return false,
                Ok(_) => match tls.process_new_packets() {
                    Ok(state)
                        if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                    _ => return false,
                },
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Reads what is there into `buffer`; zero bytes are the end, said by the service. A connection that breaks off
    /// is an error.
    pub(in crate::upstream) fn poll_read(
        &self,
        buffer: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let room = buffer.capacity() - buffer.len();
        self.poll_plaintext(cx, |plain| {
            let taken = plain.len().min(room);
            buffer.extend_from_slice(&plain[..taken]);
            taken
        })
    }

    /// The same for a buffer of tokio's.
    pub(in crate::upstream) fn poll_fill_buf(
        &self,
        buf: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.poll_plaintext(cx, |plain| {
            let taken = plain.len().min(buf.remaining());
            buf.put_slice(&plain[..taken]);
            taken
        });
        read.map_ok(drop)
    }

    /// Hands over plaintext; `take` tells how much of it it took.
    fn poll_plaintext(
        &self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        let mut tls = self.tls.borrow_mut();
        loop {
            let mut reader = tls.reader();
            match reader.fill_buf() {
                Ok(plain) => {
                    let taken = take(plain);
                    reader.consume(taken);
                    return Poll::Ready(Ok(taken));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_receive(&mut tls, cx))?;
        }
    }

    fn poll_receive(
        &self,
        tls: &mut ClientConnection,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let tcp = self.tcp.borrow();
        loop {
            match tls.read_tls(&mut Socket(&tcp)) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(tcp.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let processed = tls.process_new_packets();
        // An alert, or the answer to a key update: what does not leave now leaves with what is written next.
        while tls.wants_write() && tls.write_tls(&mut Socket(&tcp)).is_ok() {}
        let processed = processed.map(drop);
        Poll::Ready(processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// Takes some of `bytes`; they have left after [`Self::poll_drain`].
    pub(in crate::upstream) fn poll_write(
        &self,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(&[IoSlice::new(bytes)], cx)
    }

    /// Takes some of `bufs`. No more than one piece waits for the socket.
    pub(in crate::upstream) fn poll_write_vectored(
        &self,
        bufs: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let taken = self.tls.borrow_mut().writer().write_vectored(bufs)?;
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// Sends what was taken.
    pub(in crate::upstream) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (tcp, mut tls) = (self.tcp.borrow(), self.tls.borrow_mut());
        while tls.wants_write() {
            match tls.write_tls(&mut Socket(&tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(tcp.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes (close_notify), and closes the way out.
    pub(in crate::upstream) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.borrow_mut().send_close_notify(); // Once, however often it is asked for.
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut *self.tcp.borrow_mut()).poll_shutdown(cx)
    }
}

/// A socket that answers `WouldBlock`, for rustls' `std::io` calls.
pub(super) struct Socket<'a>(pub(super) &'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.try_read(buf)?;
        if (1..buf.len()).contains(&read) {
            note_drained(self.0);
        }
        Ok(read)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // TCP has nothing to flush.
    }
}
