//! The PROXY header in front of a connection: who the client of a trusted proxy is.
//!
//! Promises: only a trusted source is listened to; not a byte behind the header is read; the header has a deadline.

use std::net::SocketAddr;

use portcullis_config::ProxyProtocol;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::proxy_protocol::{MAX, Origin, ProxyError, parse};
use crate::reason::Reason;
use crate::trust::Refused;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    /// The client's that comes from here.
    Client(SocketAddr),
    /// The proxy's own (LOCAL), which keeps its address.
    Proxy,
}

/// Who is behind `peer`.
pub(super) async fn client_of(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    proxies: &ProxyProtocol,
    by: Instant,
) -> Result<Announced, Refused> {
    if !proxies.from.iter().any(|net| net.contains(peer.ip())) {
        return Err(refused(Reason::ProxySourceNotTrusted, String::new()));
    }
    let origin = timeout_at(by, read(tcp)).await;
    match origin.map_err(|_| refused(Reason::ProxyHeaderTimeout, String::new()))?? {
        Origin::Local => Ok(Announced::Proxy),
        Origin::Client(addresses) => Ok(Announced::Client(addresses.source())),
        Origin::Unknown => {
            let detail = "the proxy does not know an address of its client";
            Err(refused(Reason::ProxyHeaderInvalid, detail.to_owned()))
        }
    }
}

/// Looks at what is there, and takes it as far as it belongs to the header.
async fn read(tcp: &mut TcpStream) -> Result<Origin, Refused> {
    let mut bytes = Vec::new();
    loop {
        let taken = bytes.len();
        bytes.resize(MAX, 0);
        // Never empty: a header of this length would have been whole.
        let seen = tcp.peek(&mut bytes[taken..]).await.map_err(closed)?;
        if seen == 0 {
            let detail = "closed before the end of a header";
            return Err(refused(Reason::ProxyHeaderMissing, detail.to_owned()));
        }
        bytes.truncate(taken + seen);
        let parsed = parse(&bytes).map_err(|error| malformed(&error))?;
        // While the header is incomplete, all of it so far is header.
        let (origin, end) = match parsed {
            Some((header, length)) => (Some(header.origin), length),
            None => (None, bytes.len()),
        };
        let own = &mut bytes[taken..end];
        tcp.read_exact(own).await.map_err(closed)?;
        if let Some(origin) = origin {
            return Ok(origin);
        }
    }
}

fn malformed(error: &ProxyError) -> Refused {
    let reason = match error {
        ProxyError::NoHeader => Reason::ProxyHeaderMissing,
        _ => Reason::ProxyHeaderInvalid,
    };
    refused(reason, error.to_string())
}

fn closed(error: std::io::Error) -> Refused {
    refused(Reason::ProxyHeaderMissing, error.to_string())
}

fn refused(reason: Reason, detail: String) -> Refused {
    Refused { reason, detail }
}
