//! Upstreams that carry bytes: `protocol = "tcp"`, and what they are told of clients.
use schemars::JsonSchema;
use serde::Deserialize;

use super::balance::RawBalance;
use super::{Endpoint, RawUpstream, Scheme, UpstreamProtocol};
use crate::Located;
use crate::check::Check;

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

/// What this upstream is told.
pub(super) fn proxy_header(
    check: &mut Check<'_>,
    raw: &RawUpstream,
    protocol: UpstreamProtocol,
) -> Option<ProxyHeader> {
    let version = raw.proxy_protocol.as_ref();
    let tls_info = raw.tls_info.as_ref().filter(|tls| tls.value);
    if let Some(version) = version {
        if protocol != UpstreamProtocol::Tcp {
            check
                .error(
                    &version.span,
                    "an HTTP upstream gets no PROXY header: its connections are shared by many clients",
                )
                .help("`X-Forwarded-For` and `identity` tell it about each request; `protocol = \"tcp\"` has a connection for each client");
        } else if let Some(tls) = &raw.tls {
            check
                .error(&version.span, "a PROXY header and `tls` exclude each other")
                .related(&tls.span, "here is TLS");
        }
    }
    if let (Some(tls), None | Some(RawProxyHeader::V1)) =
        (tls_info, version.map(|version| version.value))
    {
        check
            .error(&tls.span, "`tls_info` is told in PROXY protocol 2 alone")
            .help("add `proxy_protocol = \"v2\"`");
    }
    version.map(|version| match (version.value, tls_info) {
        (RawProxyHeader::V1, _) => ProxyHeader::V1,
        (RawProxyHeader::V2, None) => ProxyHeader::V2,
        (RawProxyHeader::V2, Some(_)) => ProxyHeader::V2Tls,
    })
}

/// Reports endpoints that are not written as they are spoken to.
pub(super) fn fit(
    check: &mut Check<'_>,
    endpoints: &[Located<Endpoint>],
    protocol: UpstreamProtocol,
) {
    for endpoint in endpoints {
        let message = match (protocol, endpoint.scheme) {
            (UpstreamProtocol::Tcp, Scheme::Http | Scheme::Https) => {
                "an upstream with `protocol = \"tcp\"` has endpoints like \"tcp://HOST:PORT\""
            }
            (UpstreamProtocol::Http1 | UpstreamProtocol::Http2, Scheme::Tcp) => {
                "a tcp endpoint belongs to an upstream with `protocol = \"tcp\"`"
            }
            (UpstreamProtocol::Tcp, Scheme::Tcp)
            | (UpstreamProtocol::Http1 | UpstreamProtocol::Http2, Scheme::Http | Scheme::Https) => {
                continue;
            }
        };
        check.error(&endpoint.span, message);
    }
}

impl RawUpstream {
    /// Reports what is about requests and answers.
    pub(super) fn only_what_tcp_has(&self, check: &mut Check<'_>) {
        fn place<T>(value: &Option<Located<T>>) -> Option<crate::check::Span> {
            value.as_ref().map(|value| value.span.clone())
        }
        let identity = self.identity.as_ref().and_then(|forms| forms.first());
        let by_header = |on: &&Located<String>| on.value != "identity";
        let hash = self.hash.as_ref().filter(by_header);
        let hash = hash.filter(|_| self.balances_by_hash());
        let useless = [
            ("response_timeout", place(&self.response_timeout)),
            ("body_timeout", place(&self.body_timeout)),
            ("idle_timeout", place(&self.idle_timeout)),
            ("sticky", place(&self.sticky)),
            ("identity", identity.map(|form| form.span.clone())),
        ];
        for (key, span) in useless {
            if let Some(span) = span {
                let message = format!("`{key}` does nothing on a tcp upstream");
                check.error(&span, message);
            }
        }
        if let Some(hash) = hash {
            check
                .error(&hash.span, "a connection has no header and no cookie")
                .help("write `hash = \"identity\"`");
        }
        if let Some(health) = &self.health
            && !health.value.asks_tcp()
        {
            check
                .error(
                    &health.span,
                    "a tcp upstream speaks no HTTP that could be asked",
                )
                .help("write `health = { tcp = true }`");
        }
    }

    fn balances_by_hash(&self) -> bool {
        let balance = self.balance.as_ref();
        balance.is_some_and(|balance| balance.value == RawBalance::Hash)
    }
}
