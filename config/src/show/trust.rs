//! Client certificate demands, trust bundles and the deny list as TOML.

use super::page::{Page, list, quote};
use super::path;
use crate::value::size_text;
use crate::{ClientCert, CrlSettings, Deny, OcspSettings, Trust};

impl Page {
    pub(super) fn client_cert(&mut self, demand: &ClientCert) {
        let mode = quote(demand.mode.as_str());
        let trust = list(demand.trust.iter().map(|trust| quote(&trust.name)));
        self.key(
            "client_cert",
            match demand.trust.is_empty() {
                true => format!("{{ mode = {mode} }}"),
                false => format!("{{ mode = {mode}, trust = {trust} }}"),
            },
        );
    }

    pub(super) fn trust(&mut self, trust: &Trust) {
        let table = format!("trust.{}", quote(&trust.name));
        self.table(&table);
        self.list("anchors", trust.anchors.iter().map(|file| path(file)));
        let intermediates = trust.intermediates.iter();
        self.list_unless_empty("intermediates", intermediates.map(|file| path(file)));
        self.key("eku", quote(trust.eku.as_str()));
        self.key("max_depth", trust.max_depth);
        if let Some(lifetime) = trust.max_lifetime {
            self.duration("max_lifetime", lifetime.limit);
            self.key("max_lifetime_action", quote(lifetime.action.as_str()));
        }
        self.key("min_rsa_bits", trust.min_rsa_bits);
        self.key("min_ec_bits", trust.min_ec_bits);
        let hex = |sum: &[u8; 32]| {
            quote::<String>(sum.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        self.list_unless_empty("spki_pins", trust.spki_pins.iter().map(hex));
        self.list_unless_empty("certificate_pins", trust.certificate_pins.iter().map(hex));
        self.list_unless_empty("trust_domains", trust.trust_domains.iter().map(quote));
        self.key("ca_names", quote(trust.ca_names.as_str()));
        if let Some(crl) = &trust.crl {
            self.table(&format!("{table}.crl"));
            self.crl(crl);
        }
        if let Some(ocsp) = &trust.ocsp {
            self.table(&format!("{table}.ocsp"));
            self.ocsp(ocsp);
        }
    }

    fn crl(&mut self, crl: &CrlSettings) {
        self.list_unless_empty("files", crl.files.iter().map(|file| path(file)));
        self.list_unless_empty("urls", crl.urls.iter().map(quote));
        self.key("cdp", crl.cdp);
        self.key("stale", quote(crl.stale.text()));
        self.duration("refresh", crl.refresh);
        self.duration("check", crl.check);
        self.key("scope", quote(crl.scope.as_str()));
        self.key("max_size", quote(size_text(crl.max_size)));
        self.duration("timeout", crl.timeout);
    }

    fn ocsp(&mut self, ocsp: &OcspSettings) {
        self.key("mode", quote(ocsp.mode.as_str()));
        if let Some(responder) = &ocsp.responder {
            self.key("responder", quote(responder));
        }
        self.duration("deadline", ocsp.deadline);
        self.key("nonce", ocsp.nonce);
        self.duration("refresh", ocsp.refresh);
        self.key("entries", ocsp.entries);
    }

    pub(super) fn deny(&mut self, deny: &Deny) {
        if *deny == Deny::default() {
            return;
        }
        self.table("deny");
        let hex = |sum: &[u8; 32]| {
            quote::<String>(sum.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        self.list_unless_empty("sha256", deny.sha256.iter().map(hex));
        self.list_unless_empty("serial", deny.serial.iter().map(quote));
        self.list_unless_empty("spiffe", deny.spiffe.iter().map(quote));
    }
}
