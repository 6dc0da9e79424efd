//! Resumption, ticket keys and Redis as TOML.

use super::keys::hsm_name;
use super::page::{Page, list, quote};
use super::{file, path};
use crate::value::size_text;
use crate::{
    Config, Redis, RedisMode, Resumption, SecretSource, TicketKeySource, Tickets, TokenSecret,
    WrapSource,
};

impl Page {
    pub(super) fn redis(&mut self, redis: &Redis) {
        self.table(&format!("redis.{}", quote(&redis.name)));
        self.list("urls", redis.urls.iter().map(|url| quote(&url.value)));
        self.key("mode", quote(redis.mode.as_str()));
        if let RedisMode::Sentinel { master } = &redis.mode {
            self.key("master", quote(master));
        }
        if let Some(user) = &redis.user {
            self.key("user", quote(user));
        }
        if let Some(password) = &redis.password {
            self.key("password", secret_source(password));
        }
        for (key, named) in [
            ("ca", &redis.ca),
            ("certificate", &redis.certificate),
            ("key", &redis.key),
        ] {
            if let Some(named) = named {
                self.key(key, path(named));
            }
        }
        self.duration("timeout", redis.timeout);
        self.duration("connect_timeout", redis.connect_timeout);
        self.key("prefix", quote(&redis.prefix));
    }

    pub(super) fn tickets(&mut self, tickets: &Tickets, config: &Config) {
        self.table("tickets");
        self.key("fleet", quote(&tickets.fleet));
        self.key("keys", key_source(&tickets.keys, config));
        self.duration("rotate", tickets.rotate);
        self.key("generation", tickets.generation);
        self.duration("max_outage", tickets.max_outage);
        self.duration("clock_skew", tickets.clock_skew);
        self.key("max_size", quote(size_text(tickets.max_size as u64)));
    }

    /// Of a site.
    pub(super) fn resumption(&mut self, resumption: &Resumption, config: &Config) {
        self.table("site.resumption");
        self.key("mode", quote(resumption.mode.as_str()));
        self.key("tickets", resumption.tickets);
        self.duration("lifetime", resumption.lifetime);
        self.duration("max_lineage", resumption.max_lineage);
        self.key(
            "early_data",
            quote(match resumption.early_data {
                0 => "off".to_owned(),
                bytes => size_text(u64::from(bytes)),
            }),
        );
        let store = resumption.store;
        if let Some(store) = store.and_then(|at| config.redis.get(at)) {
            self.key("early_data_store", quote(&store.name));
        }
    }
}

fn key_source(source: &TicketKeySource, config: &Config) -> String {
    match source {
        TicketKeySource::Random => quote("random"),
        TicketKeySource::Hsm(roots) => {
            let uris = list(roots.iter().map(|root| quote(&root.uri.value)));
            let via = roots.first().map(|root| via(root, config));
            format!("{{ hsm = {uris}{} }}", via.unwrap_or_default())
        }
        TicketKeySource::File(named) => format!("{{ file = {} }}", path(named)),
        TicketKeySource::Redis { store, wrap } => {
            let store = config.redis.get(*store).map_or("", |redis| &redis.name);
            let (wrap, via) = match wrap {
                WrapSource::File(named) => (file(named), String::new()),
                WrapSource::Token(secret) => (quote(&secret.uri.value), via(secret, config)),
            };
            format!("{{ redis = {}, wrap = {wrap}{via} }}", quote(store))
        }
    }
}

fn via(secret: &TokenSecret, config: &Config) -> String {
    match hsm_name(secret.hsm, config) {
        Some(name) => format!(", via = {}", quote(name)),
        None => String::new(),
    }
}

fn secret_source(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => file(path),
        SecretSource::Env(name) => quote(format!("env:{name}")),
        SecretSource::Credential(name) => quote(format!("credential:{name}")),
    }
}
