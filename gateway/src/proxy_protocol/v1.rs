//! Version 1: one line of text.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, Origin, ProxyError};

/// How it begins.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The longest line, its end included.
const LINE: usize = 107;
const END: &[u8] = b"\r\n";

/// Reads a line that begins with [`SIGNATURE`], as far as it is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let start = &bytes[..bytes.len().min(LINE)];
    let Some(end) = start.windows(END.len()).position(|pair| pair == END) else {
        return match bytes.len() {
            0..LINE => Ok(None),
            _ => Err(ProxyError::TooLong),
        };
    };
    let line = start[..end].strip_prefix(SIGNATURE);
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let origin = line.and_then(origin).ok_or(ProxyError::Line)?;
    let header = Header {
        origin,
        tlvs: Vec::new(),
    };
    Ok(Some((header, end + END.len())))
}

fn origin(line: &str) -> Option<Origin> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Unknown); // Whatever follows means nothing.
    }
    let mut next = || words.next();
    let (source, destination, from, to) = (next()?, next()?, next()?, next()?);
    if next().is_some() {
        return None;
    }
    let (from, to) = (port(from)?, port(to)?);
    let (source, destination) = match family {
        "TCP4" => (
            SocketAddr::new(source.parse::<Ipv4Addr>().ok()?.into(), from),
            SocketAddr::new(destination.parse::<Ipv4Addr>().ok()?.into(), to),
        ),
        "TCP6" => (
            SocketAddr::new(source.parse::<Ipv6Addr>().ok()?.into(), from),
            SocketAddr::new(destination.parse::<Ipv6Addr>().ok()?.into(), to),
        ),
        _ => return None,
    };
    Some(Origin::Client(Addresses::new(source, destination)))
}

/// Decimal, without a sign and without zeros in front.
fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let short = digits == "0" || !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain && short)
}

/// Appends a line. What is not a client's over TCP has no other word than `UNKNOWN`.
pub fn write(origin: &Origin, out: &mut Vec<u8>) {
    let mut line = String::from("PROXY ");
    if let Origin::Client(addresses) = origin {
        let (source, destination) = (addresses.source(), addresses.destination());
        let family = match source.is_ipv4() {
            true => "TCP4",
            false => "TCP6",
        };
        let (from, to) = (source.ip(), destination.ip());
        let ports = (source.port(), destination.port());
        // A String takes everything.
        let _ = write!(line, "{family} {from} {to} {} {}", ports.0, ports.1);
    } else {
        line.push_str("UNKNOWN");
    }
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(END);
}
