//! A request on a connection: host, path, route, its demand, identity, rules, upstream.
//!
//! In the order and with the answers of `proxy`, which forwards.

use std::ops::Range;
use std::sync::Arc;

use http::Method;
use portcullis_config::{Action, Route};

use super::bundle::Shown as Seen;
use super::handshake::{Connection, asks, first_host, tell_bundles, tell_deny_list};
use super::named;
use super::question::{Question, QuestionError, Request};
use super::report::{Story, Verdict};
use crate::identity::ClientIdentity;
use crate::path::CanonicalPath;
use crate::policy::{Denied, Permit, RequestFacts, RoleSet, RuleTrace};
use crate::reason::Reason;
use crate::route::Found;
use crate::snapshot::Rules;
use crate::trust::{Demand, Met};

/// Tells the request, and how it ends.
pub(super) fn tell(
    story: &mut Story<'_>,
    rules: &Rules,
    (connection, question, request): (&Connection<'_>, &Question, &Request),
) -> Result<Verdict, QuestionError> {
    let host = request.host.clone();
    let host = host.or_else(|| connection.server_name.clone());
    let host = host.or_else(|| first_host(connection.rules));
    let host = host.ok_or(QuestionError::Host)?;
    let host = crate::snapshot::normalize_host(&host);
    let about = Request {
        host: Some(host.clone().into_owned()),
        method: request.method.clone(),
        path: request.path.clone(),
        headers: request.headers.clone(),
    };
    let told = walk(story, rules, (connection, question, &about));
    Ok(match told {
        Ok(upstream) => Verdict::served(
            format!("forwarded to {upstream}"),
            "the answer of the upstream",
        ),
        Err(reason) => Verdict::refused(reason, format!("a bare {}", reason.status())),
    })
}

fn walk(
    story: &mut Story<'_>,
    rules: &Rules,
    (connection, question, request): (&Connection<'_>, &Question, &Request),
) -> Result<String, Reason> {
    let host = request.host.as_deref().unwrap_or_default();
    story.section("request");
    if request.method == Method::CONNECT {
        story.fail("method", (Reason::MethodNotSupported, ""), &(0..0));
        return Err(Reason::MethodNotSupported);
    }
    belongs(story, connection, host)?;
    let Ok(path) = CanonicalPath::parse(&request.path) else {
        story.fail("path", (Reason::PathAmbiguous, &request.path), &(0..0));
        return Err(Reason::PathAmbiguous);
    };
    let detail = match path.is_rewritten() {
        true => format!("{} (sent as {})", path.as_str(), request.path),
        false => path.as_str().to_owned(),
    };
    story.pass("path", detail, &(0..0));
    let (found, route) = route(story, connection, &path);
    let met = demand(story, (connection, question), (found, route))?;
    let roles = roles(story, rules, &met.identity);
    let facts = RequestFacts {
        host,
        method: request.method.as_str(),
        path: &path,
        source: question.from,
        headers: &request.headers,
    };
    permit(story, rules, &roles, &facts)?;
    let Some(found) = found else {
        story.fail("upstream", (Reason::NoRoute, ""), &(0..0));
        return Err(Reason::NoRoute);
    };
    let upstream = &rules.upstreams[found.upstream];
    let first = upstream.endpoints.first();
    let place = first.map_or(0..0, |endpoint| endpoint.span.clone());
    let addresses = upstream.endpoints.iter();
    let addresses: Vec<_> = addresses
        .map(|it| format!("{}:{}", it.host, it.port))
        .collect();
    story.pass(
        "upstream",
        format!("{} ({})", upstream.name, addresses.join(", ")),
        &place,
    );
    Ok(upstream.name.clone())
}

/// The host must belong to the site of the handshake.
fn belongs(story: &mut Story<'_>, connection: &Connection<'_>, host: &str) -> Result<(), Reason> {
    let place = connection.rules.settings.hosts.first();
    let place = place.map_or(0..0, |host| host.span.clone());
    let site = &connection.rules.name;
    if connection.names.site_of(host) == Some(connection.site) {
        story.pass("host", format!("{host} belongs to the site {site}"), &place);
        return Ok(());
    }
    let detail = format!("{host} does not belong to the site {site} of this connection");
    story.fail("host", (Reason::Misdirected, &detail), &place);
    Err(Reason::Misdirected)
}

fn route<'a>(
    story: &mut Story<'_>,
    connection: &Connection<'a>,
    path: &CanonicalPath<'_>,
) -> (Option<Found<'a>>, Option<&'a Route>) {
    let Some(found) = connection.rules.routes.find(path) else {
        let detail = "none; only who may ask learns that";
        story.not_asked("route", detail, &(0..0));
        return (None, None);
    };
    let mut routes = connection.rules.settings.routes.iter();
    let route = routes.find(|route| route.prefix == found.prefix);
    let prefix = if found.prefix.is_empty() {
        "/"
    } else {
        found.prefix
    };
    story.pass(
        "route",
        prefix,
        &route.map_or(0..0, |route| route.span.clone()),
    );
    (Some(found), route)
}

/// What the route, or the site where it does not say, asks of the client.
pub(super) fn demand(
    story: &mut Story<'_>,
    (connection, question): (&Connection<'_>, &Question),
    (found, route): (Option<Found<'_>>, Option<&Route>),
) -> Result<Met, Reason> {
    let demand = &connection.rules.demands[found.map_or(0, |found| found.demand)];
    let own = route.and_then(|route| route.client_cert.as_ref());
    let place = own
        .unwrap_or(&connection.rules.settings.client_cert)
        .span
        .clone();
    let accounted = demand.account_met(&connection.shown, question.at);
    let name = "client certificate";
    let section = story.current().to_owned();
    let same = is_same(demand, &connection.rules.handshake);
    if !same && !accounted.bundles.is_empty() {
        let seen = Seen {
            chain: connection.shown.chain(),
            leaf: connection.shown.identity().map(Arc::as_ref),
            at: question.at,
        };
        tell_bundles(story, demand, &accounted.bundles, seen);
        story.section("every bundle");
        tell_deny_list(story, demand, accounted.verdict.as_ref().err());
        story.section(section);
    }
    match accounted.verdict {
        Ok(met) => {
            let whose = if own.is_some() {
                "the route"
            } else {
                "the site"
            };
            let detail = format!("{whose} asks: {}", asks(demand));
            story.pass(name, detail, &place);
            Ok(met)
        }
        Err(refused) => {
            story.fail(name, (refused.reason, &refused.detail), &place);
            Err(refused.reason)
        }
    }
}

/// Whether both ask the same.
fn is_same(one: &Demand, other: &Demand) -> bool {
    let names = |demand: &Demand| -> Vec<Arc<str>> {
        demand
            .bundles()
            .iter()
            .map(|it| Arc::clone(it.name()))
            .collect()
    };
    one.mode() == other.mode() && names(one) == names(other)
}

/// Who it is, and what roles that gives.
pub(super) fn roles(story: &mut Story<'_>, rules: &Rules, client: &ClientIdentity) -> RoleSet {
    let told = match client {
        ClientIdentity::Absent | ClientIdentity::Unterminated | ClientIdentity::Local => {
            "none: the client is anyone".to_owned()
        }
        ClientIdentity::Unverified(identity) => {
            format!("{}, not verified: the client is anyone", named(identity))
        }
        ClientIdentity::Verified(identity) => format!("{}, verified", named(identity)),
    };
    story.pass("identity", told, &(0..0));
    let set = rules.policy.roles_of(client);
    let names = rules.policy.role_names(&set);
    if names.is_empty() {
        story.note("role", "none by name", &(0..0));
    }
    for (name, span) in names.into_iter().zip(rules.policy.role_spans(&set)) {
        story.note("role", name, &span);
    }
    set
}

/// Every rule about this host and path, and the one that decides.
fn permit(
    story: &mut Story<'_>,
    rules: &Rules,
    roles: &RoleSet,
    facts: &RequestFacts<'_>,
) -> Result<Permit, Reason> {
    let traces = rules.policy.explain(roles, facts);
    decided(story, &traces, rules.policy.decide(roles, facts))
}

/// How each rule saw it, and the one that decided.
pub(super) fn decided(
    story: &mut Story<'_>,
    traces: &[RuleTrace],
    decided: Result<Permit, Denied>,
) -> Result<Permit, Reason> {
    let by = match &decided {
        Ok(permit) => Some(Arc::clone(permit.rule())),
        Err(denied) => denied.rule.clone(),
    };
    for trace in traces
        .iter()
        .filter(|trace| Some(&trace.rule) != by.as_ref())
    {
        story.note(&format!("rule {}", trace.rule), sees(trace), &trace.span);
    }
    let deciding = traces.iter().find(|trace| Some(&trace.rule) == by.as_ref());
    let place: Range<usize> = deciding.map_or(0..0, |trace| trace.span.clone());
    match decided {
        Ok(permit) => {
            let detail = format!("allowed by `{}`", permit.rule());
            story.pass("rules", detail, &place);
            for rule in permit.shadows() {
                let told = format!("`{rule}`, on trial, would deny this");
                story.note("shadow", told, &(0..0));
            }
            Ok(permit)
        }
        Err(Denied { reason, rule }) => {
            let detail = rule.map_or(String::new(), |rule| format!("denied by `{rule}`"));
            story.fail("rules", (reason, &detail), &place);
            Err(reason)
        }
    }
}

/// What a rule makes of the request.
fn sees(trace: &RuleTrace) -> String {
    let action = match trace.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::ShadowDeny => "deny on trial",
    };
    let failed: Vec<_> = trace.failed().collect();
    match failed.is_empty() {
        true => format!("{action}: matches"),
        false => format!("{action}: does not match by {}", failed.join(", ")),
    }
}
