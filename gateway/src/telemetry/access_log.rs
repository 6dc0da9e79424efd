//! One JSON line per request, with OpenTelemetry's names where they exist.

use std::cell::{OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use time::OffsetDateTime;

use super::json::{JsonLine, push_places};

use crate::identity::ClientIdentity;
use crate::reason::Reason;

/// Where the trace id stands in a `traceparent` (W3C Trace Context, section 3.2).
const TRACE_ID: Range<usize> = 3..35;

/// What is the same for all requests of a connection.
#[derive(Debug)]
pub struct ConnectionFacts {
    /// The client's address: the peer's, or as a trusted proxy announced it.
    pub client: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the site chosen by SNI, or of the passthrough where TLS does not end here.
    pub site: Arc<str>,
    /// `1.2` or `1.3`; like the rest of TLS empty where it does not end here.
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
    /// The peer address as text, made when it is first wanted.
    pub address: AddressText,
    /// What its answers say of HTTP/3 (RFC 7838).
    pub alt_svc: Option<Arc<HeaderValue>>,
    /// The trusted proxy that announced the client, if one did.
    pub proxy: Option<IpAddr>,
}

/// An address as upstreams and the log are told it. Made once for a connection, not for each of its requests.
#[derive(Debug, Default)]
pub struct AddressText(OnceCell<HeaderValue>);

impl ConnectionFacts {
    /// Of a connection whose TLS does not end here.
    pub fn unterminated(
        client: SocketAddr,
        (listener, passthrough): (&Arc<str>, Arc<str>),
        identity: ClientIdentity,
    ) -> Self {
        Self {
            client,
            listener: Arc::clone(listener),
            site: passthrough,
            tls_version: "",
            tls_cipher: "",
            tls_curve: "",
            tls_resumed: false,
            tls_declined: None,
            identity,
            address: AddressText::default(),
            alt_svc: None,
            proxy: None,
        }
    }

    /// The peer's IP address, IPv4 also where it came as IPv6.
    pub fn client_address(&self) -> &HeaderValue {
        self.address.0.get_or_init(|| {
            let text = self.client.ip().to_canonical().to_string();
            // An address has digits, letters, dots and colons.
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
        })
    }
}

/// One request, complete.
#[derive(Debug)]
pub struct RequestRecord {
    /// The connection it came over.
    pub connection: Rc<ConnectionFacts>,
    /// Who the client is to the route, where that is more than the handshake proved.
    pub identity: Option<ClientIdentity>,
    /// Request id as sent upstream.
    pub request_id: HeaderValue,
    /// A valid W3C `traceparent` as sent upstream, or nothing.
    pub traceparent: HeaderValue,
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

/// The connection in a log line: where it comes from, what TLS came to, who the client is, where it came in.
pub(super) fn write_connection(
    connection: &ConnectionFacts,
    client: &ClientIdentity,
    line: &mut JsonLine<'_>,
) {
    line.text(
        "\"client.address\":",
        header_text(connection.client_address()),
    )
    .number("\"client.port\":", connection.client.port().into());
    if let Some(proxy) = connection.proxy {
        let proxy = proxy.to_canonical().to_string();
        line.text("\"network.peer.address\":", &proxy);
    }
    if let Some(state) = connection.identity.unterminated() {
        line.text("\"client.identity\":", state)
            .text("\"listener\":", &connection.listener)
            .text("\"passthrough\":", &connection.site);
        return;
    }
    line.text("\"tls.protocol.version\":", connection.tls_version)
        .text("\"tls.cipher\":", connection.tls_cipher)
        .text("\"tls.curve\":", connection.tls_curve)
        .flag("\"tls.resumed\":", connection.tls_resumed)
        .some_text("\"tls.resumption_declined\":", connection.tls_declined);
    write_client(client, line);
    line.text("\"listener\":", &connection.listener)
        .text("\"site\":", &connection.site);
}

/// A client's certificate in a log line; nothing of a client without one.
pub(super) fn write_client(client: &ClientIdentity, line: &mut JsonLine<'_>) {
    let Some(known) = client.known() else { return };
    // Where it is false the names below are the client's own claim.
    line.flag("\"tls.client.verified\":", client.verified().is_some())
        .text("\"tls.client.subject\":", &known.subject)
        .text("\"tls.client.issuer\":", &known.issuer)
        .text("\"tls.client.x509.serial_number\":", &known.serial)
        .text("\"tls.client.hash.sha256\":", &known.sha256_hex())
        .some_text("\"tls.client.spiffe_id\":", known.spiffe.as_deref())
        .number("\"tls.client.not_after\":", known.not_after.into());
}

/// Now, as RFC 3339 with milliseconds.
pub(super) fn push_timestamp(out: &mut Vec<u8>) {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].");
    thread_local! {
        /// The text of the second in which this thread last asked: thousands of lines share it.
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    // A clock before 1970 is written as 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            let start = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(*second);
            *text = start.format(FORMAT).unwrap_or_default();
        }
        out.extend_from_slice(text.as_bytes());
    });
    push_places(out, now.subsec_millis(), 3);
    out.push(b'Z');
}

impl RequestRecord {
    /// Appends the line, without its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let connection = &*self.connection;
        let mut line = JsonLine::new(out);
        line.with("\"timestamp\":", push_timestamp)
            .text("\"http.request.method\":", self.method.as_str())
            .text("\"url.path\":", &self.path)
            .text("\"server.address\":", &self.host)
            .number("\"http.response.status_code\":", self.status.into())
            .number("\"http.response.body.size\":", self.response_bytes.into())
            .text("\"network.protocol.version\":", self.protocol)
            .thousandths("\"duration_ms\":", self.duration.as_micros())
            .flag("\"complete\":", self.complete);
        let client = self.identity.as_ref().unwrap_or(&connection.identity);
        write_connection(connection, client, &mut line);
        line.some_text("\"rule\":", self.rule.as_deref())
            .texts("\"shadow.rule\":", self.shadows.iter().map(|rule| &**rule))
            .some_text("\"upstream\":", self.upstream.as_deref())
            .some_text("\"reason\":", self.reason.map(Reason::code))
            .text("\"request_id\":", header_text(&self.request_id))
            .text("\"trace_id\":", self.trace_id())
            .end();
    }

    /// The trace id in `traceparent`, or nothing.
    fn trace_id(&self) -> &str {
        header_text(&self.traceparent)
            .get(TRACE_ID)
            .unwrap_or_default()
    }
}

fn header_text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default() // Ids are plain.
}
