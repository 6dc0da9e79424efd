//! A TCP service in the hands of the test: every connection is handed over as it was accepted.

use std::net::SocketAddr;

use portcullis::proxy_protocol::{Header, parse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{GatewayBuilder, Site, within};

/// Listens, and gives out its connections.
#[derive(Debug)]
pub(crate) struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> TcpStream {
        let accepted = within("a connection to the service", self.listener.accept()).await;
        accepted.unwrap().0
    }

    /// Whether nobody has connected so far.
    pub(crate) async fn is_untouched(&self) -> bool {
        let accepted = self.listener.accept();
        let none = tokio::time::timeout(std::time::Duration::from_millis(50), accepted);
        none.await.is_err()
    }

    /// Sends everything back, for ever.
    pub(crate) fn echo(self) -> SocketAddr {
        let address = self.address();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = self.listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = tcp.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        address
    }
}

/// Exactly so many bytes.
pub(crate) async fn take(tcp: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    within("bytes at the service", tcp.read_exact(&mut bytes))
        .await
        .unwrap();
    bytes
}

/// All bytes up to the end.
pub(crate) async fn take_all(tcp: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    within("the end at the service", tcp.read_to_end(&mut bytes))
        .await
        .unwrap();
    bytes
}

impl GatewayBuilder {
    /// The site `localhost` leads to a TCP service and nowhere else; with more keys of `[upstream.NAME]`.
    pub(crate) fn tcp(self, service: SocketAddr, toml: &str) -> Self {
        let lines = format!("protocol = 'tcp'\n{toml}");
        self.upstream_at("raw", &format!("tcp://{service}"), &lines)
            .site(Site::new("localhost").tcp("upstream = 'raw'"))
    }
}

impl Site {
    /// Connections go to an upstream, by the keys of `[[site.tcp]]`, and no request anywhere else.
    pub(crate) fn tcp(self, toml: &str) -> Self {
        let mut site = self.nowhere();
        site.push_table(&format!("[[site.tcp]]\n{toml}\n"));
        site
    }
}

/// The header in front, and that the client's bytes follow it.
pub(crate) async fn header(service: &mut TcpStream, after: &[u8]) -> Header {
    let mut bytes = Vec::new();
    loop {
        let read = within("a header", service.read_buf(&mut bytes))
            .await
            .unwrap();
        assert!(read > 0, "{bytes:?}");
        if let Some((header, length)) = parse(&bytes).unwrap()
            && bytes.len() >= length + after.len()
        {
            assert_eq!(&bytes[length..], after);
            return header;
        }
    }
}
