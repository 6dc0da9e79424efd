//! What a TCP upstream is told of a client in front of its bytes: the PROXY header.

use std::net::SocketAddr;

use bytes::BytesMut;
use portcullis_config::{ProxyHeader, Upstream};

use super::admission::Asked;
use crate::identity::ClientIdentity;
use crate::identity_fields::claims::subject;
use crate::proxy::admission::Stopped;
use crate::proxy::client::{Caller, Client};
use crate::proxy_protocol::ssl::{self, Certificate, Shown};
use crate::proxy_protocol::{Addresses, Origin, ProxyError, Ssl, Tlv, tlv, write_v1, write_v2};
use crate::reason::Reason;

/// `PP2_TYPE_MIN_CUSTOM` + 5: who the client is, by a certificate that was verified, in the words of the claim `sub`: its SPIFFE ID, else
/// its subject, else `sha256:` with its fingerprint. docs/IDENTITY-HEADERS.md promises it.
const IDENTITY: u8 = 0xe5;

/// The header for this upstream; empty where it wants none.
pub(super) fn of(
    upstream: &Upstream,
    (client, caller): (&Client, &Caller),
    (asked, local, id): (&Asked, Option<SocketAddr>, &str),
) -> Result<BytesMut, Stopped> {
    let Some(wanted) = upstream.proxy_header else {
        return Ok(BytesMut::new());
    };
    let origin = local.map_or(Origin::Unknown, |local| {
        Origin::Client(Addresses::new(client.facts.client, local))
    });
    let mut bytes = Vec::new();
    let written = match wanted {
        ProxyHeader::V1 => {
            write_v1(&origin, &mut bytes);
            Ok(())
        }
        ProxyHeader::V2 => write_v2(&origin, &[], &mut bytes),
        ProxyHeader::V2Tls => tls_info((client, caller), (asked, id))
            .and_then(|tlvs| write_v2(&origin, &tlvs, &mut bytes)),
    };
    match written {
        Ok(()) => Ok(bytes.as_slice().into()),
        // Half of what it is to be told would be something else.
        Err(_) => Err(Reason::ProxyHeaderTooLong.into()),
    }
}

fn tls_info(
    (client, caller): (&Client, &Caller),
    (asked, id): (&Asked, &str),
) -> Result<Vec<Tlv>, ProxyError> {
    let facts = &client.facts;
    let mut tlvs = Vec::new();
    if let Some(alpn) = &asked.alpn {
        tlvs.push(Tlv::new(tlv::ALPN, &**alpn));
    }
    if let Some(name) = &asked.server_name {
        tlvs.push(Tlv::new(tlv::AUTHORITY, name.as_bytes()));
    }
    tlvs.push(Tlv::new(tlv::UNIQUE_ID, id.as_bytes()));
    let version = format!("TLSv{}", facts.tls_version);
    let mut of_tls = vec![
        Tlv::new(ssl::VERSION, version),
        Tlv::new(ssl::CIPHER, facts.tls_cipher),
    ];
    let shown = match facts.tls_resumed {
        true => Shown::Before,
        false => Shown::Now,
    };
    let certificate = match &caller.identity {
        ClientIdentity::Absent => Certificate::Absent,
        // Its names are the client's own claim, and not told.
        ClientIdentity::Unverified(_) => Certificate::Unverified(shown),
        ClientIdentity::Verified(identity) => {
            if let Some(name) = &identity.common_name {
                of_tls.push(Tlv::new(ssl::COMMON_NAME, name.as_bytes()));
            }
            Certificate::Verified(shown)
        }
    };
    let ssl = Ssl {
        certificate,
        facts: of_tls,
    };
    tlvs.push(ssl.to_tlv()?);
    if let Some(identity) = caller.identity.verified() {
        tlvs.push(Tlv::new(IDENTITY, subject(identity)));
    }
    Ok(tlvs)
}
