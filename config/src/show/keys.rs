//! Tokens, groups, keys and certificates as TOML.

use super::page::{Page, quote};
use super::{file, path};
use crate::{
    Certificate, ChainSource, Config, Hsm, HsmGroup, HsmRef, HsmSource, KeySource, Keys, PinSource,
    QueueBound, Sessions, TokenSelector,
};

impl Page {
    pub(super) fn hsm(&mut self, hsm: &Hsm) {
        self.table(&format!("hsm.{}", quote(&hsm.name)));
        match &hsm.source {
            HsmSource::Module(source) => {
                self.key("module", path(&source.module));
                self.key("isolation", quote(source.isolation.as_str()));
                if let Some(pin) = &source.pin {
                    self.key("pin", pin_source(pin));
                }
                self.key("login_at_count_low", source.login_at_count_low);
            }
            HsmSource::Signer(source) => self.key("signer", path(&source.socket)),
        }
        match hsm.token().map(|token| &token.value) {
            Some(TokenSelector::Slot(slot)) => self.key("slot", slot),
            Some(TokenSelector::Label(label)) => self.key("token", quote(label)),
            Some(TokenSelector::Serial(serial)) => self.key("serial", quote(serial)),
            None => {}
        }
        match hsm.sessions {
            Sessions::Auto => self.key("sessions", quote("auto")),
            Sessions::Count(count) => self.key("sessions", count),
        }
        match hsm.queue {
            QueueBound::Auto => self.key("queue", quote("auto")),
            QueueBound::Count(count) => self.key("queue", count),
        }
        self.duration("deadline", hsm.deadline);
        self.duration("hang_timeout", hsm.hang_timeout);
        self.key("max_hung", hsm.max_hung);
        self.duration_or_off("idle_check", hsm.idle_check);
        self.duration("recovery", hsm.recovery);
    }

    pub(super) fn hsm_group(&mut self, group: &HsmGroup, config: &Config) {
        self.table(&format!("hsm_group.{}", quote(&group.name)));
        let members = group.members.iter();
        let name = |at: &usize| config.hsms.get(*at).map_or("", |hsm| &hsm.name);
        self.list("members", members.map(|at| quote(name(at))));
        self.duration_or_off("hedge", group.hedge);
    }

    pub(super) fn keys(&mut self, keys: &Keys) {
        self.table("keys");
        self.list("software", keys.software.iter().map(|path| file(path)));
        self.list("extractable", keys.extractable.iter().map(quote));
    }

    pub(super) fn certificate(&mut self, certificate: &Certificate, config: &Config) {
        let chain = match &certificate.chain.value {
            ChainSource::File(file) => path(file),
            ChainSource::Token(uri) => quote(uri),
        };
        self.key("chain", chain);
        self.signing_key(&certificate.key, certificate.hsm, config);
    }

    /// `key`, and `hsm` for one in a token.
    pub(super) fn signing_key(&mut self, key: &KeySource, hsm: Option<HsmRef>, config: &Config) {
        let key = match key {
            KeySource::Pkcs11(uri) => quote(uri),
            KeySource::Software(path) => file(path),
        };
        self.key("key", key);
        if let Some(name) = hsm.and_then(|place| hsm_name(place, config)) {
            self.key("hsm", quote(name));
        }
    }
}

/// What a token or a group is called.
pub(super) fn hsm_name(place: HsmRef, config: &Config) -> Option<&str> {
    match place {
        HsmRef::Token(at) => config.hsms.get(at).map(|hsm| hsm.name.as_str()),
        HsmRef::Group(at) => config.hsm_groups.get(at).map(|group| group.name.as_str()),
    }
}

fn pin_source(pin: &PinSource) -> String {
    match pin {
        PinSource::File(path) => file(path),
        PinSource::Env(name) => quote(format!("env:{name}")),
        PinSource::Credential(name) => quote(format!("credential:{name}")),
        PinSource::Fd(number) => quote(format!("fd:{number}")),
        PinSource::Prompt => quote("prompt"),
    }
}
