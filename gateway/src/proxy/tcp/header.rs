//! What a TCP upstream is told of a client in front of its bytes: the PROXY header.

use std::net::SocketAddr;

use bytes::BytesMut;
use portcullis_config::{ProxyHeader, Upstream};

use crate::identity::ClientIdentity;
use crate::identity_fields::claims::subject;
use crate::proxy::admission::Stopped;
use crate::proxy_protocol::ssl::{self, Certificate, Shown};
use crate::proxy_protocol::{Addresses, Origin, ProxyError, Ssl, Tlv, tlv, write_v1, write_v2};
use crate::reason::Reason;
use crate::telemetry::access_log::ConnectionFacts;

/// `PP2_TYPE_MIN_CUSTOM` + 5: who the client is, by a certificate that was verified, in the words of the claim `sub`: its
/// SPIFFE ID, else its subject, else `sha256:` with its fingerprint. docs/IDENTITY-HEADERS.md promises it.
const IDENTITY: u8 = 0xe5;

/// What there is to tell.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// The client.
    pub(super) source: SocketAddr,
    /// Where it came in; `None` where the socket does not know any more.
    pub(super) destination: Option<SocketAddr>,
    /// What the connection goes by.
    pub(super) id: &'a str,
    /// What the client asked for.
    pub(super) server_name: Option<&'a str>,
    /// `None` where TLS does not end here.
    pub(super) tls: Option<Tls<'a>>,
}

/// What TLS came to.
#[derive(Debug)]
pub(super) struct Tls<'a> {
    pub(super) facts: &'a ConnectionFacts,
    /// The protocol that was chosen.
    pub(super) alpn: Option<&'a [u8]>,
    /// Who the client is to its site.
    pub(super) identity: &'a ClientIdentity,
}

impl Told<'_> {
    /// The header for this upstream; empty where it wants none.
    pub(super) fn header(&self, upstream: &Upstream) -> Result<BytesMut, Stopped> {
        let Some(wanted) = upstream.proxy_header else {
            return Ok(BytesMut::new());
        };
        let origin = self.destination.map_or(Origin::Unknown, |destination| {
            Origin::Client(Addresses::new(self.source, destination))
        });
        let mut bytes = Vec::new();
        let written = match wanted {
            ProxyHeader::V1 => {
                write_v1(&origin, &mut bytes);
                Ok(())
            }
            ProxyHeader::V2 => write_v2(&origin, &[], &mut bytes),
            ProxyHeader::V2Tls => self
                .facts()
                .and_then(|tlvs| write_v2(&origin, &tlvs, &mut bytes)),
        };
        match written {
            Ok(()) => Ok(bytes.as_slice().into()),
            // Half of what it is to be told would be something else.
            Err(_) => Err(Reason::ProxyHeaderTooLong.into()),
        }
    }

    fn facts(&self) -> Result<Vec<Tlv>, ProxyError> {
        let mut tlvs = Vec::new();
        if let Some(alpn) = self.tls.as_ref().and_then(|tls| tls.alpn) {
            tlvs.push(Tlv::new(tlv::ALPN, alpn));
        }
        if let Some(name) = self.server_name {
            tlvs.push(Tlv::new(tlv::AUTHORITY, name.as_bytes()));
        }
        tlvs.push(Tlv::new(tlv::UNIQUE_ID, self.id.as_bytes()));
        if let Some(tls) = &self.tls {
            tlvs.push(tls.ssl().to_tlv()?);
            let identity = tls.identity.verified();
            tlvs.extend(identity.map(|identity| Tlv::new(IDENTITY, subject(identity))));
        }
        Ok(tlvs)
    }
}

impl Tls<'_> {
    fn ssl(&self) -> Ssl {
        let version = format!("TLSv{}", self.facts.tls_version);
        let mut facts = vec![
            Tlv::new(ssl::VERSION, version),
            Tlv::new(ssl::CIPHER, self.facts.tls_cipher),
        ];
        let shown = match self.facts.tls_resumed {
            true => Shown::Before,
            false => Shown::Now,
        };
        let certificate = match self.identity {
            ClientIdentity::Absent | ClientIdentity::Unterminated | ClientIdentity::Local => {
                Certificate::Absent
            }
            // Its names are the client's own claim, and not told.
            ClientIdentity::Unverified(_) => Certificate::Unverified(shown),
            ClientIdentity::Verified(identity) => {
                let name = identity.common_name.as_deref();
                facts.extend(name.map(|name| Tlv::new(ssl::COMMON_NAME, name.as_bytes())));
                Certificate::Verified(shown)
            }
        };
        Ssl { certificate, facts }
    }
}
