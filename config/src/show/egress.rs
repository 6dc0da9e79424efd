//! Ways out as TOML.

use super::page::{Page, quote};
use crate::{Config, Listener, ListenerKind, Speech};

impl Page {
    /// A listener that is an egress; nothing for another one.
    pub(super) fn egress(&mut self, listener: &Listener, config: &Config) {
        let ListenerKind::Egress { site, speech } = listener.kind else {
            return;
        };
        let Some(site) = config.sites.get(site) else {
            return;
        };
        self.item("egress");
        self.key("name", quote(&listener.name));
        self.key("bind", quote(listener.bind.value));
        if speech != Speech::Tcp {
            self.list("hosts", site.hosts.iter().map(|host| quote(host.text())));
        }
        let of_route = site.routes.first().map(|route| route.upstream);
        let upstream = of_route.or_else(|| site.tcp.first().map(|route| route.upstream));
        if let Some(upstream) = upstream.and_then(|at| config.upstreams.get(at)) {
            self.key("upstream", quote(&upstream.name));
        }
        if speech != Speech::Tcp {
            self.key("http2", speech == Speech::Http2);
        }
        self.rate_limits(&site.rate_limits, config);
    }
}
