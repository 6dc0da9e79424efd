//! A TLS connection, stepped by hand: one read of the socket for all that has come, one write for all that goes.
//!
//! `tokio_rustls` reads four KiB at a time and asks the socket once more than needed; as a client that must not
//! be the bottleneck this costs a tenth of a handshake and more of a bulk answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, BufRead as _, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::{ClientConnection, HandshakeKind};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::clients::Hello;
use super::failure::Failure;

/// Read at once: four full records.
const SCRATCH: usize = 4 * 17 * 1024;
/// How long the server may take to close after we did, before the connection counts all the same.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

thread_local! {
    /// What was read and not yet decrypted; only while one connection is stepped.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// What a step brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes of TLS, perhaps with data in them.
    Bytes,
    /// The end of the connection.
    End,
}

/// A TLS connection of a client.
#[derive(Debug)]
pub(super) struct Connection {
    tcp: TcpStream,
    tls: ClientConnection,
}

impl Connection {
    /// Before the handshake.
    pub(super) fn new(tcp: TcpStream, hello: Hello) -> Result<Self, Failure> {
        let tls = ClientConnection::new(hello.config, hello.name).map_err(Failure::Tls)?;
        Ok(Self { tcp, tls })
    }

    /// Performs the handshake. Our last flight leaves with what is sent next.
    pub(super) async fn handshake(&mut self) -> Result<(), Failure> {
        while self.tls.is_handshaking() {
            self.flush().await?;
            if self.receive(&mut |_| {}).await? == Received::End {
                return Err(Failure::Eof);
            }
        }
        Ok(())
    }

    /// Full, retried or resumed; none before the handshake is over.
    pub(super) fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.tls.handshake_kind()
    }

    /// Sends this, and what is still to be sent of the handshake.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let accepted = self.tls.writer().write_all(bytes);
        accepted.map_err(|error| Failure::of_io(&error))?;
        self.flush().await
    }

    /// Reads the socket once and hands over the data that came.
    pub(super) async fn receive(
        &mut self,
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Received, Failure> {
        poll_fn(|cx| self.poll_receive(cx, sink)).await
    }

    /// Whether the server has closed meanwhile. Looks at the socket without waiting.
    pub(super) async fn is_gone(&mut self) -> bool {
        let look = poll_fn(|cx| {
            Poll::Ready(match self.poll_receive(cx, &mut |_| {}) {
                Poll::Ready(Ok(Received::Bytes)) => None,
                Poll::Ready(_) => Some(true),
                Poll::Pending => Some(false),
            })
        });
        let first = look.await;
        match first {
            Some(gone) => gone,
            // A ticket, or a farewell that is followed by the end.
            None => timeout(CLOSE_PATIENCE, self.drain()).await.is_ok(),
        }
    }

    /// Says farewell and waits until the server has closed too, so that its side is done, tickets included.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        self.tls.send_close_notify();
        self.flush().await?;
        if self.tcp.shutdown().await.is_err() {
            return Ok(());
        }
        match timeout(CLOSE_PATIENCE, self.drain()).await {
            Ok(Err(error)) if !self.was_confirmed(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// A server that resets after it finished the handshake on its side did all it had to.
    fn was_confirmed(&self, error: &Failure) -> bool {
        let tls12 = self.tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_2);
        let finished = tls12 || self.tls.tls13_tickets_received() > 0;
        finished && matches!(error, Failure::Reset | Failure::Eof)
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        while self.receive(&mut |_| {}).await? == Received::Bytes {}
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        match poll_fn(|cx| self.poll_flush(cx)).await {
            Ok(()) => Ok(()),
            // A server that does not want us says why before it goes, and that is still there to be read.
            Err(error) => match self.drain().await {
                Err(alert @ Failure::Tls(_)) => Err(alert),
                _ => Err(Failure::of_io(&error)),
            },
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut socket = Now {
                tcp: &mut self.tcp,
                cx,
            };
            match self.tls.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<Received, Failure>> {
        READ.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            let came = ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read));
            if let Err(error) = came {
                return Poll::Ready(Err(Failure::of_io(&error)));
            }
            let mut rest = read.filled();
            if rest.is_empty() {
                return Poll::Ready(Ok(Received::End));
            }
            while !rest.is_empty() {
                if let Err(failure) = self.digest(&mut rest, sink) {
                    // Our alert, where we have one; the failure is told in any case.
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(failure));
                }
            }
            Poll::Ready(Ok(Received::Bytes))
        })
    }

    /// Decrypts a piece of `rest` and hands over what is in it.
    fn digest(&mut self, rest: &mut &[u8], sink: &mut impl FnMut(&[u8])) -> Result<(), Failure> {
        let taken = self.tls.read_tls(rest);
        taken.map_err(|error| Failure::of_io(&error))?;
        self.tls.process_new_packets().map_err(Failure::Tls)?;
        let mut data = self.tls.reader();
        // An empty piece is the server's farewell, an error that there is no more for now.
        while let Ok(piece) = data.fill_buf() {
            let length = piece.len();
            if length == 0 {
                // What follows a farewell is nothing.
                *rest = &[];
                break;
            }
            sink(piece);
            data.consume(length);
        }
        Ok(())
    }
}

/// The socket as a blocking writer that would block.
struct Now<'a, 'cx, 'waker> {
    tcp: &'a mut TcpStream,
    cx: &'cx mut Context<'waker>,
}

impl io::Write for Now<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, pieces) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
