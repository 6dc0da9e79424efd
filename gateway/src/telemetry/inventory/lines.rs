//! What the inventory and the rollout report tell, line by line.

use std::sync::Arc;

use serde::Serialize;

use super::{Case, Count, Seen, Who};
use crate::identity::{Identity, PublicKeyKind};

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;
/// Longer than the CA/Browser Forum allows, which is what scanners complain about.
const LONG_LIFE_DAYS: i64 = 398;

/// URIs and DNS names that are kept of a certificate, each.
const NAMES_MAX: usize = 8;
/// Characters that are kept of a name.
const LENGTH_MAX: usize = 256;

/// A certificate as it is told.
#[derive(Debug, Serialize)]
pub struct SeenLine {
    /// Subject, as text of RFC 4514.
    pub subject: String,
    /// Issuer, as text of RFC 4514.
    pub issuer: String,
    /// Serial number in hex.
    pub serial: String,
    /// SHA-256 of the certificate.
    pub sha256: String,
    /// Its SPIFFE ID, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<String>,
    /// Its other URIs and DNS names, the first of each.
    pub names: Vec<String>,
    /// Whether a trust bundle believed it.
    pub verified: bool,
    /// The site it was last seen on.
    pub site: String,
    /// Seconds since the Unix epoch.
    pub first_seen: i64,
    /// Seconds since the Unix epoch.
    pub last_seen: i64,
    /// Handshakes with it.
    pub connections: u64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Days until then; below zero after.
    pub days_left: i64,
    /// What an auditor would ask about.
    pub weak: Vec<String>,
}

/// Somebody who would be refused, as it is told.
#[derive(Debug, Serialize)]
pub struct RolloutLine {
    /// The site.
    pub site: String,
    /// The code it would be refused for.
    pub reason: &'static str,
    /// What that means.
    pub meaning: &'static str,
    /// Names, or the address of a client without a certificate.
    pub who: String,
    /// SHA-256 of the certificate, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// More words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Seconds since the Unix epoch.
    pub first_seen: i64,
    /// Seconds since the Unix epoch.
    pub last_seen: i64,
    /// Handshakes.
    pub connections: u64,
}

impl Seen {
    pub(super) fn line(&self, now: i64) -> SeenLine {
        let identity = &*self.identity;
        let uris = identity
            .uris
            .iter()
            .filter(|uri| identity.spiffe.as_ref() != Some(uri));
        SeenLine {
            subject: identity.subject.clone(),
            issuer: identity.issuer.clone(),
            serial: identity.serial.clone(),
            sha256: identity.sha256_hex(),
            spiffe: identity.spiffe.clone(),
            names: uris.chain(&identity.dns).cloned().collect(),
            verified: self.verified,
            site: self.site.to_string(),
            first_seen: self.first,
            last_seen: self.last,
            connections: self.connections,
            not_after: identity.not_after,
            days_left: days_left(identity, now),
            weak: weak_points(identity, self.verified),
        }
    }
}

impl Count {
    pub(super) fn line(&self, case: &Case) -> RolloutLine {
        let name = |identity: &Identity| {
            identity
                .spiffe
                .clone()
                .unwrap_or_else(|| identity.subject.clone())
        };
        let who = match (&self.identity, &case.who) {
            (Some(identity), _) => name(identity),
            (None, Who::Address(address)) => address.to_string(),
            (None, Who::Certificate(_)) => String::new(),
        };
        RolloutLine {
            site: case.site.to_string(),
            reason: case.reason.code(),
            meaning: case.reason.meaning(),
            who,
            sha256: self.identity.as_ref().map(|identity| identity.sha256_hex()),
            detail: self.detail.clone(),
            first_seen: self.first,
            last_seen: self.last,
            connections: self.connections,
        }
    }
}

pub(super) fn days_left(identity: &Identity, now: i64) -> i64 {
    (identity.not_after - now).div_euclid(DAY)
}

/// What the tables keep of an identity. A certificate may have names for a megabyte of memory, and in the mode
/// `unverified` anybody writes it: a table of them must not be what the gateway dies of.
pub(super) fn brief(identity: &Identity) -> Arc<Identity> {
    let names = |names: &[String]| {
        let names = names.iter().take(NAMES_MAX);
        names.map(|name| shortened(name)).collect()
    };
    Arc::new(Identity {
        spiffe: identity.spiffe.as_deref().map(shortened),
        uris: names(&identity.uris),
        dns: names(&identity.dns),
        subject: shortened(&identity.subject),
        issuer: shortened(&identity.issuer),
        serial: shortened(&identity.serial),
        sha256: identity.sha256,
        not_before: identity.not_before,
        not_after: identity.not_after,
        key: identity.key,
        ..Identity::default()
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Nothing here refuses anybody: checks of trust bundles do.
fn weak_points(identity: &Identity, verified: bool) -> Vec<String> {
    let mut weak = Vec::new();
    if !verified {
        weak.push("its chain was not verified".to_owned());
    }
    if identity.key.kind == PublicKeyKind::Rsa && identity.key.bits < 3072 {
        weak.push(format!("RSA key of {} bits", identity.key.bits));
    }
    let lives = (identity.not_after - identity.not_before) / DAY;
    if lives > LONG_LIFE_DAYS {
        weak.push(format!("lives {lives} days"));
    }
    if identity.uris.is_empty() && identity.dns.is_empty() {
        weak.push("named by its subject alone".to_owned());
    }
    if identity
        .uris
        .iter()
        .filter(|uri| uri.starts_with("spiffe://"))
        .count()
        > 1
    {
        weak.push("more than one SPIFFE ID: none of them counts".to_owned());
    }
    weak
}
