//! A TCP connection to one of the endpoints.

use std::io;
use std::net::{IpAddr, SocketAddr};

use portcullis_config::Upstream;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::error::UpstreamError;

/// Connects to the endpoints in turn, beginning with number `first`, within the connect timeout in all.
pub(super) async fn connect(upstream: &Upstream, first: usize) -> Result<TcpStream, UpstreamError> {
    let attempts = async {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let count = upstream.endpoints.len();
        for at in 0..count {
            let endpoint = &upstream.endpoints[(first + at) % count];
            match connect_host(&endpoint.host, endpoint.port).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let tcp = match timeout(upstream.connect_timeout, attempts).await {
        Ok(connected) => connected.map_err(UpstreamError::Connect)?,
        Err(_) => return Err(UpstreamError::Connect(io::ErrorKind::TimedOut.into())),
    };
    tcp.set_nodelay(true).map_err(UpstreamError::Connect)?;
    Ok(tcp)
}

async fn connect_host(host: &str, port: u16) -> io::Result<TcpStream> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return TcpStream::connect(SocketAddr::new(ip, port)).await;
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}
