//! A TCP connection to one of the endpoints.

use std::io;
use std::net::IpAddr;

use portcullis_config::Upstream;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::error::UpstreamError;

/// Connects to the endpoints in turn, beginning with number `first`, within the connect timeout in all. Each
/// endpoint has an equal share of what is left of it, its name's lookup included: one that is silent leaves
/// time for the next.
pub(super) async fn connect(upstream: &Upstream, first: usize) -> Result<TcpStream, UpstreamError> {
    let end = Instant::now() + upstream.connect_timeout;
    let count = upstream.endpoints.len();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for at in 0..count {
        let endpoint = &upstream.endpoints[(first + at) % count];
        match connect_host(&endpoint.host, endpoint.port, share(end, count - at)).await {
            Ok(tcp) => {
                tcp.set_nodelay(true).map_err(UpstreamError::Connect)?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(UpstreamError::Connect(last))
}

async fn connect_host(host: &str, port: u16, end: Instant) -> io::Result<TcpStream> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return timeout_at(end, TcpStream::connect((ip, port))).await?;
    }
    let addresses: Vec<_> = timeout_at(end, lookup_host((host, port))).await??.collect();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (at, address) in addresses.iter().enumerate() {
        let end = share(end, addresses.len() - at);
        match timeout_at(end, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(late) => last = late.into(),
        }
    }
    Err(last)
}

/// When the first of `attempts` has to be over so that the others have as much time as it had.
fn share(end: Instant, attempts: usize) -> Instant {
    let now = Instant::now();
    let parts = u32::try_from(attempts).unwrap_or(u32::MAX).max(1);
    now + end.saturating_duration_since(now) / parts
}
