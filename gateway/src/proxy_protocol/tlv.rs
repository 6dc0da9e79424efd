//! The facts a version 2 header carries beside addresses: type, length, value.

use super::ProxyError;

/// `PP2_TYPE_ALPN`: the protocol that ALPN chose.
pub const ALPN: u8 = 0x01;
/// `PP2_TYPE_AUTHORITY`: the server name the client asked for.
pub const AUTHORITY: u8 = 0x02;
/// `PP2_TYPE_CRC32C`: the checksum of the header; checked and left out by the parser, added by the writer.
pub const CRC32C: u8 = 0x03;
/// `PP2_TYPE_NOOP`: padding.
pub const NOOP: u8 = 0x04;
/// `PP2_TYPE_UNIQUE_ID`: names the connection in logs.
pub const UNIQUE_ID: u8 = 0x05;

/// Bytes of type and length.
const HEAD: usize = 3;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlv {
    /// What it is.
    pub kind: u8,
    /// What it says, at most 64 KiB.
    pub value: Vec<u8>,
}

impl Tlv {
    /// A fact.
    pub fn new(kind: u8, value: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            value: value.into(),
        }
    }
}

/// Reads TLVs up to the end of `bytes`, each with the place of its value.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(usize, Tlv)>, ProxyError> {
    let (mut at, mut tlvs) = (0, Vec::new());
    while at < bytes.len() {
        let [kind, high, low] = *bytes[at..].first_chunk::<HEAD>().ok_or(ProxyError::Tlv)?;
        at += HEAD;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = bytes.get(at..at + length).ok_or(ProxyError::Tlv)?;
        tlvs.push((at, Tlv::new(kind, value)));
        at += length;
    }
    Ok(tlvs)
}

/// Appends TLVs.
pub(super) fn write(tlvs: &[Tlv], out: &mut Vec<u8>) -> Result<(), ProxyError> {
    for tlv in tlvs {
        let length = u16::try_from(tlv.value.len()).map_err(|_| ProxyError::TooLong)?;
        out.push(tlv.kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&tlv.value);
    }
    Ok(())
}
