//! `[[site]]`: what is served under which host names.
mod routes;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::certificate::RawCertificate;
use crate::check::{Check, Names, Span};
use crate::client_cert::RawClientCert;
use crate::host::parse_pattern;
use crate::hsm_ref::Tokens;
use crate::listener::{Draft, Protocol};
use crate::resumption::{Heir, Inherited, Layer, RawResumption};
use crate::route::{EarlyData, RawRoute, SiteSays, Upstreams};
use crate::schema::one_or_many;
use crate::tcp::{RawTcp, tcp_routes};
use crate::tls::RawTls;
use crate::trust::Trusts;
use crate::value::quoted;
use crate::{Certificate, ClientCert, KeyPolicy, Located, Resumption, Route, TcpRoute, TlsPolicy};

use self::routes::{WrittenRoutes, limits, routes};

/// One site.
#[derive(Debug, Clone)]
pub struct Site {
    /// Unique; default is the first host.
    pub name: String,
    /// Host names, never empty.
    pub hosts: Vec<Located<HostPattern>>,
    /// Certificates, empty only for an egress; at most one per key kind makes sense (ECDSA and RSA).
    pub certificates: Vec<Certificate>,
    /// The least provenance of their keys. Default any.
    pub key_policy: KeyPolicy,
    /// Client certificate demand: the site's own, else the listener's, else ignore.
    pub client_cert: ClientCert,
    /// TLS versions, suites and groups.
    pub tls: TlsPolicy,
    /// Resumption: key by key the site's own, the listeners', the top level's, the default.
    pub resumption: Resumption,
    /// HTTP/2 offered in ALPN. Default true.
    pub http2: bool,
    /// Routes, longest prefix first; empty where the whole site is TCP, and only there.
    pub routes: Vec<Route>,
    /// Indices into [`crate::Config::rate_limits`]: what every request counts for.
    pub rate_limits: Vec<usize>,
    /// Where connections go that carry no HTTP.
    pub tcp: Vec<TcpRoute>,
}

impl Site {
    /// Protocols offered in ALPN over TCP, the preferred first; empty where nothing is negotiated.
    pub fn alpn(&self) -> Vec<&str> {
        let tcp = self.tcp.iter().flat_map(|route| &route.alpn);
        let h2 = (self.http2 && !self.routes.is_empty()).then_some("h2");
        let http1 = (!self.routes.is_empty()).then_some("http/1.1");
        tcp.map(String::as_str).chain(h2).chain(http1).collect()
    }

    /// Where a connection goes that chose this protocol, if it carries no HTTP.
    pub fn tcp_route(&self, alpn: Option<&[u8]>) -> Option<&TcpRoute> {
        let chosen = |route: &&TcpRoute| match alpn {
            Some(alpn) => route.alpn.iter().any(|name| name.as_bytes() == alpn),
            None => false,
        };
        let named = self.tcp.iter().find(chosen);
        named.or_else(|| self.tcp.iter().find(|route| route.alpn.is_empty()))
    }
}

/// A host name or a wildcard, lower case, without trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `api.example.com`, or an IP literal (IPv6 in its canonical text form, without brackets).
    Exact(String),
    /// `*.example.com`: one label in front. The value is `example.com`.
    Wildcard(String),
    /// `*`: every host.
    Any,
}

/// `[[site]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSite {
    /// Name, for `default_site` and for logs. Default: the first host.
    name: Option<Located<String>>,
    /// Host names: `api.example.com`, `*.example.com` (one label), `*` (every host). Required.
    #[schemars(schema_with = "one_or_many::<String>")]
    hosts: Option<Vec<Located<String>>>,
    /// Names of the listeners it is on. Default: all https listeners.
    #[schemars(schema_with = "one_or_many::<String>")]
    listeners: Option<Vec<Located<String>>>,
    /// Certificate and key; a list when there is an ECDSA and an RSA one. Required.
    #[schemars(schema_with = "one_or_many::<RawCertificate>")]
    certificate: Option<Vec<Located<RawCertificate>>>,
    /// Least provenance of its keys: `generated` in the HSM and never outside, `imported` but not
    /// extractable now, or `any` that `[keys]` allows.
    key_policy: Option<KeyPolicy>,
    /// Whether clients must show a certificate. Default: what the listener says, else `ignore`.
    client_cert: Option<Located<RawClientCert>>,
    /// What TLS negotiates.
    tls: Option<Located<RawTls>>,
    /// Resumption of sessions. Default, key by key: what the listener says, else the top level.
    resumption: Option<Located<RawResumption>>,
    /// Offer HTTP/2 to clients.
    http2: Option<bool>,
    /// Where all requests go: name of an `[upstream.NAME]`, or an address, `http://HOST:PORT`. Short for one
    /// route with `path = "/"`.
    upstream: Option<Located<String>>,
    /// Names of the `[rate_limit.NAME]` that every request counts for.
    #[schemars(schema_with = "one_or_many::<String>")]
    rate_limits: Option<Vec<Located<String>>>,
    /// Where requests go, by path; the longest matching path wins.
    route: Option<Vec<Located<RawRoute>>>,
    /// Where connections go that carry no HTTP: all of the site, or those that negotiate a protocol (ALPN).
    tcp: Option<Vec<Located<RawTcp>>>,
}

/// What sites refer to.
pub(crate) struct Surroundings<'a> {
    pub(crate) listeners: &'a [Draft],
    pub(crate) listener_names: &'a Names,
    pub(crate) tokens: &'a Tokens<'a>,
    pub(crate) trusts: &'a Trusts,
    pub(crate) redis: &'a Names,
    pub(crate) upstreams: &'a mut Upstreams,
    pub(crate) rate_limits: &'a Names,
}

/// A site, and what others want to know of it even when it has mistakes.
pub(crate) struct CheckedSite {
    pub(crate) hosts: Vec<Located<HostPattern>>,
    /// Whether each of its hosts could be read.
    pub(crate) hosts_are_known: bool,
    /// Indices of its listeners; `None` for a name that no https listener has.
    pub(crate) listeners: Vec<Option<usize>>,
    pub(crate) site: Site,
}

impl RawSite {
    /// The name, for [`Names`].
    pub(crate) fn name(&self) -> Option<Located<String>> {
        self.name.clone().or_else(|| {
            let first = self.hosts.as_ref()?.first()?;
            // The same text a show of the configuration has.
            let text = parse_pattern(&first.value).map_or(first.value.clone(), |host| host.text());
            Some(first.with(text))
        })
    }

    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        around: &mut Surroundings<'_>,
    ) -> CheckedSite {
        let name = self.name().map_or_else(String::new, |name| name.value);
        let written = self.hosts.as_ref().map(Vec::len);
        let hosts = hosts_of(check, (table, "hosts"), self.hosts);
        let hosts_are_known = written == Some(hosts.len()) && !check.lost_key(table, "hosts");
        let listeners = listeners_of(check, (table, "site"), self.listeners, around);
        let own = self.client_cert.and_then(|raw| {
            raw.value
                .check(check, &raw.span, around.trusts)
                .or(Some(ClientCert::IGNORE))
        });
        let client_cert =
            own.unwrap_or_else(|| inherited(check, table, &listeners, around.listeners));
        let certificates = check.required(table, "certificate", self.certificate);
        if certificates.as_ref().is_some_and(Vec::is_empty) {
            check.error(table, "`certificate` is an empty list");
        }
        let certificates = certificates.unwrap_or_default().into_iter();
        let key_policy = self.key_policy.unwrap_or(KeyPolicy::Any);
        let certificates = certificates
            .filter_map(|raw| raw.value.check(check, &raw.span, around.tokens, key_policy))
            .collect();
        let tls = self
            .tls
            .map_or_else(TlsPolicy::default, |raw| raw.value.check(check, &raw.span));
        let named = (name.as_str(), &tls, listeners.as_slice());
        let Inherited { resumption, whole } =
            inherited_resumption(check, table, self.resumption, named, around);
        let tcp = self.tcp.unwrap_or_default();
        let some_tcp = !tcp.is_empty();
        let tcp = tcp_routes(check, tcp, around.upstreams);
        if some_tcp && whole && resumption.early_data > 0 {
            check
                .error(table, "this site takes early data, which a TCP upstream cannot tell from a copy of it")
                .help("give it `resumption = { early_data = \"off\" }`");
        }
        let written = WrittenRoutes {
            shorthand: self.upstream,
            tables: self.route,
            tcp: some_tcp.then_some(&tcp),
        };
        let says = SiteSays {
            client_cert: &client_cert,
            early_data: match whole && resumption.early_data == 0 {
                true => EarlyData::Never,
                false => EarlyData::Perhaps,
            },
        };
        let routes = routes(check, table, written, &says, around);
        let rate_limits = limits(check, around.rate_limits, self.rate_limits, &routes);
        let http2 = self.http2.unwrap_or(true);
        let site = Site {
            name,
            hosts: hosts.clone(),
            certificates,
            key_policy,
            client_cert,
            tls,
            resumption,
            http2,
            routes,
            rate_limits,
            tcp,
        };
        CheckedSite {
            hosts,
            hosts_are_known,
            listeners,
            site,
        }
    }
}

/// The names that stand under `key`.
pub(crate) fn hosts_of(
    check: &mut Check<'_>,
    (table, key): (&Span, &str),
    written: Option<Vec<Located<String>>>,
) -> Vec<Located<HostPattern>> {
    let written = check.required(table, key, written);
    if written.as_ref().is_some_and(Vec::is_empty) {
        let what = match key {
            "hosts" => "site",
            _ => "passthrough",
        };
        check
            .error(
                table,
                format!("`{key}` is empty, so this {what} is never served"),
            )
            .help(format!("use `{key} = [\"*\"]` for every host"));
    }
    let mut hosts = Vec::new();
    for text in written.unwrap_or_default() {
        match parse_pattern(&text.value) {
            Ok(host) => hosts.push(text.with(host)),
            Err(problem) => {
                check.error(
                    &text.span,
                    format!("{} is no host: {problem}", quoted(&text.value)),
                );
            }
        }
    }
    check.distinct(&hosts, "this host");
    hosts
}

/// The https listeners a site, or whatever it is, is on.
pub(crate) fn listeners_of(
    check: &mut Check<'_>,
    (table, what): (&Span, &str),
    written: Option<Vec<Located<String>>>,
    around: &Surroundings<'_>,
) -> Vec<Option<usize>> {
    let Some(written) = written else {
        let all = around.listeners.iter().enumerate();
        let https = all.filter(|(_, draft)| draft.protocol == Protocol::Https);
        let https: Vec<_> = https.map(|(at, _)| Some(at)).collect();
        if https.is_empty() && !around.listeners.is_empty() && !check.lost_tables() {
            check
                .error(
                    table,
                    format!("this {what} is never served: there is no https listener"),
                )
                .help("add a `[[listener]]` with `protocol = \"https\"` (the default)");
        }
        return https;
    };
    check.distinct(&written, "this listener");
    if written.is_empty() {
        check
            .error(
                table,
                format!("`listeners` is empty, so this {what} is never served"),
            )
            .help("leave the key out to mean all https listeners");
    }
    let mut listeners = Vec::new();
    for name in &written {
        let index = around.listener_names.index(check, name);
        let redirects = |index: &usize| {
            around
                .listeners
                .get(*index)
                .is_some_and(|draft| draft.protocol == Protocol::Redirect)
        };
        if index.as_ref().is_some_and(redirects) {
            let message = format!("the listener {} only redirects", quoted(&name.value));
            check
                .error(&name.span, message)
                .help(format!("a {what} is on https listeners"));
            listeners.push(None);
            continue;
        }
        listeners.push(index);
    }
    listeners
}

/// The one default of all its listeners.
fn inherited(
    check: &mut Check<'_>,
    table: &Span,
    listeners: &[Option<usize>],
    drafts: &[Draft],
) -> ClientCert {
    let mut drafts = listeners.iter().flatten().filter_map(|at| drafts.get(*at));
    let Some(first) = drafts.next() else {
        return ClientCert::IGNORE;
    };
    if let Some(other) = drafts.find(|other| !other.client_cert.same(&first.client_cert)) {
        let (one, two) = (quoted(&first.name), quoted(&other.name));
        check
            .error(
                table,
                format!("the listeners {one} and {two} ask differently for client certificates"),
            )
            .help("give this site a `client_cert` of its own, or make it two sites")
            .related(&other.span, "one of the listeners");
    }
    first.client_cert.clone()
}

/// The site's own keys, and the others from its listeners.
fn inherited_resumption(
    check: &mut Check<'_>,
    table: &Span,
    raw: Option<Located<RawResumption>>,
    (name, tls, listeners): (&str, &TlsPolicy, &[Option<usize>]),
    around: &Surroundings<'_>,
) -> Inherited {
    let mut own = match raw {
        Some(raw) => raw.value.check(check, &raw.span, around.redis),
        None => Layer::silent(),
    };
    let lost = ["tls", "listeners", "resumption"];
    own.whole &= !lost.iter().any(|key| check.lost_key(table, key));
    own.whole &= listeners.iter().all(Option::is_some);
    let drafts = listeners.iter().flatten();
    let drafts = drafts.filter_map(|at| around.listeners.get(*at));
    let heir = Heir {
        name,
        table,
        tls,
        listeners: drafts
            .map(|draft| (draft.name.as_str(), &draft.resumption))
            .collect(),
    };
    heir.inherit(check, own)
}
