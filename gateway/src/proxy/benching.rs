//! The rewriting of heads on their way through, for the benches.
//!
//! It calls what every exchange calls, with a sender about whom the upstream is told nothing.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use portcullis_config::Forwarding;

use super::authority::RequestHost;
use super::headers::{Sender, prepare_request, prepare_response};
use super::identity_headers::Told;
use super::ids::Ids;

/// What rewriting takes, made once.
#[derive(Debug)]
pub struct Rewriter {
    forwarding: Forwarding,
    ids: Ids,
}

impl Rewriter {
    /// For these settings.
    pub fn new(forwarding: Forwarding) -> Self {
        let ids = Ids::new();
        Self { forwarding, ids }
    }

    /// Rewrites a request's fields for the upstream. Says whether the request names a host, without which nothing is
    /// done.
    pub fn request(&self, parts: &mut Parts, ip: IpAddr) -> bool {
        let Some(host) = RequestHost::of(parts) else {
            return false;
        };
        let told = Told::default();
        let address = HeaderValue::from_static("192.0.2.7");
        let sender = Sender {
            ip,
            secure: true,
            address: &address,
            told: &told,
        };
        prepare_request(parts, &host, &sender, &self.forwarding, &self.ids);
        true
    }

    /// Rewrites a response's fields for the client.
    pub fn response(&self, headers: &mut HeaderMap) {
        prepare_response(headers);
    }
}
