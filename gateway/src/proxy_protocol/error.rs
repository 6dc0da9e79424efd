//! What can be wrong with a PROXY protocol header.

use std::fmt;

/// Why a header was not taken, or not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyError {
    /// The first bytes are not those of a header.
    NoHeader,
    /// Longer than allowed.
    TooLong,
    /// Of version 1: not what its grammar says.
    Line,
    /// Of version 2: another version, or a command that nobody knows.
    Command,
    /// Of version 2: an address family that nobody knows.
    Family,
    /// Of version 2: shorter than its addresses.
    Addresses,
    /// A TLV is cut off.
    Tlv,
    /// The checksum is wrong, or is there twice.
    Checksum,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "the first bytes are no PROXY header",
            Self::TooLong => "the header is too long",
            Self::Line => "the version 1 line is malformed",
            Self::Command => "an unknown version or command",
            Self::Family => "an unknown address family",
            Self::Addresses => "shorter than its addresses",
            Self::Tlv => "a TLV is cut off",
            Self::Checksum => "the CRC32c does not hold",
        })
    }
}

impl std::error::Error for ProxyError {}
