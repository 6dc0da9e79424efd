//! Rate limits as TOML.

use super::page::{Page, quote};
use crate::{Config, RateLimit};

impl Page {
    pub(super) fn rate_limit(&mut self, limit: &RateLimit, config: &Config) {
        self.table(&format!("rate_limit.{}", quote(&limit.name)));
        self.key("per", quote(limit.per.as_str()));
        self.key("rate", quote(limit.rate.text()));
        self.key("burst", limit.burst);
        if let Some(redis) = limit.redis.and_then(|at| config.redis.get(at)) {
            self.key("redis", quote(&redis.name));
            self.key("when_away", quote(limit.when_away.as_str()));
        }
    }

    /// The limits that somebody names.
    pub(super) fn rate_limits(&mut self, named: &[usize], config: &Config) {
        let limits = named.iter().filter_map(|at| config.rate_limits.get(*at));
        let mut names = limits.map(|limit| quote(&limit.name)).peekable();
        if names.peek().is_some() {
            self.list("rate_limits", names);
        }
    }
}
