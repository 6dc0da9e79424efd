//! A TCP connection to an endpoint, made here and nowhere else.

use std::io;
use std::net::IpAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::endpoint::Endpoint;

/// Connects until `end`, its name's lookup included. Each address of a name has an equal share of what is left: one
/// that is silent leaves time for the next.
pub(super) async fn connect(endpoint: &Endpoint, end: Instant) -> io::Result<TcpStream> {
    let tcp = connect_host(&endpoint.host, endpoint.port, end).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
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
pub(super) fn share(end: Instant, attempts: usize) -> Instant {
    let now = Instant::now();
    let parts = u32::try_from(attempts).unwrap_or(u32::MAX).max(1);
    now + end.saturating_duration_since(now) / parts
}
