//! A connection that carries no HTTP: identity, rules, upstream; and one whose TLS does not end here.
//!
//! In the order and with the answers of `proxy::tcp`, which carries the bytes.

use portcullis_config::HostPattern;

use super::handshake::{Connection, listener, server_name};
use super::question::{Question, QuestionError};
use super::report::{Story, Verdict};
use super::request::{decided, demand, roles};
use crate::identity::ClientIdentity;
use crate::policy::{ConnectionFacts, RoleSet};
use crate::reason::Reason;
use crate::snapshot::{Rules, normalize_host};

/// What whoever is refused sees once TLS has begun.
const CUT: &str = "a connection that ends without close_notify";
/// Before it has.
const ALERT: &str = "the TLS alert access_denied";

/// Whether a site is about connections alone, so that a request to it is none.
pub(super) fn carries_no_http(connection: &Connection<'_>) -> bool {
    connection.rules.settings.routes.is_empty()
}

/// Tells what becomes of a connection whose handshake succeeded.
pub(super) fn tell(
    story: &mut Story<'_>,
    rules: &Rules,
    (connection, question): (&Connection<'_>, &Question),
) -> Verdict {
    story.section("connection");
    let name = connection.server_name.as_deref().map(normalize_host);
    let owned = |name: &&str| connection.names.site_of(name) == Some(connection.site);
    let host = name.as_deref().filter(owned);
    if host.is_none() {
        story.note("host", "none that a rule could mean", &(0..0));
    }
    let met = match demand(story, (connection, question), (None, None)) {
        Ok(met) => met,
        Err(reason) => return Verdict::refused(reason, CUT.to_owned()),
    };
    let roles = roles(story, rules, &met.identity);
    if let Err(reason) = decide(story, rules, (&roles, host, question)) {
        return Verdict::refused(reason, CUT.to_owned());
    }
    let mut leads = Vec::new();
    for route in &connection.rules.settings.tcp {
        let upstream = &rules.upstreams[route.upstream].name;
        leads.push(match route.alpn.is_empty() {
            true => upstream.clone(),
            false => format!("{upstream} (ALPN {})", route.alpn.join(", ")),
        });
        story.pass("upstream", leads[leads.len() - 1].clone(), &route.span);
    }
    let detail = format!("its bytes are carried to {}", leads.join(", or to "));
    Verdict::served(detail, "the service")
}

/// Tells what becomes of a name that is passed through; `None` where it is not.
pub(super) fn passed_through(
    story: &mut Story<'_>,
    rules: &Rules,
    question: &Question,
) -> Result<Option<Verdict>, QuestionError> {
    let (name, why) = server_name(rules, question);
    let (at, names) = listener(rules, question, name.as_deref())?;
    let Some(name) = name else { return Ok(None) };
    let host = normalize_host(&name);
    let Some(passthrough) = names.passthrough_of(&host) else {
        return Ok(None);
    };
    let passthrough = &rules.passthroughs[passthrough];
    story.section("connection");
    let mut written = passthrough.names.iter();
    let exact = written.find(|it| it.value == HostPattern::Exact(host.clone().into_owned()));
    let place = exact.map_or(&passthrough.span, |name| &name.span);
    let listener = &at.name;
    let detail = format!("{name}{why}: handed on, TLS does not end here; listener {listener}");
    story.pass("server name", detail, place);
    let roles = roles(story, rules, &ClientIdentity::Unterminated);
    if let Err(reason) = decide(story, rules, (&roles, Some(&host), question)) {
        return Ok(Some(Verdict::refused(reason, ALERT.to_owned())));
    }
    let upstream = &rules.upstreams[passthrough.upstream].name;
    story.pass("upstream", upstream.clone(), &passthrough.span);
    let detail = format!("its bytes are carried to {upstream}");
    Ok(Some(Verdict::served(detail, "the TLS of the service")))
}

fn decide(
    story: &mut Story<'_>,
    rules: &Rules,
    (roles, host, question): (&RoleSet, Option<&str>, &Question),
) -> Result<(), Reason> {
    let facts = ConnectionFacts {
        host,
        source: question.from,
    };
    let policy = &rules.policy;
    let traces = policy.explain_connection(roles, &facts);
    decided(story, &traces, policy.decide_connection(roles, &facts)).map(drop)
}
