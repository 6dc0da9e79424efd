//! The PROXY protocol, versions 1 and 2: what a proxy tells of the client behind a connection (HAProxy's
//! `doc/proxy-protocol.txt`).
//!
//! Plain functions. Promises: what is parsed has one reading; a header is at most [`MAX`] bytes; while one is incomplete every
//! byte so far belongs to it, so that nobody reads a byte of what follows; a checksum that is there holds; what is
//! written parses to the same.

mod crc32c;
mod error;
pub mod ssl;
pub mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub use self::error::ProxyError;
pub use self::ssl::Ssl;
pub use self::tlv::Tlv;
pub use self::v1::write as write_v1;
pub use self::v2::write as write_v2;

/// The longest header that is taken. A version 2 header may claim 64 KiB, and has a few hundred bytes.
pub const MAX: usize = 4096;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub origin: Origin,
    /// More facts, in their order, without the checksum; version 1 has none.
    pub tlvs: Vec<Tlv>,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own (`LOCAL`), such as a health check.
    Local,
    /// A client's, over TCP.
    Client(Addresses),
    /// Somebody's, not over TCP or not known how.
    Unknown,
}

/// The two ends of a client's connection to the proxy, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    source: SocketAddr,
    destination: SocketAddr,
}

impl Addresses {
    /// Both ends. IPv4 beside IPv6 is told as an IPv4-mapped address; zones and flow labels are left out.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let (source, destination) = (plain(source), plain(destination));
        match source.is_ipv4() == destination.is_ipv4() {
            true => Self {
                source,
                destination,
            },
            false => Self {
                source: mapped(source),
                destination: mapped(destination),
            },
        }
    }

    /// The client.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Where it connected to.
    pub fn destination(&self) -> SocketAddr {
        self.destination
    }
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Reads the header at the beginning of a connection, and how long it is. `None` where more bytes are needed; there
/// are fewer than [`MAX`] then.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let begins = |signature: &[u8]| {
        let shared = signature.len().min(bytes.len());
        bytes[..shared] == signature[..shared]
    };
    if begins(v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins(v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(ProxyError::NoHeader)
    }
}
