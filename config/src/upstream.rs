//! `[upstream.NAME]`: where requests go.
mod balance;
mod dns;
mod ejection;
mod endpoint;
mod health;
mod retries;
mod tcp;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Span};
use crate::schema::one_or_many;
use crate::upstream_tls::{Believed, RawUpstreamTls};
use crate::value::{DurationText, Number};
use crate::{Located, UpstreamTls};

use self::balance::RawBalance;
pub use self::balance::{Balance, HashOn};
use self::dns::RawDns;
pub use self::ejection::Ejection;
use self::ejection::RawEjection;
use self::endpoint::RawEndpoint;
pub use self::endpoint::{Endpoint, Scheme};
pub(crate) use self::endpoint::{endpoint, host_and_port};
use self::health::RawHealth;
pub use self::health::{Health, HealthProbe};
use self::retries::RawRetries;
pub use self::retries::Retries;
pub use self::tcp::ProxyHeader;
use self::tcp::{RawProxyHeader, proxy_header};

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// NAME of the table; for an inline `upstream = "http://..."` the URL itself.
    pub name: String,
    /// Never empty.
    pub endpoints: Vec<Located<Endpoint>>,
    /// How they share the requests. Default in turn.
    pub balance: Balance,
    /// Cookie that keeps a client at its endpoint. Default none.
    pub sticky: Option<String>,
    /// When one that fails is left out.
    pub ejection: Ejection,
    /// When a request is sent again.
    pub retries: Retries,
    /// How often the names of endpoints are looked up. Default with each connection.
    pub dns: Option<Duration>,
    /// How they are asked whether they are well. Default not at all.
    pub health: Option<Health>,
    /// How long one that is back or new takes to its whole share. Default it has it at once.
    pub slow_start: Option<Duration>,
    /// Default HTTP/1.1.
    pub protocol: UpstreamProtocol,
    /// TLS to the endpoints; `None` for plain TCP.
    pub tls: Option<Box<UpstreamTls>>,
    /// TCP connect, with TLS its handshake included. Default 3 s.
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

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum UpstreamProtocol {
    /// `"http1"`.
    #[serde(rename = "http1")]
    Http1,
    /// `"h2"`: HTTP/2, with prior knowledge or agreed by ALPN.
    #[serde(rename = "h2")]
    Http2,
    /// `"tcp"`: bytes, for `[[site.tcp]]` and `[[passthrough]]`.
    #[serde(rename = "tcp")]
    Tcp,
}

impl UpstreamProtocol {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            UpstreamProtocol::Http1 => "http1",
            UpstreamProtocol::Http2 => "h2",
            UpstreamProtocol::Tcp => "tcp",
        }
    }
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
    /// Addresses of the service, `http://HOST:PORT`, `https://HOST:PORT` or `tcp://HOST:PORT`, or tables with `url` and
    /// `weight`. One of `endpoints` and `endpoint` is required.
    #[schemars(schema_with = "one_or_many::<RawEndpoint>")]
    endpoints: Option<Vec<Located<RawEndpoint>>>,
    /// The address of the service, when there is only one.
    endpoint: Option<Located<String>>,
    /// How the endpoints share the requests: `round-robin`, `least-request`, `p2c` or `hash`.
    balance: Option<Located<RawBalance>>,
    /// With `hash`: what it is that the same endpoint serves, `identity`, `header:NAME` or `cookie:NAME`.
    /// Required there.
    hash: Option<Located<String>>,
    /// Name of a cookie by which the gateway sends a client to the same endpoint again. Default: none.
    sticky: Option<Located<String>>,
    /// How long an endpoint that comes back takes to its whole share; `off`: it has it at once.
    slow_start: Option<Located<DurationText>>,
    /// When an endpoint that fails is left out.
    ejection: Option<Located<RawEjection>>,
    /// When a request that was not answered is sent again.
    retries: Option<Located<RawRetries>>,
    /// How the names of endpoints are looked up.
    dns: Option<Located<RawDns>>,
    /// How endpoints are asked whether they are well. Default: not at all.
    health: Option<Located<RawHealth>>,
    /// What is spoken to the service: `http1`, `h2` (HTTP/2, for gRPC), or `tcp` (bytes, for `[[site.tcp]]`).
    protocol: Option<Located<UpstreamProtocol>>,
    /// Whom the gateway believes at `https://` endpoints, and who it is there. Required for them; also for `tcp://`.
    tls: Option<Located<RawUpstreamTls>>,
    /// How long connecting may take, with TLS its handshake included.
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
    pub fn new(name: String, endpoints: Vec<Located<Endpoint>>) -> Self {
        Upstream {
            name,
            endpoints,
            balance: Balance::RoundRobin,
            sticky: None,
            ejection: Ejection::default(),
            retries: Retries::default(),
            dns: None,
            health: None,
            slow_start: None,
            protocol: UpstreamProtocol::Http1,
            tls: None,
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
        (name, table): (&Located<String>, &Span),
        around: Believed<'_>,
    ) -> Upstream {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !name.value.bytes().all(plain) {
            check.error(
                &name.span,
                "an upstream name has only letters, digits, `-`, `_` and `.`",
            );
        }
        let protocol = self.protocol.as_ref();
        let protocol = protocol.map_or(UpstreamProtocol::Http1, |protocol| protocol.value);
        if protocol == UpstreamProtocol::Tcp {
            self.only_what_tcp_has(check);
        }
        let proxy_header = proxy_header(check, &self, protocol);
        let endpoints = endpoints(check, table, self.endpoints, self.endpoint);
        if !check.lost_key(table, "protocol") {
            tcp::fit(check, &endpoints, protocol);
        }
        let tls = self.tls.map(|raw| {
            let (span, raw) = (raw.span, raw.value);
            raw.check(check, &span, around)
        });
        let tls = match protocol {
            UpstreamProtocol::Tcp => tls.map(Box::new),
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 => agreed(check, tls, &endpoints),
        };
        check.distinct(self.identity.as_deref().unwrap_or_default(), "this form");
        let default = Upstream::new(name.value.clone(), endpoints);
        let short = Duration::from_millis(1)..=Duration::from_secs(3600);
        let long = Duration::from_millis(1)..=Duration::from_secs(86_400);
        Upstream {
            balance: balance::balance(check, self.balance, self.hash),
            sticky: balance::sticky(check, self.sticky),
            ejection: self
                .ejection
                .map_or(default.ejection, |raw| raw.value.check(check)),
            retries: self
                .retries
                .map_or(default.retries, |raw| raw.value.check(check)),
            dns: self.dns.and_then(|raw| raw.value.check(check)),
            health: self
                .health
                .and_then(|raw| raw.value.check(check, &raw.span)),
            slow_start: check.duration_or_off(self.slow_start, None, short.clone()),
            protocol,
            tls,
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
}

/// `tls` where the endpoints are `https://`, and nowhere else.
fn agreed(
    check: &mut Check<'_>,
    tls: Option<UpstreamTls>,
    endpoints: &[Located<Endpoint>],
) -> Option<Box<UpstreamTls>> {
    let wanted = match tls {
        Some(_) => Scheme::Https,
        None => Scheme::Http,
    };
    let mut endpoints = endpoints.iter().filter(|it| it.scheme != Scheme::Tcp);
    let odd = endpoints.find(|endpoint| endpoint.scheme != wanted);
    if let Some(odd) = odd {
        match wanted {
            Scheme::Http => check
                .error(
                    &odd.span,
                    "this endpoint speaks TLS, and nothing says whom to believe there",
                )
                .help("add `tls = { trust = \"NAME\" }`, with a `[trust.NAME]` or a PEM file of CA certificates"),
            Scheme::Https | Scheme::Tcp => check
                .error(&odd.span, "this endpoint is without TLS, but the upstream has `tls`")
                .help("write `https://` before every endpoint, or take `tls` away"),
        };
    }
    tls.map(Box::new)
}

/// The addresses of an upstream, from whichever key they stand in.
fn endpoints(
    check: &mut Check<'_>,
    table: &Span,
    many: Option<Vec<Located<RawEndpoint>>>,
    one: Option<Located<String>>,
) -> Vec<Located<Endpoint>> {
    let lost = ["endpoints", "endpoint"]
        .iter()
        .any(|key| check.lost_key(table, key));
    if let (Some(_), Some(one)) = (&many, &one) {
        check.error(&one.span, "give `endpoint` or `endpoints`, not both");
    }
    let one = one.map(|text| text.with(RawEndpoint::Address(text.value.clone())));
    let written: Vec<_> = many.into_iter().flatten().chain(one).collect();
    if written.is_empty() && !lost {
        check
            .error(table, "`endpoints` is missing")
            .help("add `endpoints = [\"http://127.0.0.1:8080\"]`");
    }
    let read = written
        .into_iter()
        .filter_map(|raw| raw.value.check(check, &raw.span));
    let endpoints: Vec<_> = read.collect();
    // Twice the same is one with twice the weight.
    let addresses: Vec<_> = endpoints
        .iter()
        .map(|it| it.with((it.host.clone(), it.port)))
        .collect();
    check.distinct(&addresses, "this endpoint");
    endpoints
}
