//! One JSON line per refused connection, handshake or request, with its stable reason code.

use std::net::SocketAddr;

use super::access_log::{ConnectionFacts, push_timestamp, write_client};
use super::json::JsonLine;
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

impl<'a> RefusalRecord<'a> {
    /// Of a connection about which nothing else is known.
    pub fn of_connection(reason: Reason, client: SocketAddr, listener: &'a str) -> Self {
        Self {
            reason,
            client,
            listener,
            site: None,
            server_name: None,
            identity: None,
            request_id: None,
            detail: None,
        }
    }

    /// Of a client, outside of its requests.
    pub fn of_client(reason: Reason, client: &'a ConnectionFacts) -> Self {
        let terminated = client.identity.unterminated().is_none();
        Self {
            site: terminated.then_some(&*client.site),
            identity: Some(&client.identity),
            ..Self::of_connection(reason, client.client, &client.listener)
        }
    }

    /// Appends the line, without its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut line = JsonLine::new(out);
        line.with("\"timestamp\":", push_timestamp)
            .text("\"reason\":", self.reason.code())
            .text("\"meaning\":", self.reason.meaning())
            .text("\"client.address\":", &self.client.ip().to_string())
            .number("\"client.port\":", self.client.port().into())
            .text("\"listener\":", self.listener)
            .some_text("\"site\":", self.site)
            .some_text("\"tls.client.server_name\":", self.server_name);
        if let Some(identity) = self.identity {
            write_client(identity, &mut line);
        }
        line.some_text("\"request_id\":", self.request_id)
            .some_text("\"detail\":", self.detail)
            .end();
    }
}
