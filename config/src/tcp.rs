//! `[[site.tcp]]`: from a client's protocol to a TCP upstream. What goes through is bytes, not requests.
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::route::{Carries, Upstreams};
use crate::schema::one_or_many;
use crate::value::quoted;

/// Where connections of a site go that carry no HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRoute {
    /// Protocols that are negotiated (ALPN); empty for everything that chose none of another route.
    pub alpn: Vec<String>,
    /// Index into [`crate::Config::upstreams`], which speaks TCP.
    pub upstream: usize,
    /// Where it was written.
    pub span: Range<usize>,
}

/// `[[site.tcp]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTcp {
    /// Clients that negotiate one of these protocols (ALPN) go there. Without it the whole site is TCP, and has no
    /// routes.
    #[schemars(schema_with = "one_or_many::<String>")]
    alpn: Option<Vec<Located<String>>>,
    /// Name of an `[upstream.NAME]` with `protocol = "tcp"`, or an address: `tcp://HOST:PORT`. Required.
    upstream: Option<Located<String>>,
}

/// The TCP routes of a site, and whether they leave room for HTTP.
pub(crate) fn tcp_routes(
    check: &mut Check<'_>,
    raws: Vec<Located<RawTcp>>,
    upstreams: &mut Upstreams,
) -> Vec<TcpRoute> {
    let mut seen: Vec<Located<String>> = Vec::new();
    let mut rest: Option<Span> = None;
    let mut routes = Vec::new();
    for raw in raws {
        let lost = check.lost_key(&raw.span, "alpn");
        let written = raw.value.alpn;
        if written.as_ref().is_some_and(Vec::is_empty) {
            check
                .error(&raw.span, "`alpn` is empty, so no client gets here")
                .help("leave the key out to mean every connection of the site");
        }
        if written.is_none()
            && !lost
            && let Some(first) = rest.replace(raw.span.clone())
        {
            check
                .error(&raw.span, "two TCP routes of this site have no `alpn`")
                .related(&first, "first here");
        }
        let mut alpn = Vec::new();
        for name in written.unwrap_or_default() {
            protocol(check, &name);
            alpn.push(name.value.clone());
            seen.push(name);
        }
        let upstream = check.required(&raw.span, "upstream", raw.value.upstream);
        let upstream =
            upstream.and_then(|name| upstreams.index(check, &name, Carries::Connections));
        routes.extend(upstream.map(|upstream| TcpRoute {
            alpn,
            upstream,
            span: raw.span,
        }));
    }
    check.distinct(&seen, "this protocol");
    routes
}

/// HTTP never goes through as bytes: no rule would see its requests.
fn protocol(check: &mut Check<'_>, name: &Located<String>) {
    const LENGTH_MAX: usize = 255;
    let text = name.value.as_str();
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > LENGTH_MAX || !printable {
        let message = format!("a protocol has 1 to {LENGTH_MAX} printable characters");
        check.error(&name.span, message);
    } else if matches!(text, "h2" | "h2c" | "h3") || text.starts_with("http/") {
        check
            .error(&name.span, format!("{} is HTTP", quoted(text)))
            .help("lead it to a `[[site.route]]`, where rules see its requests");
    }
}
