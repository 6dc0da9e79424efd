//! One JSON line of the access log for each connection that carried no HTTP, when it is over.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::access_log::{ConnectionFacts, push_timestamp, write_connection};
use super::json::JsonLine;
use crate::identity::ClientIdentity;
use crate::reason::Reason;

/// One connection to a TCP upstream, complete.
#[derive(Debug)]
pub struct TcpRecord {
    /// What it came over.
    pub connection: Rc<ConnectionFacts>,
    /// Who the client is to the site, where that is more than the handshake proved.
    pub identity: Option<ClientIdentity>,
    /// What it goes by, here and at the upstream (`PP2_TYPE_UNIQUE_ID`).
    pub id: Box<str>,
    /// The server name it was decided on.
    pub host: Option<Box<str>>,
    /// The protocol that was negotiated.
    pub alpn: Option<Box<str>>,
    /// Bytes of the client that the upstream took.
    pub client_bytes: u64,
    /// Bytes of the upstream that the client took.
    pub server_bytes: u64,
    /// Rule that allowed or denied.
    pub rule: Option<Arc<str>>,
    /// Rules on trial that would have denied.
    pub shadows: Vec<Arc<str>>,
    /// Upstream by name.
    pub upstream: Option<Arc<str>>,
    /// Why it was refused or cut, if so.
    pub reason: Option<Reason>,
    /// Whether both sides ended their direction.
    pub complete: bool,
    /// From the decision to the end.
    pub duration: Duration,
}

impl TcpRecord {
    /// Of a connection that has just begun.
    pub fn new(connection: Rc<ConnectionFacts>, id: &str) -> Self {
        Self {
            connection,
            identity: None,
            id: id.into(),
            host: None,
            alpn: None,
            client_bytes: 0,
            server_bytes: 0,
            rule: None,
            shadows: Vec::new(),
            upstream: None,
            reason: None,
            complete: false,
            duration: Duration::ZERO,
        }
    }

    /// Appends the line, without its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let connection = &*self.connection;
        let mut line = JsonLine::new(out);
        line.with("\"timestamp\":", push_timestamp)
            .text("\"network.transport\":", "tcp")
            .some_text("\"network.protocol.name\":", self.alpn.as_deref())
            .some_text("\"server.address\":", self.host.as_deref())
            .number("\"client.bytes\":", self.client_bytes.into())
            .number("\"server.bytes\":", self.server_bytes.into())
            .thousandths("\"duration_ms\":", self.duration.as_micros())
            .flag("\"complete\":", self.complete);
        let client = self.identity.as_ref().unwrap_or(&connection.identity);
        write_connection(connection, client, &mut line);
        line.some_text("\"rule\":", self.rule.as_deref())
            .texts("\"shadow.rule\":", self.shadows.iter().map(|rule| &**rule))
            .some_text("\"upstream\":", self.upstream.as_deref())
            .some_text("\"reason\":", self.reason.map(Reason::code))
            .text("\"connection_id\":", &self.id)
            .end();
    }
}
