//! One JSON line per refused connection, handshake or request, with its stable reason code.

use std::net::SocketAddr;

use serde::Serialize;

use super::access_log::{Client, timestamp};
use crate::identity::ClientIdentity;
use crate::reason::Reason;

/// Who was refused, where, and why.
#[derive(Debug)]
pub struct RefusalRecord<'a> {
    /// The code.
    pub reason: Reason,
    /// Peer address.
    pub client: SocketAddr,
    /// Name of the listener.
    pub listener: &'a str,
    /// Site, once known.
    pub site: Option<&'a str>,
    /// Server name the client asked for, once known.
    pub server_name: Option<&'a str>,
    /// Identity, once known.
    pub identity: Option<&'a ClientIdentity>,
    /// Request id, for requests.
    pub request_id: Option<&'a str>,
    /// What exactly went wrong, without secrets; for the operator.
    pub detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    reason: &'static str,
    meaning: &'static str,
    #[serde(rename = "client.address")]
    client_address: std::net::IpAddr,
    #[serde(rename = "client.port")]
    client_port: u16,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(
        rename = "tls.client.server_name",
        skip_serializing_if = "Option::is_none"
    )]
    server_name: Option<&'a str>,
    #[serde(flatten)]
    client: Option<Client<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl Serialize for RefusalRecord<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line {
            timestamp: timestamp(),
            reason: self.reason.code(),
            meaning: self.reason.meaning(),
            client_address: self.client.ip(),
            client_port: self.client.port(),
            listener: self.listener,
            site: self.site,
            server_name: self.server_name,
            client: self.identity.and_then(Client::of),
            request_id: self.request_id,
            detail: self.detail,
        }
        .serialize(serializer)
    }
}
