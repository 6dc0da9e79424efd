//! Why a revocation list, or an answer, is not used.

use std::fmt;
use std::io;
use std::ops::Range;

use super::der::Malformed;

/// A list that cannot be used, and where it came from.
#[derive(Debug)]
pub struct RevocationError {
    /// File or address.
    pub origin: String,
    /// Where it is named in the configuration; empty when nowhere.
    pub span: Range<usize>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revocation list {}: {}", self.origin, self.problem)
    }
}

impl std::error::Error for RevocationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// What is wrong with a list or an answer.
#[derive(Debug)]
pub enum Problem {
    /// It cannot be read or written.
    Read(io::Error),
    /// There is nothing in the file.
    Empty,
    /// No file in the folder.
    EmptyFolder,
    /// Larger than `max_size`.
    TooLarge(u64),
    /// A PEM file without, or with a broken, `X509 CRL` block.
    Pem(String),
    /// Not the DER of what it should be.
    Malformed(Malformed),
    /// A critical extension that is not known here.
    UnknownCritical(String),
    /// It lists certificates of other issuers.
    Indirect,
    /// It would be good for ever.
    NoNextUpdate,
    /// The issuer is known and did not sign it.
    BadSignature,
    /// Signed with an algorithm that is not accepted.
    WeakSignature,
    /// Older than the one in use.
    Older,
    /// Nobody with this key and name was seen, and the one in use has a known issuer.
    Stranger,
    /// The fetch failed.
    Fetch(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => f.write_str("is empty"),
            Self::EmptyFolder => f.write_str("the folder holds no file"),
            Self::TooLarge(bound) => write!(f, "is larger than {bound} bytes (`max_size`)"),
            Self::Pem(error) => write!(f, "no usable X509 CRL block: {error}"),
            Self::Malformed(Malformed(what)) => {
                write!(f, "is broken or cut short (reading: {what})")
            }
            Self::UnknownCritical(oid) => write!(f, "has the unknown critical extension {oid}"),
            Self::Indirect => {
                f.write_str("is an indirect list, which is not supported: use the issuer's own")
            }
            Self::NoNextUpdate => f.write_str("has no nextUpdate (RFC 5280, section 5.1.2.5)"),
            Self::BadSignature => {
                f.write_str("is not signed by the CA that it names as its issuer")
            }
            Self::WeakSignature => {
                f.write_str("is signed with an algorithm that is not accepted, such as SHA-1")
            }
            Self::Older => f.write_str("is older than the list in use"),
            Self::Stranger => f.write_str("is signed by a key that no chain has shown yet"),
            Self::Fetch(error) => f.write_str(error),
        }
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}
