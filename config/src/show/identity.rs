//! What upstreams are told about clients, as TOML.

use super::page::{Page, quote};
use super::role_name;
use crate::{Config, IdentityJwt, Xfcc};

impl Page {
    pub(super) fn xfcc(&mut self, xfcc: &Xfcc, config: &Config) {
        self.table("forwarding.xfcc");
        self.key("mode", quote(xfcc.mode.as_str()));
        if xfcc.mode.keeps() {
            let roles = xfcc.trusted.iter();
            self.list("trusted", roles.map(|role| role_name(role, config)));
        }
        if xfcc.mode.says() {
            let details = xfcc.details.iter();
            self.list("details", details.map(|detail| quote(detail.as_str())));
        }
    }

    pub(super) fn jwt(&mut self, jwt: &IdentityJwt, config: &Config) {
        self.table("forwarding.jwt");
        self.signing_key(&jwt.key, jwt.hsm, config);
        self.key("header", quote(&jwt.header));
        self.key("issuer", quote(&jwt.issuer));
        if let Some(audience) = &jwt.audience {
            self.key("audience", quote(audience));
        }
        self.duration("lifetime", jwt.lifetime);
    }
}
