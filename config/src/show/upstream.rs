//! Upstreams as TOML.

use super::page::{Page, quote};
use crate::{Balance, Endpoint, Upstream, UpstreamProtocol};

impl Page {
    pub(super) fn upstream(&mut self, upstream: &Upstream) {
        self.table(&format!("upstream.{}", quote(&upstream.name)));
        self.list(
            "endpoints",
            upstream.endpoints.iter().map(|it| endpoint(it)),
        );
        self.key("balance", quote(upstream.balance.as_str()));
        if let Balance::Hash(on) = &upstream.balance {
            self.key("hash", quote(on.text()));
        }
        if let Some(cookie) = &upstream.sticky {
            self.key("sticky", quote(cookie));
        }
        self.key(
            "protocol",
            quote(match upstream.protocol {
                UpstreamProtocol::Http1 => "http1",
                UpstreamProtocol::Http2 => "h2",
            }),
        );
        self.duration("connect_timeout", upstream.connect_timeout);
        self.duration("response_timeout", upstream.response_timeout);
        self.duration("body_timeout", upstream.body_timeout);
        self.duration("idle_timeout", upstream.idle_timeout);
        self.key("connections", upstream.connections);
        self.key("pending", upstream.pending);
        let forms = upstream.identity.iter();
        self.list("identity", forms.map(|form| quote(form.as_str())));
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    let url = match endpoint.host.contains(':') {
        true => quote(format!("http://[{}]:{}", endpoint.host, endpoint.port)),
        false => quote(format!("http://{}:{}", endpoint.host, endpoint.port)),
    };
    match endpoint.weight {
        1 => url,
        weight => format!("{{ url = {url}, weight = {weight} }}"),
    }
}
