//! `PP2_TYPE_SSL`: what TLS between a client and its proxy came to.

use super::{ProxyError, Tlv, tlv};

/// `PP2_TYPE_SSL`.
pub const SSL: u8 = 0x20;
/// `PP2_SUBTYPE_SSL_VERSION`: such as `TLSv1.3`.
pub const VERSION: u8 = 0x21;
/// `PP2_SUBTYPE_SSL_CN`: the common name of the client's certificate.
pub const COMMON_NAME: u8 = 0x22;
/// `PP2_SUBTYPE_SSL_CIPHER`: the cipher suite.
pub const CIPHER: u8 = 0x23;

/// `PP2_CLIENT_SSL`, `_CERT_CONN` and `_CERT_SESS`.
const CLIENT_SSL: u8 = 0x01;
const CERT_CONN: u8 = 0x02;
const CERT_SESS: u8 = 0x04;
/// What is told where no certificate was verified: any number but 0.
const NOT_VERIFIED: u32 = 1;

/// What TLS came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssl {
    /// What the client showed.
    pub certificate: Certificate,
    /// Version, cipher suite, common name and the like.
    pub facts: Vec<Tlv>,
}

/// A client's certificate, as a PROXY header tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// None was shown.
    Absent,
    /// One was shown, and nobody verified it.
    Unverified(Shown),
    /// One was shown and verified.
    Verified(Shown),
}

/// When a certificate was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// In the handshake of this connection.
    Now,
    /// In an earlier one, whose session this connection resumes.
    Before,
}

impl Shown {
    fn bits(self) -> u8 {
        match self {
            Self::Now => CERT_CONN | CERT_SESS,
            Self::Before => CERT_SESS,
        }
    }
}

impl Ssl {
    /// As one fact of a header.
    pub fn to_tlv(&self) -> Result<Tlv, ProxyError> {
        let (bits, verify) = match self.certificate {
            Certificate::Absent => (0, NOT_VERIFIED),
            Certificate::Unverified(shown) => (shown.bits(), NOT_VERIFIED),
            Certificate::Verified(shown) => (shown.bits(), 0),
        };
        let mut value = vec![CLIENT_SSL | bits];
        value.extend_from_slice(&verify.to_be_bytes());
        tlv::write(&self.facts, &mut value)?;
        Ok(Tlv { kind: SSL, value })
    }

    /// Reads the value of such a fact. `None` where the connection was not over TLS.
    pub fn read(value: &[u8]) -> Result<Option<Self>, ProxyError> {
        let (head, facts) = value.split_first_chunk::<5>().ok_or(ProxyError::Tlv)?;
        let [client, verify @ ..] = *head;
        let facts = tlv::read(facts)?;
        if client & CLIENT_SSL == 0 {
            return Ok(None);
        }
        let shown = match (client & CERT_CONN, client & CERT_SESS) {
            (0, 0) => None,
            (0, _) => Some(Shown::Before),
            _ => Some(Shown::Now),
        };
        let certificate = match (shown, u32::from_be_bytes(verify)) {
            (None, _) => Certificate::Absent,
            (Some(shown), 0) => Certificate::Verified(shown),
            (Some(shown), _) => Certificate::Unverified(shown),
        };
        let facts = facts.into_iter().map(|(_, tlv)| tlv).collect();
        Ok(Some(Self { certificate, facts }))
    }
}
