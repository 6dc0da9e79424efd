//! The effective configuration as TOML, with every default filled in, for `portcullis config show`.
//!
//! It loads back to the same configuration, and it holds no secret, because the configuration holds none.

mod egress;
mod identity;
mod keys;
mod page;
mod policy;
mod rate_limit;
mod resumption;
mod trust;
mod upstream;

use std::path::Path;

use self::page::{Page, list, quote};
use crate::value::size_text;
use crate::{Config, Listener, ListenerKind, LogTarget, Passthrough, RoleRef, Site};

impl Config {
    /// The configuration as one TOML file, defaults and inherited values included, paths absolute.
    pub fn to_toml(&self) -> String {
        let mut page = Page::default();
        if let Some(workers) = self.workers {
            page.key("workers", workers);
        }
        if let Some(folder) = &self.state_dir {
            page.key("state_dir", path(folder));
        }
        self.hsms.iter().for_each(|hsm| page.hsm(hsm));
        let groups = self.hsm_groups.iter();
        groups.for_each(|group| page.hsm_group(group, self));
        page.keys(&self.keys);
        self.trusts.iter().for_each(|trust| page.trust(trust));
        page.deny(&self.deny);
        self.redis.iter().for_each(|redis| page.redis(redis));
        page.tickets(&self.tickets, self);
        let egress = |listener: &&Listener| matches!(listener.kind, ListenerKind::Egress { .. });
        let listeners = self.listeners.iter().filter(|listener| !egress(listener));
        listeners.for_each(|listener| page.listener(listener, self));
        for (index, site) in self.sites.iter().enumerate() {
            if !site.certificates.is_empty() {
                page.site(index, site, self);
            }
        }
        let ways_out = self.listeners.iter().filter(egress);
        ways_out.for_each(|listener| page.egress(listener, self));
        for (index, passthrough) in self.passthroughs.iter().enumerate() {
            page.passthrough(index, passthrough, self);
        }
        self.roles.iter().for_each(|role| page.role(role));
        self.rules.iter().for_each(|rule| page.rule(rule, self));
        // An address written in place has no table of its own.
        let limits = self.rate_limits.iter();
        limits.for_each(|limit| page.rate_limit(limit, self));
        let named = self
            .upstreams
            .iter()
            .filter(|upstream| !upstream.name.contains("://"));
        named.for_each(|upstream| page.upstream(upstream, self));
        page.process(self);
        page.text
    }
}

impl Page {
    fn listener(&mut self, listener: &Listener, config: &Config) {
        self.item("listener");
        self.key("name", quote(&listener.name));
        self.key("bind", quote(listener.bind.value));
        match &listener.kind {
            ListenerKind::Https {
                default_site,
                strict_sni,
                ..
            } => {
                self.key("protocol", quote("https"));
                if let Some(site) = default_site.and_then(|at| config.sites.get(at)) {
                    self.key("default_site", quote(&site.name));
                }
                self.key("strict_sni", strict_sni);
                self.key("http3", listener.http3.is_some());
                self.key("alt_svc", listener.http3.is_none_or(|http3| http3.alt_svc));
            }
            ListenerKind::Redirect { port } => {
                self.key("protocol", quote("redirect"));
                self.key("redirect_port", port);
            }
            ListenerKind::Egress { .. } => {} // Has a table of its own.
        }
        if let Some(proxies) = &listener.proxy_protocol {
            let from = proxies.from.iter();
            let from = list(from.map(|net| quote(format!("{}/{}", net.address, net.prefix))));
            self.key("proxy_protocol", format!("{{ from = {from} }}"));
        }
    }

    fn site(&mut self, index: usize, site: &Site, config: &Config) {
        self.item("site");
        self.key("name", quote(&site.name));
        self.list("hosts", site.hosts.iter().map(|host| quote(host.text())));
        self.listeners(config, |sites, _| sites.contains(&index));
        self.client_cert(&site.client_cert);
        self.key("key_policy", quote(site.key_policy.as_str()));
        self.key("http2", site.http2);
        self.rate_limits(&site.rate_limits, config);
        self.table("site.tls");
        self.list(
            "versions",
            site.tls
                .versions
                .iter()
                .map(|version| quote(version.as_str())),
        );
        self.list(
            "suites",
            site.tls.suites.iter().map(|suite| quote(suite.as_str())),
        );
        self.list(
            "groups",
            site.tls.groups.iter().map(|group| quote(group.as_str())),
        );
        self.resumption(&site.resumption, config);
        site.certificates.iter().for_each(|certificate| {
            self.item("site.certificate");
            self.certificate(certificate, config);
        });
        for route in &site.routes {
            self.item("site.route");
            self.key(
                "path",
                quote(if route.prefix.is_empty() {
                    "/"
                } else {
                    &route.prefix
                }),
            );
            let upstream = config.upstreams.get(route.upstream);
            self.key(
                "upstream",
                quote(upstream.map_or("", |upstream| &upstream.name)),
            );
            if let Some(demand) = &route.client_cert {
                self.client_cert(demand);
            }
            self.key("early_data", route.early_data);
            self.rate_limits(&route.rate_limits, config);
        }
        for route in &site.tcp {
            self.item("site.tcp");
            self.list_unless_empty("alpn", route.alpn.iter().map(quote));
            let upstream = config.upstreams.get(route.upstream);
            let name = upstream.map_or("", |upstream| &upstream.name);
            self.key("upstream", quote(name));
        }
    }

    fn passthrough(&mut self, index: usize, passthrough: &Passthrough, config: &Config) {
        self.item("passthrough");
        let names = passthrough.names.iter();
        self.list("names", names.map(|name| quote(name.text())));
        self.listeners(config, |_, passthroughs| passthroughs.contains(&index));
        let upstream = config.upstreams.get(passthrough.upstream);
        let name = upstream.map_or("", |upstream| &upstream.name);
        self.key("upstream", quote(name));
    }

    /// The listeners that have something among their sites, or among their passthroughs.
    fn listeners(&mut self, config: &Config, has: impl Fn(&[usize], &[usize]) -> bool) {
        let listeners = config.listeners.iter();
        let on = listeners.filter(|listener| match &listener.kind {
            ListenerKind::Https {
                sites,
                passthroughs,
                ..
            } => has(sites, passthroughs),
            ListenerKind::Redirect { .. } | ListenerKind::Egress { .. } => false,
        });
        self.list("listeners", on.map(|listener| quote(&listener.name)));
    }

    /// The tables there is one of.
    fn process(&mut self, config: &Config) {
        let forwarding = &config.forwarding;
        self.table("forwarding");
        let hops = forwarding.trusted_hops.iter();
        self.list(
            "trusted_hops",
            hops.map(|net| quote(format!("{}/{}", net.address, net.prefix))),
        );
        self.key("x_forwarded", forwarding.x_forwarded);
        self.key("forwarded", forwarding.forwarded);
        self.xfcc(&forwarding.xfcc, config);
        if let Some(jwt) = &forwarding.jwt {
            self.jwt(jwt, config);
        }
        let limits = &config.limits;
        self.table("limits");
        self.key("connections", limits.connections);
        self.key("handshakes", limits.handshakes);
        self.key("client_hello", quote(size_text(limits.client_hello as u64)));
        self.key("header_bytes", quote(size_text(limits.header_bytes as u64)));
        self.key("headers", limits.headers);
        self.key("target", quote(size_text(limits.target as u64)));
        self.key(
            "body",
            quote(
                limits
                    .body
                    .map_or_else(|| "unlimited".to_owned(), size_text),
            ),
        );
        self.key("h2_streams", limits.h2_streams);
        self.key("inventory", limits.inventory);
        self.key("sessions", limits.sessions);
        self.key(
            "session_memory",
            quote(size_text(limits.session_memory as u64)),
        );
        let timeouts = &config.timeouts;
        self.table("timeouts");
        self.duration("client_hello", timeouts.client_hello);
        self.duration("handshake", timeouts.handshake);
        self.duration("header", timeouts.header);
        self.duration("idle", timeouts.idle);
        self.duration("body", timeouts.body);
        self.duration("write", timeouts.write);
        self.duration("tunnel", timeouts.tunnel);
        self.duration("drain", timeouts.drain);
        self.duration("drain_idle", timeouts.drain_idle);
        self.duration("revoked", timeouts.revoked);
        self.table("admin");
        self.key(
            "bind",
            config.admin.bind.map_or_else(|| quote("off"), quote),
        );
        if let Some(socket) = &config.admin.socket {
            self.key("socket", path(socket));
        }
        self.table("log");
        self.key("access", target(&config.log.access));
        self.key("refusals", target(&config.log.refusals));
        self.key("level", quote(&config.log.level));
    }
}

fn role_name(role: &RoleRef, config: &Config) -> String {
    match role {
        RoleRef::Anyone => quote("anyone"),
        RoleRef::Verified => quote("verified"),
        RoleRef::Role(at) => quote(config.roles.get(*at).map_or("", |role| &role.name)),
    }
}

fn path(path: &Path) -> String {
    quote(path.display())
}

fn file(path: &Path) -> String {
    quote(format!("file:{}", path.display()))
}

fn target(target: &LogTarget) -> String {
    match target {
        LogTarget::Off => quote("off"),
        LogTarget::Stdout => quote("stdout"),
        LogTarget::Stderr => quote("stderr"),
        LogTarget::File(file) => path(file),
    }
}
