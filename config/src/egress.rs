//! `[[egress]]`: the way out for programs of this machine, in plain text up to the gateway.
//!
//! It comes to a listener on a loopback address and a site without a certificate that only it serves.
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Span};
use crate::rate_limit::named_limits;
use crate::route::Carries;
use crate::schema::one_or_many;
use crate::site::{CheckedSite, Surroundings, hosts_of};
use crate::tcp::TcpRoute;
use crate::{
    ClientCert, HostPattern, KeyPolicy, Listener, ListenerKind, Located, Resumption,
    ResumptionMode, Route, Site, TlsPolicy, UpstreamProtocol,
};

/// What programs of this machine speak to an egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Bytes.
    Tcp,
}

/// `[[egress]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEgress {
    /// Name, for logs. Default: the address.
    name: Option<Located<String>>,
    /// Loopback address and port where programs of this machine connect: `127.0.0.1:15001`, `[::1]:15001`. Required.
    bind: Option<Located<String>>,
    /// Hosts that are served, as `Host` names them. Required, but for bytes.
    #[schemars(schema_with = "one_or_many::<String>")]
    hosts: Option<Vec<Located<String>>>,
    /// Where requests, or the bytes of connections, go: name of an `[upstream.NAME]`, or an address. Required.
    upstream: Option<Located<String>>,
    /// Programs speak HTTP/2 with prior knowledge (h2c), as gRPC does, instead of HTTP/1.1.
    http2: Option<Located<bool>>,
    /// Names of the `[rate_limit.NAME]` that every request counts for.
    #[schemars(schema_with = "one_or_many::<String>")]
    rate_limits: Option<Vec<Located<String>>>,
}

impl RawEgress {
    /// The name, for [`crate::check::Names`].
    pub(crate) fn name(&self) -> Option<Located<String>> {
        self.name.clone().or_else(|| self.bind.clone())
    }

    /// The listener, and its site, which will have the index `at`. `None` where it is not clear enough to go on.
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        at: usize,
        around: &mut Surroundings<'_>,
    ) -> Option<(Listener, CheckedSite)> {
        let name = self.name().map_or_else(String::new, |name| name.value);
        let bind = check.required(table, "bind", self.bind.clone());
        let bind = bind.and_then(|text| loopback(check, &text));
        let upstream = check.required(table, "upstream", self.upstream.clone())?;
        let index = around.upstreams.index(check, &upstream, Carries::Either)?;
        let http2 = self.http2.as_ref().is_some_and(|http2| http2.value);
        let speech = match around.upstreams.protocol_of(index)? {
            UpstreamProtocol::Tcp => Speech::Tcp,
            _ if http2 => Speech::Http2,
            _ => Speech::Http1,
        };
        let hosts = if speech == Speech::Tcp {
            self.says_nothing_of_requests(check);
            vec![Located {
                value: HostPattern::Any,
                span: table.clone(),
            }]
        } else {
            // Without them a rule for some site would let programs out here.
            hosts_of(check, (table, "hosts"), self.hosts)
        };
        let rate_limits = named_limits(check, around.rate_limits, self.rate_limits);
        let mut site = site(name.clone(), hosts.clone(), rate_limits);
        match speech {
            Speech::Tcp => site.tcp.push(TcpRoute {
                alpn: Vec::new(),
                upstream: index,
                span: table.clone(),
            }),
            Speech::Http1 | Speech::Http2 => site.routes.push(Route {
                prefix: String::new(),
                upstream: index,
                client_cert: None,
                early_data: false,
                rate_limits: Vec::new(),
                span: upstream.span,
            }),
        }
        let listener = Listener {
            name,
            bind: bind?,
            kind: ListenerKind::Egress { site: at, speech },
            http3: None,
            proxy_protocol: None,
        };
        let checked = CheckedSite {
            hosts,
            hosts_are_known: true,
            listeners: Vec::new(),
            site,
        };
        Some((listener, checked))
    }

    /// Reports what is about requests, where there are none.
    fn says_nothing_of_requests(&self, check: &mut Check<'_>) {
        let first = |list: &Option<Vec<Located<String>>>| {
            let first = list.iter().flatten().next();
            first.map(|text| text.span.clone())
        };
        let useless = [
            ("hosts", first(&self.hosts)),
            ("http2", self.http2.as_ref().map(|http2| http2.span.clone())),
            ("rate_limits", first(&self.rate_limits)),
        ];
        for (key, span) in useless {
            if let Some(span) = span {
                let message = format!("`{key}` does nothing in front of a TCP upstream");
                check.error(&span, message);
            }
        }
    }
}

/// The address, which nobody reaches from elsewhere.
fn loopback(check: &mut Check<'_>, text: &Located<String>) -> Option<Located<SocketAddr>> {
    let bind = check.address(text)?;
    if !bind.ip().is_loopback() {
        let message = "an egress takes plain text, so it listens on a loopback address";
        check
            .error(&bind.span, message)
            .help("write \"127.0.0.1:PORT\"; for clients from elsewhere there is `[[listener]]`");
    }
    Some(bind)
}

/// A site that nobody shakes hands with.
fn site(name: String, hosts: Vec<Located<HostPattern>>, rate_limits: Vec<usize>) -> Site {
    Site {
        name,
        hosts,
        certificates: Vec::new(),
        key_policy: KeyPolicy::Any,
        client_cert: ClientCert::IGNORE,
        tls: TlsPolicy::default(),
        resumption: Resumption {
            mode: ResumptionMode::Off,
            ..Resumption::default()
        },
        http2: false,
        routes: Vec::new(),
        rate_limits,
        tcp: Vec::new(),
    }
}
