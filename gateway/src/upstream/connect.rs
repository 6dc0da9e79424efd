//! A connection to an endpoint, made here and nowhere else.

use std::io;
use std::net::IpAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::endpoint::Endpoint;
use super::stream::Stream;
use super::tls::{ClientTls, Trusted};

/// Connects until `end`, its name's lookup and a TLS handshake included. Each address of a name has an equal share of
/// what is left: one that is silent leaves time for the next.
pub(super) async fn connect(
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    end: Instant,
) -> io::Result<(Stream, Trusted)> {
    let tcp = match endpoint.ip {
        Some(ip) => timeout_at(end, TcpStream::connect((ip, endpoint.port))).await??,
        None => connect_host(&endpoint.host, endpoint.port, end).await?,
    };
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok((Stream::Plain(tcp), Trusted::PLAIN));
    };
    let (stream, trusted) = timeout_at(end, tls.handshake(tcp, &endpoint.host)).await??;
    Ok((Stream::Tls(Box::new(stream)), trusted))
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
