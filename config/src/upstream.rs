//! `[upstream.NAME]` and `[forwarding]`: where requests go and what goes with them.
use std::net::IpAddr;
use std::time::Duration;

use crate::Located;

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// NAME of the table; for an inline `upstream = "http://..."` the URL itself.
    pub name: String,
    /// Never empty; used in turn.
    pub endpoints: Vec<Located<Endpoint>>,
    /// Default HTTP/1.1.
    pub protocol: UpstreamProtocol,
    /// TCP connect. Default 3 s.
    pub connect_timeout: Duration,
    /// From the end of the request head to the response head. Default 60 s.
    pub response_timeout: Duration,
    /// Body without a byte, either direction, on the upstream side. Default 60 s.
    pub body_timeout: Duration,
    /// Unused pooled connection. Default 30 s.
    pub idle_timeout: Duration,
    /// Connections of the process to this upstream, idle and busy. Default 1,024.
    pub connections: usize,
    /// Requests that may wait for a connection. Default 1,024.
    pub pending: usize,
}

/// Host and port of an upstream; names are resolved when connecting.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// DNS name or IP literal (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// `"http1"`.
    Http1,
    /// `"h2"`: HTTP/2 with prior knowledge.
    Http2,
}

/// `[forwarding]`: what upstreams are told about the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Peers whose `Forwarded`, `X-Forwarded-*` and request ids are kept and appended to. Default none.
    pub trusted_hops: Vec<IpNet>,
    /// Send `X-Forwarded-Client-Cert`. Default true.
    pub xfcc: bool,
    /// Send `X-Forwarded-For`, `-Proto`, `-Host`. Default true.
    pub x_forwarded: bool,
    /// Send `Forwarded` (RFC 7239). Default true.
    pub forwarded: bool,
}

/// An address block, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    /// Network address, host bits zero.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}

impl IpNet {
    /// Whether `ip` lies in this block. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(net) == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(net) == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}
