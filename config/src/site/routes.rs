//! Where the requests of a site go.
use crate::check::{Check, Names, Span};
use crate::rate_limit::named_limits;
use crate::route::{Carries, RawRoute, RouteDraft, SiteSays};
use crate::value::quoted;
use crate::{Located, Route, TcpRoute};

use super::Surroundings;

/// Where a site leads to, as written.
pub(super) struct WrittenRoutes<'a> {
    pub(super) shorthand: Option<Located<String>>,
    pub(super) tables: Option<Vec<Located<RawRoute>>>,
    /// `None` where none is written.
    pub(super) tcp: Option<&'a [TcpRoute]>,
}

/// The routes of a site, longest prefix first.
pub(super) fn routes(
    check: &mut Check<'_>,
    table: &Span,
    written: WrittenRoutes<'_>,
    site: &SiteSays<'_>,
    around: &mut Surroundings<'_>,
) -> Vec<Route> {
    leads_somewhere(check, table, &written);
    let WrittenRoutes {
        shorthand, tables, ..
    } = written;
    let mut routes: Vec<Located<RouteDraft>> = Vec::new();
    if let Some(upstream) = shorthand {
        let span = upstream.span.clone();
        routes.push(Located {
            value: RouteDraft {
                prefix: String::new(),
                upstream,
                client_cert: None,
                early_data: false,
                rate_limits: Vec::new(),
            },
            span,
        });
    }
    for raw in tables.unwrap_or_default() {
        let demand = (around.trusts, around.rate_limits, site);
        let Some(route) = raw.value.check(check, &raw.span, demand) else {
            continue;
        };
        if let Some(first) = routes.iter().find(|other| other.prefix == route.prefix) {
            let path = if route.prefix.is_empty() {
                "/"
            } else {
                &route.prefix
            };
            let message = format!("two routes of this site have the path {}", quoted(path));
            check
                .error(&route.span, message)
                .related(&first.span, "first here");
        }
        routes.push(route);
    }
    // Upstreams are looked up in the order of the routes, so that what is shown loads back to the same.
    routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
    let finished = routes.into_iter().filter_map(|route| {
        let upstream = around
            .upstreams
            .index(check, &route.upstream, Carries::Requests)?;
        Some(Route {
            prefix: route.value.prefix,
            upstream,
            client_cert: route.value.client_cert,
            early_data: route.value.early_data,
            rate_limits: route.value.rate_limits,
            span: route.span,
        })
    });
    finished.collect()
}

/// A site has routes, or is for TCP, or for both apart by protocol.
fn leads_somewhere(check: &mut Check<'_>, table: &Span, written: &WrittenRoutes<'_>) {
    let WrittenRoutes {
        shorthand,
        tables,
        tcp,
    } = written;
    let lost = ["upstream", "route", "tcp"]
        .iter()
        .any(|key| check.lost_key(table, key));
    let none = shorthand.is_none() && tables.as_ref().is_none_or(Vec::is_empty);
    let mut all = tcp.iter().copied().flatten();
    let whole = all.find(|route| route.alpn.is_empty());
    if let (Some(whole), false) = (whole, none) {
        check
            .error(
                &whole.span,
                "a TCP route without `alpn` leaves nothing to the routes of this site",
            )
            .help("give it the protocols it is for, or remove the routes");
    }
    if none && tcp.is_none() && !lost {
        check
            .error(table, "this site leads nowhere: `upstream` is missing")
            .help("add `upstream = \"NAME\"` or `upstream = \"http://127.0.0.1:8080\"`, or a `[[site.route]]`");
    }
}

/// The limits that every request counts for, where there are requests.
pub(super) fn limits(
    check: &mut Check<'_>,
    names: &Names,
    written: Option<Vec<Located<String>>>,
    routes: &[Route],
) -> Vec<usize> {
    if let (Some(first), []) = (written.iter().flatten().next(), routes) {
        check
            .error(
                &first.span,
                "`rate_limits` does nothing on a site without routes",
            )
            .help("connections to TCP upstreams are not counted");
    }
    named_limits(check, names, written)
}
