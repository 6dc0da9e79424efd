//! An encrypted stream over TCP, after the handshake.
//!
//! Promises: at most one write's worth of ciphertext is buffered, and what the handshake left (a slow reader stops
//! the writer, not the memory): session tickets leave together with the first answer, or when there is nothing to
//! read. `poll_shutdown` sends close_notify before the FIN; bytes after the peer's close_notify are
//! never delivered, and a TCP close without close_notify is an error (truncation). Early data (0-RTT) is delivered
//! while the handshake still goes on, and whoever reads it is told so: see [`EarlyData`].

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::early_data::{Early, EarlyData};

/// A server-side TLS stream.
#[derive(Debug)]
pub struct TlsStream {
    tcp: TcpStream,
    tls: Box<ServerConnection>,
    /// Until the handshake is complete, where early data was accepted.
    early: Option<Box<Early>>,
    held: Held,
}

/// What becomes of the end of the handshake: session tickets, with TLS 1.2 also the Finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// It leaves when there is nothing to read.
    UntilIdle,
    /// The client has asked for something: it leaves with the answer.
    UntilAnswer,
    /// It has left.
    No,
}

impl TlsStream {
    /// Takes a connection whose handshake is complete.
    pub(super) fn new(tcp: TcpStream, tls: Box<ServerConnection>) -> Self {
        Self {
            held: match tls.wants_write() {
                true => Held::UntilIdle,
                false => Held::No,
            },
            early: None,
            tcp,
            tls,
        }
    }

    /// Takes a connection that accepted early data, and whose handshake must be complete in time.
    pub(super) fn with_early_data(
        tcp: TcpStream,
        tls: Box<ServerConnection>,
        handshake_by: Instant,
    ) -> Self {
        let mut stream = Self::new(tcp, tls);
        stream.early = Some(Box::new(Early::new(handshake_by)));
        stream
    }

    /// Whether what is read now may have been sent again by somebody else; `None` where there is no early data.
    pub fn early_data(&self) -> Option<EarlyData> {
        self.early.as_ref().map(|early| early.handle())
    }

    /// The connection, to ask for its ends.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The TLS state, to ask for version, suite and the like.
    pub fn tls(&self) -> &ServerConnection {
        &self.tls
    }

    /// Moves ciphertext to the socket until none is left.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain_with(SendFlags::empty(), cx)
    }

    fn poll_drain_with(&mut self, flags: SendFlags, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held = Held::No;
        while self.tls.wants_write() {
            let mut socket = Socket {
                tcp: &mut self.tcp,
                flags,
                cx,
            };
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads ciphertext once and decrypts what is complete. `Ready(0)` is the end of the TCP stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut socket = Socket {
            tcp: &mut self.tcp,
            flags: SendFlags::empty(),
            cx,
        };
        let read = match self.tls.read_tls(&mut socket) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // No answer is near: the client waits for the end of a TLS 1.2 handshake, and wants its tickets.
                if self.held == Held::UntilIdle
                    && let Poll::Ready(Err(error)) = self.poll_drain(cx)
                {
                    return Poll::Ready(Err(error));
                }
                return Poll::Pending;
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        // Where ciphertext waits already, whoever wrote it waits for the socket, with its own waker.
        let writer_waits = self.tls.wants_write() && self.held == Held::No;
        if let Err(error) = self.tls.process_new_packets() {
            let _ = self.poll_drain(cx); // The alert goes out if the socket takes it now; the error stands.
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if !writer_waits && self.held == Held::No && self.tls.wants_write() {
            // A KeyUpdate asked for an answer. If the socket is full the next write takes it along.
            if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(read))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Some(early) = &mut this.early {
                ready!(early.poll_in_time(cx))?;
                if read_early(&mut this.tls, buf) {
                    early.hands_out();
                    return Poll::Ready(Ok(()));
                }
                if early.is_over(matches!(this.tls.reader().fill_buf(), Ok([_, ..]))) {
                    this.early = None;
                }
            }
            let mut reader = this.tls.reader();
            match reader.fill_buf() {
                // Clean end: close_notify.
                Ok([]) => return Poll::Ready(Ok(())),
                Ok(chunk) => {
                    if this.held == Held::UntilIdle {
                        this.held = Held::UntilAnswer;
                    }
                    let taken = chunk.len().min(buf.remaining());
                    buf.put_slice(&chunk[..taken]);
                    reader.consume(taken);
                    if buf.remaining() == 0 || !this.has_plaintext() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The end of TCP is judged by rustls in the next round: clean or cut off.
                    let filled = this.poll_fill(cx);
                    if let Some(early) = &mut this.early {
                        early.filled(this.tls.is_handshaking(), filled.is_pending());
                    }
                    ready!(filled)?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Moves early data, if any is there.
fn read_early(tls: &mut ServerConnection, buf: &mut ReadBuf<'_>) -> bool {
    let Some(mut early) = tls.early_data() else {
        return false;
    };
    let read = early.read(buf.initialize_unfilled()).unwrap_or(0);
    buf.advance(read);
    read > 0
}

impl TlsStream {
    fn has_plaintext(&mut self) -> bool {
        matches!(self.tls.reader().fill_buf(), Ok([_, ..]))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What an earlier call encrypted must be gone first: this bounds the buffer.
        if this.held == Held::No {
            ready!(this.poll_drain(cx))?;
        }
        let written = write_in_pieces(&mut this.tls, bufs)?;
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Taken over, even if the socket is full: the next call waits.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(written)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.tls.send_close_notify(); // Sending it again does nothing.
        // The FIN follows at once and takes the last bytes along.
        ready!(this.poll_drain_with(SendFlags::MORE, cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

/// Bytes that are copied at once. From 2,112 on glibc copies with `rep movsb`, which cost an AMD EPYC a quarter of all
/// its time in large answers: source and target are aligned differently, for a record header stands in front.
const PIECE: usize = 2 * 1024;
/// Pieces of one write: together what rustls takes at once (64 KiB), and a head in front.
const PIECES: usize = 36;

/// Encrypts what rustls takes of `bufs`, which it copies piece by piece.
fn write_in_pieces(tls: &mut ServerConnection, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    if bufs.iter().all(|buf| buf.len() <= PIECE) {
        return tls.writer().write_vectored(bufs);
    }
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let mut count = 0;
    for (place, piece) in pieces
        .iter_mut()
        .zip(bufs.iter().flat_map(|buf| buf.chunks(PIECE)))
    {
        *place = IoSlice::new(piece);
        count += 1;
    }
    tls.writer().write_vectored(&pieces[..count])
}

/// The socket in the clothes of `std::io`, for rustls; `WouldBlock` leaves a waker behind.
struct Socket<'a, 'b> {
    tcp: &'a mut TcpStream,
    flags: SendFlags,
    cx: &'a mut Context<'b>,
}

impl Read for Socket<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.tcp).poll_read(self.cx, &mut buf) {
            Poll::Ready(result) => result.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.flags.is_empty() {
            return would_block(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, bufs));
        }
        loop {
            would_block(self.tcp.poll_write_ready(self.cx))?;
            let send = || {
                let mut nothing = SendAncillaryBuffer::default();
                let flags = self.flags | SendFlags::NOSIGNAL;
                Ok(sendmsg(&*self.tcp, bufs, &mut nothing, flags)?)
            };
            match self.tcp.try_io(Interest::WRITABLE, send) {
                // Ready no more: the next round leaves the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // TCP has nothing to flush.
    }
}

fn would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
