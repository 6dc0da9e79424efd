//! Bytes over TLS, for requests no HTTP library would write.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Client, Refused, within};

/// A TLS connection without HTTP.
#[derive(Debug)]
pub(crate) struct RawTls {
    stream: TlsStream<TcpStream>,
    /// The client's own port, to find it in the logs.
    pub(crate) port: u16,
}

impl RawTls {
    /// Performs the handshake of `client`.
    pub(crate) async fn connect(client: &Client, address: SocketAddr) -> Result<Self, Refused> {
        let stream = client.handshake(address).await?;
        let port = stream.get_ref().0.local_addr().unwrap().port();
        Ok(Self { stream, port })
    }

    /// The stream, for a protocol of the test's own.
    pub(crate) fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }

    /// Sends bytes.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Refused> {
        let written = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        within("bytes are sent", written)
            .await
            .map_err(|error| Refused::new(&error, self.port))
    }

    /// Reads until `end` has come by; what was read so far, `end` included. Shorter at the end of the stream.
    pub(crate) async fn read_until(&mut self, end: &str) -> Result<String, Refused> {
        let mut text = Vec::new();
        let read = async {
            while !text.ends_with(end.as_bytes()) {
                match self.stream.read_u8().await {
                    Ok(byte) => text.push(byte),
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        within("bytes come", read)
            .await
            .map_err(|error| Refused::new(&error, self.port))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Reads until the gateway closes. A close without `close_notify` is an error, as it should be.
    pub(crate) async fn read_to_end(&mut self) -> Result<String, Refused> {
        let mut bytes = Vec::new();
        within("the end of the stream", self.stream.read_to_end(&mut bytes))
            .await
            .map_err(|error| Refused::new(&error, self.port))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends bytes that ask for a close, or deserve one, and reads everything that comes back.
    pub(crate) async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Result<String, Refused> {
        self.write(bytes).await?;
        self.read_to_end().await
    }
}

/// The status of the first response in `text`.
pub(crate) fn status_of(text: &str) -> Option<u16> {
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}
