//! A connection to a service: TCP, or TLS over it.
//!
//! Reading and writing take `&self`, for the request's body and its answer flow at the same time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use std::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls::TlsStream;

/// An open connection to a service.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// What a request over it names (RFC 9113, section 8.3.1).
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Plain(_) => "http",
            Self::Tls(_) => "https",
        }
    }

    /// Whether the connection is open and the service has said nothing unasked. Over plain TCP this costs a system
    /// call only where readiness was reported.
    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(tcp) => {
                let nothing = tcp.try_read(&mut [0; 1]);
                nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(tls) => tls.is_quiet(),
        }
    }

    /// Reads what is there into `buffer`, which has room; zero bytes are the end.
    pub(super) fn poll_read(
        &self,
        buffer: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => return tls.poll_read(buffer, cx),
        };
        let room = buffer.capacity() - buffer.len();
        loop {
            match tcp.try_read_buf(buffer) {
                Ok(read) => {
                    if read < room {
                        note_drained(tcp);
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(tcp.poll_read_ready(cx))?
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes all of `bytes`, unless the service takes none of them for as long as `stall`.
    pub(super) async fn write_all(&self, mut bytes: &[u8], stall: Duration) -> io::Result<()> {
        self.write_from(&mut bytes, stall).await
    }

    /// The same; what was not written is left in `bytes`.
    pub(super) async fn write_from(&self, bytes: &mut &[u8], stall: Duration) -> io::Result<()> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        match self {
            Self::Plain(tcp) => {
                while !bytes.is_empty() {
                    match tcp.try_write(bytes) {
                        Ok(written) => *bytes = &bytes[written..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            timeout(stall, tcp.writable()).await.map_err(late)??;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            Self::Tls(tls) => {
                while !bytes.is_empty() {
                    let write = poll_fn(|cx| tls.poll_write(bytes, cx));
                    *bytes = &bytes[timeout(stall, write).await.map_err(late)??..];
                }
                let flush = poll_fn(|cx| tls.poll_drain(cx));
                timeout(stall, flush).await.map_err(late)?
            }
        }
    }
}

/// A short read took all there was: what comes next is reported again (epoll, edge-triggered), and until then
/// nobody needs to ask the kernel. tokio knows that of its own reads, not of tries.
pub(super) fn note_drained(tcp: &TcpStream) {
    let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    let _ = tcp.try_io(Interest::READABLE, nothing);
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => tls.poll_fill_buf(buf, cx),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => tls.poll_write(buf, cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => tls.poll_write_vectored(bufs, cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => tls.poll_drain(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
        }
    }
}
