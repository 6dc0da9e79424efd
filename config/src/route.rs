//! `[[site.route]]`: from a path to an upstream.
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::client_cert::RawClientCert;
use crate::path::check_path;
use crate::rate_limit::named_limits;
use crate::schema::one_or_many;
use crate::trust::Trusts;
use crate::upstream::{Scheme, endpoint};
use crate::value::quoted;
use crate::{ClientCert, Located, Upstream, UpstreamProtocol};

/// One route of a site. The longest matching prefix wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Path prefix by whole segments, without trailing slash; "" is everything (`path = "/"`, the default).
    pub prefix: String,
    /// Index into [`crate::Config::upstreams`].
    pub upstream: usize,
    /// What it asks of clients beyond its site; `None` asks what the site asks.
    pub client_cert: Option<ClientCert>,
    /// Whether requests with safe methods are served from early data (0-RTT). Default false.
    pub early_data: bool,
    /// Indices into [`crate::Config::rate_limits`]: what its requests count for, beside what the site names.
    pub rate_limits: Vec<usize>,
    /// Where its path, or what stands for it, was written.
    pub span: Range<usize>,
}

/// `[[site.route]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRoute {
    /// Path prefix, by whole segments: `/orders` takes `/orders` and `/orders/1`, not `/orders2`.
    path: Option<Located<String>>,
    /// Name of an `[upstream.NAME]`, or an address: `http://HOST:PORT`. Required.
    upstream: Option<Located<String>>,
    /// What this route asks of clients beyond its site. Default: what the site asks.
    client_cert: Option<Located<RawClientCert>>,
    /// Serve requests with safe methods from early data (0-RTT), which somebody else may have sent again. Others
    /// are answered with 425.
    early_data: Option<Located<bool>>,
    /// Names of the `[rate_limit.NAME]` that its requests count for, beside those of the site.
    #[schemars(schema_with = "one_or_many::<String>")]
    rate_limits: Option<Vec<Located<String>>>,
}

/// What a site says that its routes depend on.
pub(crate) struct SiteSays<'a> {
    pub(crate) client_cert: &'a ClientCert,
    pub(crate) early_data: EarlyData,
}

/// Whether a site takes early data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlyData {
    /// It does, or what it says could not be read.
    Perhaps,
    /// It does not.
    Never,
}

/// The upstreams a route can lead to; an address written in place becomes one more.
pub(crate) struct Upstreams {
    pub(crate) names: Names,
    /// What the named ones speak; `None` where that could not be read.
    pub(crate) protocols: Vec<Option<UpstreamProtocol>>,
    /// Those without a table, behind the named ones.
    pub(crate) inline: Vec<Upstream>,
}

/// What somebody sends to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// HTTP.
    Requests,
    /// Bytes.
    Connections,
    /// What the upstream speaks.
    Either,
}

impl Upstreams {
    /// The index of a name or an address in [`crate::Config::upstreams`].
    pub(crate) fn index(
        &mut self,
        check: &mut Check<'_>,
        text: &Located<String>,
        carries: Carries,
    ) -> Option<usize> {
        let (index, protocol) = match text.value.contains("://") {
            true => self.inline(check, text)?,
            false => {
                let index = self.names.index(check, text)?;
                (index, self.protocols.get(index).copied().flatten())
            }
        };
        let name = quoted(&text.value);
        match (carries, protocol) {
            (Carries::Requests, Some(UpstreamProtocol::Tcp)) => {
                check
                    .error(&text.span, format!("the upstream {name} speaks no HTTP"))
                    .help("lead a `[[site.tcp]]` there instead of a route");
            }
            (Carries::Connections, Some(UpstreamProtocol::Http1 | UpstreamProtocol::Http2)) => {
                check
                    .error(&text.span, format!("the upstream {name} speaks HTTP"))
                    .help("connections go to an upstream with `protocol = \"tcp\"`, or to \"tcp://HOST:PORT\"");
            }
            _ => {}
        }
        Some(index)
    }

    /// What an upstream speaks that [`Self::index`] found; `None` where that could not be read.
    pub(crate) fn protocol_of(&self, index: usize) -> Option<UpstreamProtocol> {
        match index.checked_sub(self.protocols.len()) {
            None => self.protocols.get(index).copied().flatten(),
            Some(inline) => self.inline.get(inline).map(|upstream| upstream.protocol),
        }
    }

    fn inline(
        &mut self,
        check: &mut Check<'_>,
        text: &Located<String>,
    ) -> Option<(usize, Option<UpstreamProtocol>)> {
        let endpoint = endpoint(check, text)?;
        let protocol = match endpoint.scheme {
            Scheme::Http | Scheme::Https => UpstreamProtocol::Http1,
            Scheme::Tcp => UpstreamProtocol::Tcp,
        };
        if endpoint.scheme == Scheme::Https {
            let message = "nothing says whom to believe at this address";
            check.error(&text.span, message).help(
                "add an `[upstream.NAME]` with this endpoint and `tls = { trust = \"...\" }`, and write its name here",
            );
        }
        let mut known = self.inline.iter();
        let known = known.position(|upstream| upstream.name == text.value);
        let index = known.unwrap_or_else(|| {
            self.inline.push(Upstream {
                protocol,
                ..Upstream::new(text.value.clone(), vec![endpoint])
            });
            self.inline.len() - 1
        });
        Some((self.names.len() + index, Some(protocol)))
    }
}

/// A route whose upstream is not looked up yet.
pub(crate) struct RouteDraft {
    pub(crate) prefix: String,
    pub(crate) upstream: Located<String>,
    pub(crate) client_cert: Option<ClientCert>,
    pub(crate) early_data: bool,
    pub(crate) rate_limits: Vec<usize>,
}

impl RawRoute {
    /// What comes back is located at the path.
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        (trusts, limits, site): (&Trusts, &Names, &SiteSays<'_>),
    ) -> Option<Located<RouteDraft>> {
        let span = self.path.as_ref().map_or(table, |path| &path.span).clone();
        let prefix = self
            .path
            .map_or(Some(String::new()), |path| prefix(check, &path));
        let upstream = check.required(table, "upstream", self.upstream);
        let client_cert = self.client_cert.and_then(|raw| {
            raw.value
                .check_route(check, (&raw.span, trusts), site.client_cert)
        });
        let early_data = self.early_data.filter(|early| early.value);
        if let (Some(early), EarlyData::Never) = (&early_data, site.early_data) {
            check
                .error(&early.span, "this site takes no early data")
                .help("give it `resumption = { early_data = \"8KiB\" }`, or remove this");
        }
        let rate_limits = named_limits(check, limits, self.rate_limits);
        Some(Located {
            value: RouteDraft {
                prefix: prefix?,
                upstream: upstream?,
                client_cert,
                early_data: early_data.is_some(),
                rate_limits,
            },
            span,
        })
    }
}

fn prefix(check: &mut Check<'_>, path: &Located<String>) -> Option<String> {
    if path.value.contains('*') {
        check
            .error(
                &path.span,
                "a route takes everything below its path; it has no wildcards",
            )
            .help("write the path alone, as in \"/orders\"");
        return None;
    }
    check_path(check, path)?;
    Some(
        path.value
            .strip_suffix('/')
            .unwrap_or(&path.value)
            .to_owned(),
    )
}
