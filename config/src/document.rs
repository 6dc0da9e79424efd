//! The whole file as written, and the order in which its parts are checked.

mod tables;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::admin::{RawAdmin, RawLog};
use crate::certificate::RawKeys;
use crate::check::Check;
use crate::deny::RawDeny;
use crate::egress::RawEgress;
use crate::forwarding::RawForwarding;
use crate::hsm::RawHsm;
use crate::hsm_group::RawHsmGroup;
use crate::hsm_ref::Tokens;
use crate::limits::{RawLimits, RawTimeouts};
use crate::listener::{Above, RawListener};
use crate::passthrough::{CheckedPassthrough, RawPassthrough};
use crate::policy::RawRule;
use crate::rate_limit::RawRateLimit;
use crate::redis::RawRedis;
use crate::resumption::RawResumption;
use crate::role::RawRole;
use crate::site::{RawSite, Surroundings};
use crate::tickets::RawTickets;
use crate::trust::RawTrust;
use crate::upstream::RawUpstream;
use crate::upstream_tls::Believed;
use crate::value::Number;
use crate::{Config, Located, Places};

use self::tables::{
    binds, egresses, finished, hsm_groups, hsms, identities, listeners, passthroughs, policy,
    rate_limits, redis, resumption, sites, trusts, upstreams,
};

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
    /// Server names whose connections are handed on as they come, undecrypted.
    passthrough: Option<Vec<Located<RawPassthrough>>>,
    /// Ways out for programs of this machine, in plain text up to the gateway.
    egress: Option<Vec<Located<RawEgress>>>,
    /// Named groups of client identities.
    role: Option<Vec<Located<RawRole>>>,
    /// Who may do what. Nothing is allowed without a rule; a deny wins over every allow.
    rule: Option<Vec<Located<RawRule>>>,
    /// Services requests go to, by name.
    upstream: Option<BTreeMap<Located<String>, Located<RawUpstream>>>,
    /// How often somebody may ask, by name.
    rate_limit: Option<BTreeMap<Located<String>, Located<RawRateLimit>>>,
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
        let workers = workers(check, self.workers);
        let state_dir = self.state_dir.map(|text| check.path(&text).value);
        let limits = self.limits.unwrap_or_default().check(check);
        let timeouts = self.timeouts.unwrap_or_default().check(check);
        let keys = self.keys.unwrap_or_default().check(check);
        let (hsm_names, hsms) = hsms(check, self.hsm, &timeouts);
        let (names, groups) = hsm_groups(check, self.hsm_group, (&hsm_names, &hsms));
        let trusts = trusts(check, self.trust);
        let tokens = Tokens::new(&names, (&hsms, &groups), &keys);
        let believed = Believed::new(&trusts, &tokens);
        let (mut named, mut upstreams) = upstreams(check, self.upstream, believed);
        let (redis_names, redis) = redis(check, self.redis);
        let (limit_names, rate_limits) = rate_limits(check, self.rate_limit, &redis_names);
        let above = Above {
            trusts: &trusts,
            redis: &redis_names,
            resumption: &resumption(check, self.resumption, &redis_names),
        };
        let lone = self.egress.as_ref().is_none_or(Vec::is_empty);
        let (listener_names, drafts) = listeners(check, self.listener, (&above, lone));
        let (admin, admin_bind) = self.admin.unwrap_or_default().check(check);
        binds(check, &drafts, admin_bind);
        let mut around = Surroundings {
            listeners: &drafts,
            listener_names: &listener_names,
            tokens: &tokens,
            trusts: &trusts,
            redis: &redis_names,
            upstreams: &mut upstreams,
            rate_limits: &limit_names,
        };
        let (site_names, mut sites) = sites(check, self.site, &mut around);
        let passthroughs = passthroughs(check, self.passthrough, &mut around);
        let egress = egresses(check, self.egress, &site_names, (&mut sites, &mut around));
        let tickets = self.tickets.unwrap_or_default();
        let tickets = tickets.check(check, (&tokens, &redis_names), &sites);
        let fronts = (drafts, egress);
        let listeners = finished(check, fronts, (&site_names, &sites), &passthroughs);
        let (role_names, roles, rules) =
            policy(check, self.role, self.rule, (&sites, &passthroughs));
        let forwarding = self.forwarding.unwrap_or_default();
        identities(check, &named, forwarding.signed());
        let forwarding = forwarding.check(check, &role_names, &tokens);
        named.append(&mut upstreams.inline);
        Some(Config {
            listeners,
            sites: sites.into_iter().map(|checked| checked.site).collect(),
            passthroughs: CheckedPassthrough::all(passthroughs),
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
            rate_limits: rate_limits.into_iter().collect::<Option<_>>()?,
            forwarding,
            limits,
            timeouts,
            admin,
            log: self.log.unwrap_or_default().check(check),
            state_dir,
            workers,
            places: Places::default(),
        })
    }
}

fn workers(check: &mut Check<'_>, written: Option<Located<Number>>) -> Option<NonZeroUsize> {
    let count = written.map(|number| check.count(Some(number), 1, 1..=WORKERS_MAX));
    count.and_then(NonZeroUsize::new)
}
