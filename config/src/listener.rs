//! `[[listener]]`: a socket that accepts clients.
use std::collections::HashMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::client_cert::RawClientCert;
use crate::passthrough::CheckedPassthrough;
use crate::proxy_protocol::RawProxyProtocol;
use crate::resumption::{Layer, RawResumption};
use crate::site::CheckedSite;
use crate::trust::Trusts;
use crate::value::{Number, quoted};
use crate::{ClientCert, HostPattern, Located, ProxyProtocol, Speech};

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique; default is the bind address as text.
    pub name: String,
    /// Address.
    pub bind: Located<SocketAddr>,
    /// What happens to accepted connections.
    pub kind: ListenerKind,
    /// HTTP/3 on the same address over UDP; `None` where it is off.
    pub http3: Option<Http3>,
    /// Proxies in front that tell who their clients are; `None` where clients connect themselves.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// HTTP/3 at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http3 {
    /// Answers over TCP tell clients of it (`Alt-Svc`).
    pub alt_svc: bool,
}

/// What a listener does with its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerKind {
    /// `protocol = "https"` (default): terminate TLS and serve sites.
    Https {
        /// Indices into [`crate::Config::sites`] of the sites served here, in file order.
        sites: Vec<usize>,
        /// Indices into [`crate::Config::passthroughs`] of those on this listener, in file order. Where there is none
        /// there is a site.
        passthroughs: Vec<usize>,
        /// The site for clients without SNI, and (unless `strict_sni`) with an SNI no site has.
        default_site: Option<usize>,
        /// Refuse an SNI no site has, also when there is a default site.
        strict_sni: bool,
    },
    /// `protocol = "redirect"`: plain HTTP that answers 308 to the same URL with https.
    Redirect {
        /// Port of the https URL (`redirect_port`, default 443).
        port: u16,
    },
    /// `[[egress]]`: plain text from programs of this machine.
    Egress {
        /// Index into [`crate::Config::sites`] of the site that only this listener serves.
        site: usize,
        /// What is spoken here.
        speech: Speech,
    },
}

/// `[[listener]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawListener {
    /// Name, for `listeners` of sites and for logs. Default: the address.
    name: Option<Located<String>>,
    /// Address and port: `0.0.0.0:443`, `[::]:443`. Required.
    bind: Option<Located<String>>,
    /// What is done here: `https` serves sites; `redirect` answers plain HTTP with a redirect to https.
    protocol: Option<Located<Protocol>>,
    /// Port of the https URL a `redirect` listener sends clients to.
    redirect_port: Option<Located<Number>>,
    /// Client certificates, for the sites of this listener that do not say it themselves.
    client_cert: Option<Located<RawClientCert>>,
    /// Resumption of sessions, for the keys that sites of this listener do not say themselves.
    resumption: Option<Located<RawResumption>>,
    /// Site for clients that send no server name (SNI), or one that no site has.
    default_site: Option<Located<String>>,
    /// Refuse a server name that no site has, also when there is a `default_site`.
    strict_sni: Option<Located<bool>>,
    /// Serve HTTP/3 too: the same address, UDP.
    http3: Option<Located<bool>>,
    /// Tell clients over HTTP/1.1 and HTTP/2 that there is HTTP/3 (`Alt-Svc`).
    alt_svc: Option<Located<bool>>,
    /// Proxies in front of this listener that tell who their clients are. Without it nobody is believed.
    proxy_protocol: Option<Located<RawProxyProtocol>>,
}

/// `protocol` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// TLS, sites.
    Https,
    /// Plain HTTP, answered with a redirect.
    Redirect,
}

/// What listeners refer to, and inherit.
pub(crate) struct Above<'a> {
    pub(crate) trusts: &'a Trusts,
    pub(crate) redis: &'a Names,
    pub(crate) resumption: &'a Layer,
}

/// A listener before its sites are known.
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) protocol: Protocol,
    /// Default for its sites.
    pub(crate) client_cert: ClientCert,
    /// Default for its sites, with what the top level says.
    pub(crate) resumption: Layer,
    pub(crate) bind: Option<Located<SocketAddr>>,
    redirect_port: u16,
    default_site: Option<Located<String>>,
    strict_sni: bool,
    http3: Option<Http3>,
    proxy_protocol: Option<ProxyProtocol>,
}

impl RawListener {
    /// The name, for [`Names`].
    pub(crate) fn name(&self) -> Option<Located<String>> {
        self.name.clone().or_else(|| self.bind.clone())
    }

    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span, above: &Above<'_>) -> Draft {
        let name = self.name().map_or_else(String::new, |name| name.value);
        let protocol = self.protocol.as_ref();
        let protocol = protocol.map_or(Protocol::Https, |protocol| protocol.value);
        self.only_what_does_something(check, protocol);
        let bind = check.required(table, "bind", self.bind);
        let bind = bind.and_then(|text| check.address(&text));
        let client_cert = self
            .client_cert
            .and_then(|raw| raw.value.check(check, &raw.span, above.trusts));
        let resumption = match self.resumption {
            Some(raw) => raw
                .value
                .check(check, &raw.span, above.redis)
                .over(above.resumption),
            None => above.resumption.clone(),
        };
        let proxy_protocol = self
            .proxy_protocol
            .map(|raw| raw.value.check(check, &raw.span));
        let port = check.count(self.redirect_port, 443, 1..=usize::from(u16::MAX));
        Draft {
            name,
            span: table.clone(),
            protocol,
            client_cert: client_cert.unwrap_or(ClientCert::IGNORE),
            resumption,
            bind,
            redirect_port: u16::try_from(port).unwrap_or(443),
            default_site: self.default_site,
            strict_sni: self.strict_sni.is_some_and(|strict| strict.value),
            http3: self.http3.is_some_and(|on| on.value).then_some(Http3 {
                alt_svc: self.alt_svc.is_none_or(|on| on.value),
            }),
            proxy_protocol,
        }
    }

    fn only_what_does_something(&self, check: &mut Check<'_>, protocol: Protocol) {
        if let (Some(http3), Some(_)) = (&self.http3, &self.proxy_protocol)
            && http3.value
        {
            let message =
                "`http3` and `proxy_protocol` exclude each other: datagrams have no header";
            check
                .error(&http3.span, message)
                .help("serve HTTP/3 on a listener of its own, on another address");
        }
        if protocol == Protocol::Https {
            if let Some(port) = &self.redirect_port {
                let message = "`redirect_port` does nothing on an https listener";
                check
                    .error(&port.span, message)
                    .help("it belongs to a listener with `protocol = \"redirect\"`");
            }
            return;
        }
        let useless = [
            (
                "client_cert",
                self.client_cert.as_ref().map(|value| &value.span),
            ),
            (
                "resumption",
                self.resumption.as_ref().map(|value| &value.span),
            ),
            (
                "default_site",
                self.default_site.as_ref().map(|value| &value.span),
            ),
            (
                "strict_sni",
                self.strict_sni.as_ref().map(|value| &value.span),
            ),
            ("http3", self.http3.as_ref().map(|value| &value.span)),
            ("alt_svc", self.alt_svc.as_ref().map(|value| &value.span)),
        ];
        for (key, span) in useless {
            if let Some(span) = span {
                check.error(span, format!("`{key}` does nothing on a redirect listener"));
            }
        }
    }
}

impl Draft {
    /// The whole listener, with the sites that are on it.
    pub(crate) fn finish(
        self,
        check: &mut Check<'_>,
        own: usize,
        (names, sites): (&Names, &[CheckedSite]),
        passthroughs: &[CheckedPassthrough],
    ) -> Option<Listener> {
        let kind = match self.protocol {
            Protocol::Redirect => ListenerKind::Redirect {
                port: self.redirect_port,
            },
            Protocol::Https => {
                let here = |site: &CheckedSite| site.listeners.contains(&Some(own));
                let served: Vec<_> = (0..sites.len()).filter(|at| here(&sites[*at])).collect();
                // A site with a mistyped listener may have meant this one.
                let mistyped = sites.iter().any(|site| site.listeners.contains(&None))
                    || passthroughs.iter().any(|it| it.listeners.contains(&None));
                let passed = passthroughs.iter().enumerate();
                let passed = passed.filter(|(_, it)| it.listeners.contains(&Some(own)));
                let passed: Vec<_> = passed.map(|(at, _)| at).collect();
                if served.is_empty() && passed.is_empty() && !mistyped && !check.lost_tables() {
                    let message = format!("no site is on the listener {}", quoted(&self.name));
                    check
                        .error(&self.span, message)
                        .help("add a `[[site]]`, or this listener to the `listeners` of one");
                }
                let hosts = served.iter().map(|at| &*sites[*at].hosts);
                let names_passed = passed.iter().map(|at| &*passthroughs[*at].names);
                distinct_hosts(check, &self.name, hosts.chain(names_passed));
                let default_site = self.default_site.and_then(|wanted| {
                    let index = names.index(check, &wanted)?;
                    if !served.contains(&index) {
                        let message =
                            format!("the site {} is not on this listener", quoted(&wanted.value));
                        check.error(&wanted.span, message).help(format!(
                            "add {} to the `listeners` of that site",
                            quoted(&self.name)
                        ));
                    }
                    Some(index)
                });
                ListenerKind::Https {
                    sites: served,
                    passthroughs: passed,
                    default_site,
                    strict_sni: self.strict_sni,
                }
            }
        };
        Some(Listener {
            name: self.name,
            bind: self.bind?,
            kind,
            http3: self.http3,
            proxy_protocol: self.proxy_protocol,
        })
    }
}

/// One host of one listener leads to one site, or to one passthrough.
fn distinct_hosts<'a>(
    check: &mut Check<'_>,
    listener: &str,
    owners: impl Iterator<Item = &'a [Located<HostPattern>]>,
) {
    let mut seen = HashMap::new();
    for (index, hosts) in owners.enumerate() {
        for host in hosts {
            match seen.insert(&host.value, (index, &host.span)) {
                // Within one site it was reported already.
                Some((other, first)) if other != index => {
                    let host_text = quoted(&host.value.text());
                    let message = format!(
                        "{host_text} is on the listener {} already",
                        quoted(listener)
                    );
                    check
                        .error(&host.span, message)
                        .related(first, "first here");
                }
                _ => {}
            }
        }
    }
}

/// Every socket can be bound once; port 0 is another port each time.
pub(crate) fn distinct_addresses(check: &mut Check<'_>, addresses: &[Located<SocketAddr>]) {
    let mut seen = HashMap::new();
    for address in addresses.iter().filter(|address| address.port() != 0) {
        if let Some(first) = seen.insert(address.value, &address.span) {
            let message = format!("{} is bound already", quoted(&address.value.to_string()));
            check
                .error(&address.span, message)
                .related(first, "first here");
        }
    }
}
