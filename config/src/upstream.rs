//! `[upstream.NAME]`: where requests go.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::host::parse_host;
use crate::schema::one_or_many;
use crate::value::{DurationText, Number, quoted};

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// NAME of the table; for an inline `upstream = "http://..."` the URL itself.
    pub name: String,
    /// Never empty; used in turn.
    pub endpoints: Vec<Located<Endpoint>>,
    /// Default HTTP/1.1.
    pub protocol: UpstreamProtocol,
    /// TCP connect. Default 3 s.
    pub connect_timeout: Duration,
    /// From the end of the request, its body included, to the response head. Default 60 s.
    pub response_timeout: Duration,
    /// Body without a byte, either direction, on the upstream side. Default 60 s.
    pub body_timeout: Duration,
    /// Unused pooled connection. Default 30 s.
    pub idle_timeout: Duration,
    /// Connections of the process to this upstream, idle and busy. Default 1,024.
    pub connections: usize,
    /// Requests that may wait for a connection. Default 1,024.
    pub pending: usize,
    /// In which forms it is told who the client is. Default `X-Forwarded-Client-Cert` alone.
    pub identity: Vec<Located<IdentityForm>>,
    /// What a TCP upstream is told in front of a client's bytes. Default nothing.
    pub proxy_header: Option<ProxyHeader>,
}

/// Host and port of an upstream; names are resolved when connecting.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// DNS name or IP literal (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum UpstreamProtocol {
    /// `"http1"`.
    #[serde(rename = "http1")]
    Http1,
    /// `"h2"`: HTTP/2 with prior knowledge.
    #[serde(rename = "h2")]
    Http2,
    /// `"tcp"`: bytes, for `[[site.tcp]]`.
    #[serde(rename = "tcp")]
    Tcp,
}

impl UpstreamProtocol {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "h2",
            Self::Tcp => "tcp",
        }
    }
}

/// What a TCP upstream is told of a client, in front of its bytes (PROXY protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `"v1"`: a line with the addresses.
    V1,
    /// `"v2"`: the addresses, binary, with a checksum.
    V2,
    /// `"v2"` with `tls_info = true`: what TLS negotiated and who the client is, too.
    V2Tls,
}

/// `proxy_protocol` of an upstream as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RawProxyHeader {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A form in which an upstream is told who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityForm {
    /// `X-Forwarded-Client-Cert`, as `[forwarding.xfcc]` says.
    Xfcc,
    /// `Client-Cert` (RFC 9440), with `Client-Cert-Verified`.
    ClientCert,
    /// `Client-Cert-Chain` (RFC 9440), with `Client-Cert-Verified`.
    ClientCertChain,
    /// The signed token of `[forwarding.jwt]`.
    Jwt,
}

impl IdentityForm {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            IdentityForm::Xfcc => "xfcc",
            IdentityForm::ClientCert => "client-cert",
            IdentityForm::ClientCertChain => "client-cert-chain",
            IdentityForm::Jwt => "jwt",
        }
    }
}

/// `[upstream.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUpstream {
    /// Addresses of the service, `http://HOST:PORT` or `tcp://HOST:PORT`, used in turn. One of `endpoints` and
    /// `endpoint` is required.
    #[schemars(schema_with = "one_or_many::<String>")]
    endpoints: Option<Vec<Located<String>>>,
    /// The address of the service, when there is only one.
    endpoint: Option<Located<String>>,
    /// What is spoken to the service: `http1`, `h2` (HTTP/2 with prior knowledge, for gRPC), or `tcp` (bytes, for
    /// `[[site.tcp]]`).
    protocol: Option<Located<UpstreamProtocol>>,
    /// How long connecting may take.
    connect_timeout: Option<Located<DurationText>>,
    /// From the end of the request, its body included, to the head of the response.
    response_timeout: Option<Located<DurationText>>,
    /// How long a body may stand still.
    body_timeout: Option<Located<DurationText>>,
    /// How long an unused connection is kept.
    idle_timeout: Option<Located<DurationText>>,
    /// Connections to this upstream, idle and busy.
    connections: Option<Located<Number>>,
    /// Requests that may wait for a connection.
    pending: Option<Located<Number>>,
    /// In which forms it is told who the client is: `xfcc`, `client-cert`, `client-cert-chain`, `jwt`.
    identity: Option<Vec<Located<IdentityForm>>>,
    /// Tell a TCP upstream the addresses of each client in front of its bytes: `v1` or `v2` of the PROXY protocol.
    proxy_protocol: Option<Located<RawProxyHeader>>,
    /// With `v2`: tell it what TLS negotiated and who the client is, too.
    tls_info: Option<Located<bool>>,
}

/// Connections and waiting requests beyond what a process can hold.
const COUNT_MAX: usize = 1 << 20;

impl Upstream {
    /// An upstream with all defaults.
    pub(crate) fn new(name: String, endpoints: Vec<Located<Endpoint>>) -> Self {
        Upstream {
            name,
            endpoints,
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            connections: 1024,
            pending: 1024,
            identity: vec![Located {
                value: IdentityForm::Xfcc,
                span: 0..0,
            }],
            proxy_header: None,
        }
    }

    /// Whether it is told who the client is in this form.
    pub fn wants(&self, form: IdentityForm) -> bool {
        self.identity.iter().any(|wanted| wanted.value == form)
    }

    /// Reports an upstream that wants tokens which nothing signs.
    pub(crate) fn check_identity(&self, check: &mut Check<'_>, jwt: Signed) {
        let wanted = |form: &&Located<IdentityForm>| form.value == IdentityForm::Jwt;
        if let (Signed::Never, Some(form)) = (jwt, self.identity.iter().find(wanted)) {
            check
                .error(&form.span, "no key is there to sign identities with")
                .help("add `[forwarding.jwt]` with `key = \"pkcs11:...\"`");
        }
    }
}

/// Whether there is a `[forwarding.jwt]`, right or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signed {
    /// There is.
    Here,
    /// There is none.
    Never,
}

impl RawUpstream {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        name: &Located<String>,
        table: &Span,
    ) -> Upstream {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !name.value.bytes().all(plain) {
            check.error(
                &name.span,
                "an upstream name has only letters, digits, `-`, `_` and `.`",
            );
        }
        let lost = ["endpoints", "endpoint"]
            .iter()
            .any(|key| check.lost_key(table, key));
        if let (Some(_), Some(one)) = (&self.endpoints, &self.endpoint) {
            check.error(&one.span, "give `endpoint` or `endpoints`, not both");
        }
        let protocol = self.protocol.as_ref();
        let protocol = protocol.map_or(UpstreamProtocol::Http1, |protocol| protocol.value);
        let proxy_header = self.proxy_header(check, protocol);
        if protocol == UpstreamProtocol::Tcp {
            self.only_what_tcp_has(check);
        }
        let texts: Vec<_> = self
            .endpoints
            .into_iter()
            .flatten()
            .chain(self.endpoint)
            .collect();
        if texts.is_empty() && !lost {
            check
                .error(table, "`endpoints` is missing")
                .help("add `endpoints = [\"http://127.0.0.1:8080\"]`");
        }
        let known = !check.lost_key(table, "protocol");
        let mut endpoints = Vec::new();
        for text in &texts {
            let Some((scheme, endpoint)) = endpoint(check, text) else {
                continue;
            };
            if known {
                scheme.fits(check, text, protocol);
            }
            endpoints.push(endpoint);
        }
        check.distinct(&endpoints, "this endpoint");
        check.distinct(self.identity.as_deref().unwrap_or_default(), "this form");
        let default = Upstream::new(name.value.clone(), endpoints);
        let short = Duration::from_millis(1)..=Duration::from_secs(3600);
        let long = Duration::from_millis(1)..=Duration::from_secs(86_400);
        Upstream {
            protocol,
            connect_timeout: check.duration(self.connect_timeout, default.connect_timeout, short),
            response_timeout: check.duration(
                self.response_timeout,
                default.response_timeout,
                long.clone(),
            ),
            body_timeout: check.duration(self.body_timeout, default.body_timeout, long.clone()),
            idle_timeout: check.duration(self.idle_timeout, default.idle_timeout, long),
            connections: check.count(self.connections, default.connections, 1..=COUNT_MAX),
            pending: check.count(self.pending, default.pending, 0..=COUNT_MAX),
            identity: self.identity.unwrap_or(default.identity),
            proxy_header,
            ..default
        }
    }

    fn proxy_header(
        &self,
        check: &mut Check<'_>,
        protocol: UpstreamProtocol,
    ) -> Option<ProxyHeader> {
        let version = self.proxy_protocol.as_ref();
        let tls = self.tls_info.as_ref().filter(|tls| tls.value);
        if let (Some(version), UpstreamProtocol::Http1 | UpstreamProtocol::Http2) =
            (version, protocol)
        {
            check
                .error(
                    &version.span,
                    "an HTTP upstream gets no PROXY header: its connections are shared by many clients",
                )
                .help("`X-Forwarded-For` and `identity` tell it about each request; `protocol = \"tcp\"` has a connection for each client");
        }
        if let (Some(tls), None | Some(RawProxyHeader::V1)) =
            (tls, version.map(|version| version.value))
        {
            check
                .error(&tls.span, "`tls_info` is told in PROXY protocol 2 alone")
                .help("add `proxy_protocol = \"v2\"`");
        }
        version.map(|version| match (version.value, tls) {
            (RawProxyHeader::V1, _) => ProxyHeader::V1,
            (RawProxyHeader::V2, None) => ProxyHeader::V2,
            (RawProxyHeader::V2, Some(_)) => ProxyHeader::V2Tls,
        })
    }

    fn only_what_tcp_has(&self, check: &mut Check<'_>) {
        let place =
            |value: &Option<Located<DurationText>>| value.as_ref().map(|value| value.span.clone());
        let identity = self.identity.as_ref();
        let identity = identity.and_then(|forms| forms.first());
        let useless = [
            ("response_timeout", place(&self.response_timeout)),
            ("body_timeout", place(&self.body_timeout)),
            ("idle_timeout", place(&self.idle_timeout)),
            ("identity", identity.map(|form| form.span.clone())),
        ];
        for (key, span) in useless {
            if let Some(span) = span {
                let message = format!("`{key}` does nothing on a tcp upstream");
                check.error(&span, message);
            }
        }
    }
}

/// How an endpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http://`.
    Http,
    /// `tcp://`.
    Tcp,
}

impl Scheme {
    /// Reports an endpoint of the other kind.
    fn fits(self, check: &mut Check<'_>, text: &Located<String>, protocol: UpstreamProtocol) {
        let told = match (self, protocol) {
            (Scheme::Http, UpstreamProtocol::Tcp) => {
                Some("an upstream with `protocol = \"tcp\"` has endpoints like \"tcp://HOST:PORT\"")
            }
            (Scheme::Tcp, UpstreamProtocol::Http1 | UpstreamProtocol::Http2) => {
                Some("a tcp endpoint belongs to an upstream with `protocol = \"tcp\"`")
            }
            (Scheme::Http, UpstreamProtocol::Http1 | UpstreamProtocol::Http2)
            | (Scheme::Tcp, UpstreamProtocol::Tcp) => None,
        };
        if let Some(message) = told {
            check.error(&text.span, message);
        }
    }
}

/// Reads `http://HOST:PORT` or `tcp://HOST:PORT`.
pub(crate) fn endpoint(
    check: &mut Check<'_>,
    text: &Located<String>,
) -> Option<(Scheme, Located<Endpoint>)> {
    let (scheme, rest) = match text.value.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("tcp", rest)) => (Scheme::Tcp, rest),
        Some(("https", _)) => {
            check
                .error(&text.span, "TLS to upstreams is not supported yet")
                .help("write `http://` and keep the path to the service on a network you trust");
            return None;
        }
        _ => {
            let message = format!("{} is no endpoint", quoted(&text.value));
            check
                .error(&text.span, message)
                .help("write it as \"http://HOST:PORT\", or \"tcp://HOST:PORT\"");
            return None;
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        check
            .error(&text.span, "an endpoint has no path, query or user")
            .help("the path of a request is forwarded as it is; write only \"http://HOST:PORT\"");
        return None;
    }
    let usual_port = match scheme {
        Scheme::Http => 80,
        // None that could be meant: 0 cannot be written.
        Scheme::Tcp => 0,
    };
    let endpoint = host_and_port(check, &text.span, authority, usual_port)?;
    if endpoint.port == 0 {
        check.error(&text.span, "a tcp endpoint needs its port");
        return None;
    }
    Some((scheme, text.with(endpoint)))
}

/// Reads `HOST` or `HOST:PORT`.
pub(crate) fn host_and_port(
    check: &mut Check<'_>,
    span: &Span,
    authority: &str,
    usual_port: u16,
) -> Option<Endpoint> {
    // An IPv6 literal has colons of its own, so the port begins behind the bracket.
    let port_at = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[port_at..].rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(port_at + colon);
            let digits = port[1..].bytes().all(|byte| byte.is_ascii_digit());
            (
                host,
                port[1..]
                    .parse::<u16>()
                    .ok()
                    .filter(|port| digits && *port != 0),
            )
        }
        None => (authority, Some(usual_port)),
    };
    let Some(port) = port else {
        check.error(span, "a port is a number from 1 to 65535");
        return None;
    };
    match parse_host(host) {
        Ok(host) => Some(Endpoint { host, port }),
        Err(problem) => {
            check.error(span, format!("{} is no host: {problem}", quoted(host)));
            None
        }
    }
}
