//! Upstreams as TOML.

use super::page::{Page, quote};
use crate::{
    Balance, Config, Endpoint, Health, HealthProbe, ProxyHeader, Scheme, Upstream,
    UpstreamProtocol, UpstreamTls,
};

impl Page {
    pub(super) fn upstream(&mut self, upstream: &Upstream, config: &Config) {
        let table = format!("upstream.{}", quote(&upstream.name));
        self.table(&table);
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
        self.duration_or_off("slow_start", upstream.slow_start);
        self.key("protocol", quote(upstream.protocol.as_str()));
        self.duration("connect_timeout", upstream.connect_timeout);
        self.key("connections", upstream.connections);
        self.key("pending", upstream.pending);
        match upstream.protocol {
            UpstreamProtocol::Tcp => self.of_tcp(upstream),
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 => self.of_http(upstream),
        }
        self.table(&format!("{table}.ejection"));
        self.key("failures", upstream.ejection.failures);
        self.duration("for", upstream.ejection.period);
        self.key("max_share", upstream.ejection.max_share);
        let retries = &upstream.retries;
        self.table(&format!("{table}.retries"));
        self.key("attempts", retries.attempts);
        self.key("budget", retries.budget);
        if let Some(per_try) = retries.per_try {
            self.duration("per_try", per_try);
        }
        self.list("on", retries.on.iter().map(u16::to_string));
        self.table(&format!("{table}.dns"));
        self.duration_or_off("every", upstream.dns);
        if let Some(health) = &upstream.health {
            self.table(&format!("{table}.health"));
            self.health(health);
        }
        if let Some(tls) = &upstream.tls {
            self.upstream_tls(&upstream.name, tls, config);
        }
    }

    fn of_http(&mut self, upstream: &Upstream) {
        self.duration("response_timeout", upstream.response_timeout);
        self.duration("body_timeout", upstream.body_timeout);
        self.duration("idle_timeout", upstream.idle_timeout);
        let forms = upstream.identity.iter();
        self.list("identity", forms.map(|form| quote(form.as_str())));
    }

    fn of_tcp(&mut self, upstream: &Upstream) {
        if let Some(header) = upstream.proxy_header {
            let version = match header {
                ProxyHeader::V1 => "v1",
                ProxyHeader::V2 | ProxyHeader::V2Tls => "v2",
            };
            self.key("proxy_protocol", quote(version));
        }
        let tls_info = upstream.proxy_header == Some(ProxyHeader::V2Tls);
        self.key("tls_info", tls_info);
    }

    fn upstream_tls(&mut self, name: &str, tls: &UpstreamTls, config: &Config) {
        let table = format!("upstream.{}.tls", quote(name));
        self.table(&table);
        self.list("trust", tls.trust.iter().map(|trust| quote(&trust.name)));
        if let Some(name) = &tls.server_name {
            self.key("server_name", quote(name));
        }
        if !tls.spiffe_ids.is_empty() {
            self.list("spiffe_ids", tls.spiffe_ids.iter().map(quote));
        }
        self.key("key_policy", quote(tls.key_policy.as_str()));
        if let Some(certificate) = &tls.certificate {
            self.table(&format!("{table}.certificate"));
            self.certificate(certificate, config);
        }
    }

    fn health(&mut self, health: &Health) {
        match &health.probe {
            HealthProbe::Http(path) => self.key("path", quote(path)),
            HealthProbe::Tcp => self.key("tcp", true),
            HealthProbe::Grpc(service) => self.key("grpc", quote(service)),
        }
        self.duration("interval", health.interval);
        self.duration("timeout", health.timeout);
        self.key("healthy", health.healthy);
        self.key("unhealthy", health.unhealthy);
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    let scheme = match endpoint.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
        Scheme::Tcp => "tcp",
    };
    let (host, port) = (&endpoint.host, endpoint.port);
    let url = match host.contains(':') {
        true => quote(format!("{scheme}://[{host}]:{port}")),
        false => quote(format!("{scheme}://{host}:{port}")),
    };
    match endpoint.weight {
        1 => url,
        weight => format!("{{ url = {url}, weight = {weight} }}"),
    }
}
