//! The tables of each kind, in the order of the files, with their names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::check::{Check, Names};
use crate::egress::RawEgress;
use crate::hsm::RawHsm;
use crate::hsm_group::{CheckedGroup, RawHsmGroup, distinct_groups};
use crate::listener::{Above, Draft, RawListener, distinct_addresses};
use crate::passthrough::{CheckedPassthrough, RawPassthrough};
use crate::policy::RawRule;
use crate::rate_limit::RawRateLimit;
use crate::redis::RawRedis;
use crate::resumption::{Layer, RawResumption};
use crate::role::RawRole;
use crate::route::Upstreams;
use crate::site::{CheckedSite, RawSite, Surroundings};
use crate::trust::{RawTrust, Trusts};
use crate::upstream::{RawUpstream, Signed};
use crate::upstream_tls::Believed;
use crate::value::quoted;
use crate::{Hsm, Listener, Located, RateLimit, Redis, Role, Rule, Timeouts, Upstream};

/// Named tables in the order of the files, which a map does not keep.
fn in_file_order<T>(
    tables: Option<BTreeMap<Located<String>, Located<T>>>,
) -> (Vec<Located<String>>, Vec<Located<T>>) {
    let mut tables: Vec<_> = tables.unwrap_or_default().into_iter().collect();
    tables.sort_by_key(|(name, _)| name.span.start);
    tables.into_iter().unzip()
}

/// The names of a list of tables; one without a name keeps its number with a name nobody can write.
fn names_of<T>(
    tables: &[Located<T>],
    name: impl Fn(&T) -> Option<Located<String>>,
) -> Vec<Located<String>> {
    let nameless = |at: usize, table: &Located<T>| table.with(format!("(without name) {at}"));
    let tables = tables.iter().enumerate();
    tables
        .map(|(at, table)| name(&table.value).unwrap_or_else(|| nameless(at, table)))
        .collect()
}

pub(super) fn hsms(
    check: &mut Check<'_>,
    tables: Option<BTreeMap<Located<String>, Located<RawHsm>>>,
    timeouts: &Timeouts,
) -> (Names, Vec<Option<Hsm>>) {
    let (names, tables) = in_file_order(tables);
    let mut hsms = Vec::new();
    for (name, raw) in names.iter().zip(tables) {
        hsms.push(raw.value.check(check, name, &raw.span, timeouts.handshake));
    }
    (Names::new(check, "hsm", names), hsms)
}

/// The groups, and the names of tokens and groups together.
pub(super) fn hsm_groups(
    check: &mut Check<'_>,
    tables: Option<BTreeMap<Located<String>, Located<RawHsmGroup>>>,
    tokens: (&Names, &[Option<Hsm>]),
) -> (Names, Vec<CheckedGroup>) {
    let (names, tables) = in_file_order(tables);
    let mut groups = Vec::new();
    for (name, raw) in names.iter().zip(tables) {
        groups.push(raw.value.check(check, name, &raw.span, tokens));
    }
    let names = Names::new(check, "hsm_group", names);
    distinct_groups(check, tokens.0, &names, &groups);
    (tokens.0.and(&names), groups)
}

pub(super) fn trusts(
    check: &mut Check<'_>,
    tables: Option<BTreeMap<Located<String>, Located<RawTrust>>>,
) -> Trusts {
    let (names, tables) = in_file_order(tables);
    let named = names.iter().zip(tables);
    let named = named
        .map(|(name, raw)| Arc::new(raw.value.check(check, &name.value, &raw.span)))
        .collect();
    Trusts {
        names: Names::new(check, "trust bundle", names),
        named,
    }
}

pub(super) fn redis(
    check: &mut Check<'_>,
    tables: Option<BTreeMap<Located<String>, Located<RawRedis>>>,
) -> (Names, Vec<Option<Redis>>) {
    let (names, tables) = in_file_order(tables);
    let mut redis = Vec::new();
    for (name, raw) in names.iter().zip(tables) {
        redis.push(raw.value.check(check, name, &raw.span));
    }
    (Names::new(check, "redis", names), redis)
}

/// What the top level says, over the defaults.
pub(super) fn resumption(
    check: &mut Check<'_>,
    written: Option<Located<RawResumption>>,
    redis: &Names,
) -> Layer {
    let own = written.map_or_else(Layer::silent, |raw| {
        raw.value.check(check, &raw.span, redis)
    });
    own.over(&Layer::defaults())
}

pub(super) fn upstreams(
    check: &mut Check<'_>,
    tables: Option<BTreeMap<Located<String>, Located<RawUpstream>>>,
    around: Believed<'_>,
) -> (Vec<Upstream>, Upstreams) {
    let (names, tables) = in_file_order(tables);
    let (mut named, mut protocols) = (Vec::new(), Vec::new());
    for (name, raw) in names.iter().zip(tables) {
        let upstream = raw.value.check(check, (name, &raw.span), around);
        let known = !check.lost_key(&raw.span, "protocol");
        protocols.push(known.then_some(upstream.protocol));
        named.push(upstream);
    }
    let names = Names::new(check, "upstream", names);
    (
        named,
        Upstreams {
            names,
            protocols,
            inline: Vec::new(),
        },
    )
}

pub(super) fn rate_limits(
    check: &mut Check<'_>,
    tables: Option<BTreeMap<Located<String>, Located<RawRateLimit>>>,
    redis: &Names,
) -> (Names, Vec<Option<RateLimit>>) {
    let (names, tables) = in_file_order(tables);
    let mut limits = Vec::new();
    for (name, raw) in names.iter().zip(tables) {
        limits.push(raw.value.check(check, (name, &raw.span), redis));
    }
    (Names::new(check, "rate limit", names), limits)
}

pub(super) fn listeners(
    check: &mut Check<'_>,
    tables: Option<Vec<Located<RawListener>>>,
    (above, needed): (&Above<'_>, bool),
) -> (Names, Vec<Draft>) {
    let tables = tables.unwrap_or_default();
    if tables.is_empty() && needed && !check.lost_tables() {
        check
            .error(&(0..0), "there is no listener")
            .help("add `[[listener]]` with `bind = \"0.0.0.0:8443\"`");
    }
    let names = Names::new(check, "listener", names_of(&tables, RawListener::name));
    let drafts = tables
        .into_iter()
        .map(|raw| raw.value.check(check, &raw.span, above))
        .collect();
    (names, drafts)
}

/// Every socket is bound once, that of the administrator too.
pub(super) fn binds(check: &mut Check<'_>, drafts: &[Draft], admin: Located<Option<SocketAddr>>) {
    let binds = drafts.iter().filter_map(|draft| draft.bind.clone());
    let admin = admin.value.map(|bind| admin.with(bind));
    distinct_addresses(check, &binds.chain(admin).collect::<Vec<_>>());
}

/// Upstreams that want signed identities have somebody who signs them.
pub(super) fn identities(check: &mut Check<'_>, upstreams: &[Upstream], signed: Signed) {
    for upstream in upstreams {
        upstream.check_identity(check, signed);
    }
}

/// The listeners of `[[egress]]`; their sites go behind the others.
pub(super) fn egresses(
    check: &mut Check<'_>,
    tables: Option<Vec<Located<RawEgress>>>,
    named: &Names,
    (sites, around): (&mut Vec<CheckedSite>, &mut Surroundings<'_>),
) -> Vec<Listener> {
    let tables = tables.unwrap_or_default();
    // Distinct among themselves; and nobody else's, for records name listener and site.
    let own = Names::new(check, "egress", names_of(&tables, RawEgress::name));
    for name in own.iter() {
        let mut others = around.listener_names.iter().chain(named.iter());
        if let Some(other) = others.find(|other| other.value == name.value) {
            let message = format!(
                "{} is the name of a listener or site already",
                quoted(&name.value)
            );
            check
                .error(&name.span, message)
                .related(&other.span, "here");
        }
    }
    let mut made = Vec::new();
    for raw in tables {
        if let Some((listener, site)) = raw.value.check(check, &raw.span, sites.len(), around) {
            made.push(listener);
            sites.push(site);
        }
    }
    made
}

/// The listeners with the sites that are on them, and behind them the ways out.
pub(super) fn finished(
    check: &mut Check<'_>,
    (drafts, egress): (Vec<Draft>, Vec<Listener>),
    sites: (&Names, &[CheckedSite]),
    passthroughs: &[CheckedPassthrough],
) -> Vec<Listener> {
    let drafts = drafts.into_iter().enumerate();
    drafts
        .filter_map(|(own, draft)| draft.finish(check, own, sites, passthroughs))
        .chain(egress)
        .collect()
}

pub(super) fn sites(
    check: &mut Check<'_>,
    tables: Option<Vec<Located<RawSite>>>,
    around: &mut Surroundings<'_>,
) -> (Names, Vec<CheckedSite>) {
    let tables = tables.unwrap_or_default();
    let names = Names::new(check, "site", names_of(&tables, RawSite::name));
    let sites = tables
        .into_iter()
        .map(|raw| raw.value.check(check, &raw.span, around))
        .collect();
    (names, sites)
}

pub(super) fn passthroughs(
    check: &mut Check<'_>,
    tables: Option<Vec<Located<RawPassthrough>>>,
    around: &mut Surroundings<'_>,
) -> Vec<CheckedPassthrough> {
    let tables = tables.unwrap_or_default().into_iter();
    tables
        .map(|raw| raw.value.check(check, &raw.span, around))
        .collect()
}

pub(super) fn policy(
    check: &mut Check<'_>,
    roles: Option<Vec<Located<RawRole>>>,
    rules: Option<Vec<Located<RawRule>>>,
    (sites, passthroughs): (&[CheckedSite], &[CheckedPassthrough]),
) -> (Names, Vec<Role>, Vec<Rule>) {
    let tables = roles.unwrap_or_default();
    let names = Names::new(check, "role", names_of(&tables, RawRole::name));
    let roles = tables
        .into_iter()
        .filter_map(|raw| raw.value.check(check, &raw.span))
        .collect();

    let tables = rules.unwrap_or_default();
    let rule_name = |(at, raw): (usize, &Located<RawRule>)| {
        raw.value
            .name()
            .unwrap_or_else(|| raw.with(format!("rule-{}", at + 1)))
    };
    let rule_names = tables.iter().enumerate().map(rule_name).collect();
    Names::new(check, "rule", rule_names);
    let hosts = sites.iter().flat_map(|site| &site.hosts);
    let passed = passthroughs.iter().flat_map(|passed| &passed.names);
    let mut served: Vec<_> = hosts.chain(passed).cloned().collect();
    let known = sites.iter().all(|site| site.hosts_are_known);
    if !known || !passthroughs.iter().all(|passed| passed.names_are_known) {
        // A host that no site seems to have may be one that could not be read.
        served.clear();
    }
    let mut rules = Vec::new();
    for (at, raw) in tables.into_iter().enumerate() {
        rules.push(raw.value.check(check, (&raw.span, at + 1), &names, &served));
    }
    (names, roles, rules)
}
