//! The socket of a handshake, for the `std::io` calls of rustls: it answers `WouldBlock`, and is then waited for.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// A socket, and a copy of what was read from it.
pub(super) struct Copied<'a, R>(pub(super) &'a mut R, pub(super) &'a mut Vec<u8>);

impl<R: io::Read> io::Read for Copied<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buf)?;
        self.1.extend_from_slice(&buf[..read]);
        Ok(read)
    }
}

/// Tries the socket at once and waits for readiness only where it must.
pub(super) async fn with_socket<'a, T>(
    tcp: &'a TcpStream,
    interest: Interest,
    mut io: impl FnMut(TrySocket<'a>) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match io(TrySocket(tcp)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tcp.ready(interest).await.map(drop)?;
            }
            result => return result,
        }
    }
}

/// A socket that answers `WouldBlock`, for rustls' `std::io` calls.
pub(super) struct TrySocket<'a>(&'a TcpStream);

impl io::Read for TrySocket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.try_read(buf)?;
        if (1..buf.len()).contains(&read) {
            // A short read took all there was; without this the next one would ask the kernel for nothing.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.0.try_io(Interest::READABLE, nothing);
        }
        Ok(read)
    }
}

impl io::Write for TrySocket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // TCP has nothing to flush.
    }
}
