//! One JSON line per request, with OpenTelemetry's names where they exist.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use crate::identity::ClientIdentity;
use crate::reason::Reason;

/// What is the same for all requests of a connection.
#[derive(Debug)]
pub struct ConnectionFacts {
    /// Peer address.
    pub client: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the site chosen by SNI.
    pub site: Arc<str>,
    /// `1.2` or `1.3`.
    pub tls_version: &'static str,
    /// IANA name of the cipher suite.
    pub tls_cipher: &'static str,
    /// IANA name of the key exchange group.
    pub tls_curve: &'static str,
    /// Whether the handshake resumed a session.
    pub tls_resumed: bool,
    /// Why a session that was offered was not resumed.
    pub tls_declined: Option<&'static str>,
    /// Who the client is.
    pub identity: ClientIdentity,
}

/// One request, complete.
#[derive(Debug)]
pub struct RequestRecord {
    /// The connection it came over.
    pub connection: Rc<ConnectionFacts>,
    /// Who the client is to the route, where that is more than the handshake proved.
    pub identity: Option<ClientIdentity>,
    /// Request id as sent upstream.
    pub request_id: Box<str>,
    /// W3C trace id, 32 hex digits.
    pub trace_id: Box<str>,
    /// Method.
    pub method: http::Method,
    /// Host the client asked for.
    pub host: Box<str>,
    /// Path without query (queries carry secrets).
    pub path: Box<str>,
    /// `1.0`, `1.1`, `2`.
    pub protocol: &'static str,
    /// Status sent to the client.
    pub status: u16,
    /// Bytes of the response body handed to the client.
    pub response_bytes: u64,
    /// Rule that allowed or denied.
    pub rule: Option<Arc<str>>,
    /// Rules on trial that would have denied.
    pub shadows: Vec<Arc<str>>,
    /// Upstream by name.
    pub upstream: Option<Arc<str>>,
    /// Why it was refused or failed, if so.
    pub reason: Option<Reason>,
    /// Whether the response body ended as promised.
    pub complete: bool,
    /// From the request head to the end of the response.
    pub duration: Duration,
}

/// The line.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    #[serde(rename = "http.request.method")]
    method: &'a str,
    #[serde(rename = "url.path")]
    path: &'a str,
    #[serde(rename = "server.address")]
    host: &'a str,
    #[serde(rename = "http.response.status_code")]
    status: u16,
    #[serde(rename = "http.response.body.size")]
    response_bytes: u64,
    #[serde(rename = "network.protocol.version")]
    protocol: &'static str,
    duration_ms: f64,
    complete: bool,
    #[serde(rename = "client.address")]
    client_address: std::net::IpAddr,
    #[serde(rename = "client.port")]
    client_port: u16,
    #[serde(rename = "tls.protocol.version")]
    tls_version: &'static str,
    #[serde(rename = "tls.cipher")]
    tls_cipher: &'static str,
    #[serde(rename = "tls.curve")]
    tls_curve: &'static str,
    #[serde(rename = "tls.resumed")]
    tls_resumed: bool,
    #[serde(
        rename = "tls.resumption_declined",
        skip_serializing_if = "Option::is_none"
    )]
    tls_declined: Option<&'static str>,
    #[serde(flatten)]
    client: Option<Client<'a>>,
    listener: &'a str,
    site: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(rename = "shadow.rule", skip_serializing_if = "Vec::is_empty")]
    shadows: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    request_id: &'a str,
    trace_id: &'a str,
}

/// A client's certificate in a log line.
#[derive(Serialize)]
pub(super) struct Client<'a> {
    /// Without it the names below are the client's own claim.
    #[serde(rename = "tls.client.verified")]
    verified: bool,
    #[serde(rename = "tls.client.subject")]
    subject: &'a str,
    #[serde(rename = "tls.client.issuer")]
    issuer: &'a str,
    #[serde(rename = "tls.client.x509.serial_number")]
    serial: &'a str,
    #[serde(rename = "tls.client.hash.sha256")]
    sha256: String,
    #[serde(
        rename = "tls.client.spiffe_id",
        skip_serializing_if = "Option::is_none"
    )]
    spiffe: Option<&'a str>,
    #[serde(rename = "tls.client.not_after")]
    not_after: i64,
}

impl<'a> Client<'a> {
    pub(super) fn of(identity: &'a ClientIdentity) -> Option<Self> {
        let known = identity.known()?;
        Some(Self {
            verified: identity.verified().is_some(),
            subject: &known.subject,
            issuer: &known.issuer,
            serial: &known.serial,
            sha256: known.sha256_hex(),
            spiffe: known.spiffe.as_deref(),
            not_after: known.not_after,
        })
    }
}

/// Now, as RFC 3339 with milliseconds.
pub(super) fn timestamp() -> String {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    OffsetDateTime::now_utc().format(FORMAT).unwrap_or_default()
}

impl Serialize for RequestRecord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let connection = &*self.connection;
        Line {
            timestamp: timestamp(),
            method: self.method.as_str(),
            path: &self.path,
            host: &self.host,
            status: self.status,
            response_bytes: self.response_bytes,
            protocol: self.protocol,
            duration_ms: self.duration.as_micros() as f64 / 1000.0,
            complete: self.complete,
            client_address: connection.client.ip(),
            client_port: connection.client.port(),
            tls_version: connection.tls_version,
            tls_cipher: connection.tls_cipher,
            tls_curve: connection.tls_curve,
            tls_resumed: connection.tls_resumed,
            tls_declined: connection.tls_declined,
            client: Client::of(self.identity.as_ref().unwrap_or(&connection.identity)),
            listener: &connection.listener,
            site: &connection.site,
            rule: self.rule.as_deref(),
            shadows: self.shadows.iter().map(|rule| &**rule).collect(),
            upstream: self.upstream.as_deref(),
            reason: self.reason.map(Reason::code),
            request_id: &self.request_id,
            trace_id: &self.trace_id,
        }
        .serialize(serializer)
    }
}
