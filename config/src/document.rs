//! The whole file as written, and the order in which its parts are checked.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::admin::{RawAdmin, RawLog};
use crate::certificate::RawKeys;
use crate::check::{Check, Names};
use crate::deny::RawDeny;
use crate::forwarding::RawForwarding;
use crate::hsm::RawHsm;
use crate::hsm_group::{CheckedGroup, RawHsmGroup, distinct_groups};
use crate::hsm_ref::Tokens;
use crate::limits::{RawLimits, RawTimeouts};
use crate::listener::{Above, Draft, RawListener, distinct_addresses};
use crate::policy::RawRule;
use crate::redis::RawRedis;
use crate::resumption::{Layer, RawResumption};
use crate::role::RawRole;
use crate::route::Upstreams;
use crate::site::{CheckedSite, RawSite, Surroundings};
use crate::tickets::RawTickets;
use crate::trust::{RawTrust, Trusts};
use crate::upstream::RawUpstream;
use crate::value::Number;
use crate::{Config, Hsm, Located, Places, Redis, Role, Rule, Timeouts, Upstream};

/// More data workers than any machine has cores.
const WORKERS_MAX: usize = 1024;

/// Configuration of the Portcullis gateway.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// Data workers (threads with their own accept loop). Default: one per available core.
    workers: Option<Located<Number>>,
    /// More files: paths, or patterns like `conf.d/*.toml`, relative to this file. Lists are appended,
    /// named tables are merged.
    #[schemars(schema_with = "crate::schema::one_or_many::<String>")]
    #[expect(
        dead_code,
        reason = "the loader takes it out; it is here for the schema"
    )]
    include: Option<Vec<String>>,
    /// Directory where the gateway remembers refused PINs over restarts. Default: `$STATE_DIRECTORY`, else
    /// `/var/lib/portcullis`.
    state_dir: Option<Located<String>>,
    /// PKCS#11 tokens, by name.
    hsm: Option<BTreeMap<Located<String>, Located<RawHsm>>>,
    /// Tokens that hold the same keys and stand in for each other, by name.
    hsm_group: Option<BTreeMap<Located<String>, Located<RawHsmGroup>>>,
    /// Keys that may be used although they are not in a token, or could leave it.
    keys: Option<RawKeys>,
    /// Whom client certificates must lead to, and what is checked, by name.
    trust: Option<BTreeMap<Located<String>, Located<RawTrust>>>,
    /// Clients that are turned away whatever their certificate says.
    deny: Option<RawDeny>,
    /// Redis or Valkey that a fleet of gateways shares, by name.
    redis: Option<BTreeMap<Located<String>, Located<RawRedis>>>,
    /// The keys session tickets are sealed with.
    tickets: Option<RawTickets>,
    /// Resumption of sessions, for the keys that listeners and sites do not say themselves.
    resumption: Option<Located<RawResumption>>,
    /// Sockets that accept clients.
    listener: Option<Vec<Located<RawListener>>>,
    /// What is served, by host name.
    site: Option<Vec<Located<RawSite>>>,
    /// Named groups of client identities.
    role: Option<Vec<Located<RawRole>>>,
    /// Who may do what. Nothing is allowed without a rule; a deny wins over every allow.
    rule: Option<Vec<Located<RawRule>>>,
    /// Services requests go to, by name.
    upstream: Option<BTreeMap<Located<String>, Located<RawUpstream>>>,
    /// What upstreams are told about the client.
    forwarding: Option<RawForwarding>,
    /// Bounds on what can be many or large.
    limits: Option<RawLimits>,
    /// Bounds on what can take long.
    timeouts: Option<RawTimeouts>,
    /// Probes, metrics and the control socket.
    admin: Option<RawAdmin>,
    /// Where the logs go.
    log: Option<RawLog>,
}

impl RawConfig {
    /// Checks everything. The result counts only if `check` holds no mistake afterwards.
    pub(crate) fn check(self, check: &mut Check<'_>) -> Option<Config> {
        let workers = self
            .workers
            .map(|workers| check.count(Some(workers), 1, 1..=WORKERS_MAX));
        let state_dir = self.state_dir.map(|text| check.path(&text).value);
        let limits = self.limits.unwrap_or_default().check(check);
        let timeouts = self.timeouts.unwrap_or_default().check(check);
        let keys = self.keys.unwrap_or_default().check(check);
        let (hsm_names, hsms) = hsms(check, self.hsm, &timeouts);
        let (names, groups) = hsm_groups(check, self.hsm_group, (&hsm_names, &hsms));
        let (mut named, mut upstreams) = upstreams(check, self.upstream);

        let trusts = trusts(check, self.trust);
        let (redis_names, redis) = redis(check, self.redis);
        let above = Above {
            trusts: &trusts,
            redis: &redis_names,
            resumption: &resumption(check, self.resumption, &redis_names),
        };
        let (listener_names, drafts) = listeners(check, self.listener, &above);
        let (admin, admin_bind) = self.admin.unwrap_or_default().check(check);
        let binds = drafts.iter().filter_map(|draft| draft.bind.clone());
        let admin_bind = admin_bind.value.map(|bind| admin_bind.with(bind));
        distinct_addresses(check, &binds.chain(admin_bind).collect::<Vec<_>>());

        let tokens = Tokens {
            names: &names,
            hsms: &hsms,
            groups: &groups,
            keys: &keys,
        };
        let mut around = Surroundings {
            listeners: &drafts,
            listener_names: &listener_names,
            tokens: &tokens,
            trusts: &trusts,
            redis: &redis_names,
            upstreams: &mut upstreams,
        };
        let (site_names, sites) = sites(check, self.site, &mut around);
        let tickets = self.tickets.unwrap_or_default();
        let tickets = tickets.check(check, (&tokens, &redis_names), &sites);
        let whole = drafts.into_iter().enumerate();
        let whole = whole.filter_map(|(own, draft)| draft.finish(check, own, &sites, &site_names));
        let whole = whole.collect();
        let (role_names, roles, rules) = policy(check, self.role, self.rule, &sites);
        let forwarding = self.forwarding.unwrap_or_default();
        for upstream in &named {
            upstream.check_identity(check, forwarding.signed());
        }
        let forwarding = forwarding.check(check, &role_names, &tokens);
        named.append(&mut upstreams.inline);
        Some(Config {
            listeners: whole,
            sites: sites.into_iter().map(|checked| checked.site).collect(),
            hsms: hsms.into_iter().collect::<Option<_>>()?,
            hsm_groups: groups.into_iter().map(|checked| checked.group).collect(),
            keys,
            trusts: trusts.named,
            deny: self.deny.unwrap_or_default().check(check),
            redis: redis.into_iter().collect::<Option<_>>()?,
            tickets,
            roles,
            rules,
            upstreams: named,
            forwarding,
            limits,
            timeouts,
            admin,
            log: self.log.unwrap_or_default().check(check),
            state_dir,
            workers: workers.and_then(NonZeroUsize::new),
            places: Places::default(),
        })
    }
}

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

fn hsms(
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
fn hsm_groups(
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

fn trusts(
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

fn redis(
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
fn resumption(
    check: &mut Check<'_>,
    written: Option<Located<RawResumption>>,
    redis: &Names,
) -> Layer {
    let own = written.map_or_else(Layer::silent, |raw| {
        raw.value.check(check, &raw.span, redis)
    });
    own.over(&Layer::defaults())
}

fn upstreams(
    check: &mut Check<'_>,
    tables: Option<BTreeMap<Located<String>, Located<RawUpstream>>>,
) -> (Vec<Upstream>, Upstreams) {
    let (names, tables) = in_file_order(tables);
    let mut named = Vec::new();
    for (name, raw) in names.iter().zip(tables) {
        named.push(raw.value.check(check, name, &raw.span));
    }
    let names = Names::new(check, "upstream", names);
    (
        named,
        Upstreams {
            names,
            inline: Vec::new(),
        },
    )
}

fn listeners(
    check: &mut Check<'_>,
    tables: Option<Vec<Located<RawListener>>>,
    above: &Above<'_>,
) -> (Names, Vec<Draft>) {
    let tables = tables.unwrap_or_default();
    if tables.is_empty() && !check.lost_tables() {
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

fn sites(
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

fn policy(
    check: &mut Check<'_>,
    roles: Option<Vec<Located<RawRole>>>,
    rules: Option<Vec<Located<RawRule>>>,
    sites: &[CheckedSite],
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
    let mut served: Vec<_> = sites
        .iter()
        .flat_map(|site| site.hosts.iter().cloned())
        .collect();
    if !sites.iter().all(|site| site.hosts_are_known) {
        // A host that no site seems to have may be one that could not be read.
        served.clear();
    }
    let mut rules = Vec::new();
    for (at, raw) in tables.into_iter().enumerate() {
        rules.push(raw.value.check(check, (&raw.span, at + 1), &names, &served));
    }
    (names, roles, rules)
}
