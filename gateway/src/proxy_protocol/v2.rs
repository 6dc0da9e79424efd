//! Version 2: binary, with TLVs.

use std::net::{IpAddr, SocketAddr};

use super::crc32c::crc32c;
use super::{Addresses, Header, MAX, Origin, ProxyError, Tlv, tlv};

/// How it begins: no text protocol takes it for its own.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
const FIXED: usize = 16;
/// Version 2, in the upper half of a byte; the command in the lower.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Family and transport.
const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Addresses and ports of each family.
const SIZE_V4: usize = 12;
const SIZE_V6: usize = 36;
const SIZE_UNIX: usize = 216;
/// The checksum as a TLV, empty.
const CHECKSUM: [u8; 7] = [tlv::CRC32C, 0, 4, 0, 0, 0, 0];

/// Reads a header that begins with [`SIGNATURE`], as far as it is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let Some([.., command, family, high, low]) = bytes.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let total = FIXED + usize::from(u16::from_be_bytes([*high, *low]));
    if total > MAX {
        return Err(ProxyError::TooLong);
    }
    let known = matches!(*command, LOCAL | PROXY);
    if !known {
        return Err(ProxyError::Command);
    }
    let Some(whole) = bytes.get(..total) else {
        return Ok(None);
    };
    let header = match *command {
        // What stands behind it means nothing, its family included.
        LOCAL => Header {
            origin: Origin::Local,
            tlvs: Vec::new(),
        },
        _ => announced(*family, whole)?,
    };
    Ok(Some((header, total)))
}

fn announced(family: u8, whole: &[u8]) -> Result<Header, ProxyError> {
    let block = match family {
        UNSPEC => 0,
        TCP4 | 0x12 => SIZE_V4,
        TCP6 | 0x22 => SIZE_V6,
        0x31 | 0x32 => SIZE_UNIX,
        _ => return Err(ProxyError::Family),
    };
    let body = &whole[FIXED..];
    let (block, rest) = body.split_at_checked(block).ok_or(ProxyError::Addresses)?;
    let addresses = match family {
        TCP4 => pair::<4>(block),
        TCP6 => pair::<16>(block),
        // Datagrams, unix sockets, and what the proxy does not know either.
        _ => None,
    };
    let tlvs = tlv::read(rest)?;
    check_sum(whole, whole.len() - rest.len(), &tlvs)?;
    let tlvs = tlvs.into_iter().map(|(_, tlv)| tlv);
    Ok(Header {
        origin: addresses.map_or(Origin::Unknown, Origin::Client),
        tlvs: tlvs.filter(|tlv| tlv.kind != tlv::CRC32C).collect(),
    })
}

/// Source and destination, then their ports.
fn pair<const N: usize>(block: &[u8]) -> Option<Addresses>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d] = *rest.first_chunk()?;
    Some(Addresses::new(
        SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([a, b])),
        SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d])),
    ))
}

/// The sum is that of the whole header, its own bytes as zeros. `start` is where the TLVs begin.
fn check_sum(whole: &[u8], start: usize, tlvs: &[(usize, Tlv)]) -> Result<(), ProxyError> {
    let mut sums = tlvs.iter().filter(|(_, tlv)| tlv.kind == tlv::CRC32C);
    let Some((at, told)) = sums.next() else {
        return Ok(());
    };
    let at = start + at;
    let told = <[u8; 4]>::try_from(told.value.as_slice());
    let told = told.map_err(|_| ProxyError::Checksum)?;
    let sum = crc32c(&[&whole[..at], &[0; 4], &whole[at + told.len()..]]);
    match sum == u32::from_be_bytes(told) && sums.next().is_none() {
        true => Ok(()),
        false => Err(ProxyError::Checksum),
    }
}

/// Appends a header, with its checksum. What does not fit into [`MAX`] bytes is not written.
pub fn write(origin: &Origin, tlvs: &[Tlv], out: &mut Vec<u8>) -> Result<(), ProxyError> {
    let mut body = Vec::new();
    let (command, family) = match origin {
        Origin::Local => (LOCAL, UNSPEC),
        Origin::Unknown => (PROXY, UNSPEC),
        Origin::Client(addresses) => {
            let (source, destination) = (addresses.source(), addresses.destination());
            push_ip(source.ip(), &mut body);
            push_ip(destination.ip(), &mut body);
            body.extend_from_slice(&source.port().to_be_bytes());
            body.extend_from_slice(&destination.port().to_be_bytes());
            (PROXY, if source.is_ipv4() { TCP4 } else { TCP6 })
        }
    };
    tlv::write(tlvs, &mut body)?;
    body.extend_from_slice(&CHECKSUM);
    let length = u16::try_from(body.len()).map_err(|_| ProxyError::TooLong)?;
    if FIXED + body.len() > MAX {
        return Err(ProxyError::TooLong);
    }
    let mut whole = SIGNATURE.to_vec();
    whole.extend_from_slice(&[command, family]);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.append(&mut body);
    let sum = crc32c(&[&whole]).to_be_bytes();
    whole.truncate(whole.len() - sum.len());
    out.append(&mut whole);
    out.extend_from_slice(&sum);
    Ok(())
}

fn push_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
}
