//! `[trust.NAME]`: which client certificates are believed, and how closely they are looked at.
//!
//! A client certificate is good for a bundle when its chain leads to one of the anchors and passes every check
//! of the bundle. A site that names several bundles takes a certificate that is good for any one of them.
mod fingerprint;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use self::fingerprint::{fingerprints, trust_domains};
use crate::Located;
use crate::check::{Check, Names, Span};
use crate::revocation::{RawCrl, RawOcsp};
use crate::schema::one_or_many;
use crate::value::{DurationText, Number, quoted};
use crate::{CrlSettings, OcspSettings};

/// A trust bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// NAME of the table, or the path of a file that was named in place of a table.
    pub name: String,
    /// PEM files of trust anchors, never empty.
    pub anchors: Vec<Located<PathBuf>>,
    /// PEM files of CA certificates that complete the chains of clients who do not send theirs in full; they are
    /// believed no more than one that a client sent. Default none.
    pub intermediates: Vec<Located<PathBuf>>,
    /// Whether the certificate must be made for client authentication. Default `IfPresent`.
    pub eku: Eku,
    /// Intermediates between a certificate and its anchor, at most. Default 6.
    pub max_depth: usize,
    /// The longest life of a client certificate. Default unlimited.
    pub max_lifetime: Option<MaxLifetime>,
    /// Bits of an RSA key in the chain, at least. Default 2048.
    pub min_rsa_bits: usize,
    /// Bits of an elliptic curve in the chain, at least. Default 256.
    pub min_ec_bits: usize,
    /// One certificate of the chain must have one of these public keys (SHA-256 of SubjectPublicKeyInfo);
    /// empty is no demand.
    pub spki_pins: Vec<[u8; 32]>,
    /// One certificate of the chain must be one of these (SHA-256 of the DER); empty is no demand.
    pub certificate_pins: Vec<[u8; 32]>,
    /// The certificate must be an X.509-SVID of one of these SPIFFE trust domains; empty is no demand.
    pub trust_domains: Vec<String>,
    /// Whether clients are told which CAs are believed. Default `Send`.
    pub ca_names: CaNames,
    /// Certificate revocation lists; `None` does not look at any.
    pub crl: Option<CrlSettings>,
    /// OCSP; `None` does not ask.
    pub ocsp: Option<OcspSettings>,
    /// Where the table, or the file named in its place, was written.
    pub span: Range<usize>,
}

/// What the extended key usage of a client certificate must say (RFC 5280, section 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Eku {
    /// The extension is there and names clientAuth.
    Required,
    /// The extension names clientAuth, or is not there.
    IfPresent,
    /// Whatever it says.
    Waived,
}

/// A bound on the time between notBefore and notAfter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxLifetime {
    /// At most this long.
    pub limit: Duration,
    /// What happens to a certificate that lives longer.
    pub action: LifetimeAction,
}

/// What happens to a certificate that lives too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LifetimeAction {
    /// It is refused.
    Refuse,
    /// It is let in, and stands in the rollout report.
    Report,
}

/// Whether CertificateRequest names the CAs (RFC 8446, section 4.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CaNames {
    /// Clients with several certificates can choose the one that fits.
    Send,
    /// Strangers do not learn whom the site believes.
    Hide,
}

impl Trust {
    /// A bundle of one file, with the defaults.
    fn file(path: Located<PathBuf>) -> Self {
        Self {
            name: path.value.display().to_string(),
            span: path.span.clone(),
            anchors: vec![path],
            intermediates: Vec::new(),
            eku: Eku::IfPresent,
            max_depth: MAX_DEPTH,
            max_lifetime: None,
            min_rsa_bits: MIN_RSA_BITS,
            min_ec_bits: MIN_EC_BITS,
            spki_pins: Vec::new(),
            certificate_pins: Vec::new(),
            trust_domains: Vec::new(),
            ca_names: CaNames::Send,
            crl: None,
            ocsp: None,
        }
    }
}

impl Eku {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Eku::Required => "required",
            Eku::IfPresent => "if_present",
            Eku::Waived => "waived",
        }
    }
}

impl LifetimeAction {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            LifetimeAction::Refuse => "refuse",
            LifetimeAction::Report => "report",
        }
    }
}

impl CaNames {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            CaNames::Send => "send",
            CaNames::Hide => "hide",
        }
    }
}

/// webpki follows no more (`MAX_SUB_CA_COUNT`).
const MAX_DEPTH: usize = 6;
/// NIST SP 800-57: 2048 bits until 2030.
const MIN_RSA_BITS: usize = 2048;
const MIN_EC_BITS: usize = 256;

/// `[trust.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTrust {
    /// PEM file, or list of files, with the CA certificates that client certificates must lead to. Required.
    #[schemars(schema_with = "one_or_many::<String>")]
    anchors: Option<Vec<Located<String>>>,
    /// PEM file, or list of files, with CA certificates between client certificates and `anchors`, for clients
    /// that do not send them.
    #[schemars(schema_with = "one_or_many::<String>")]
    intermediates: Option<Vec<Located<String>>>,
    /// Extended key usage: `required` must name clientAuth, `if_present` may be absent, `waived` may say
    /// anything.
    eku: Option<Eku>,
    /// Intermediates between a client certificate and its anchor, at most (0 to 6).
    max_depth: Option<Located<Number>>,
    /// Longest time from notBefore to notAfter of a client certificate, or `off`.
    max_lifetime: Option<Located<DurationText>>,
    /// What happens to one that lives longer: `refuse`, or `report` in the rollout report.
    max_lifetime_action: Option<Located<LifetimeAction>>,
    /// Bits of an RSA key in the chain, at least.
    min_rsa_bits: Option<Located<Number>>,
    /// Bits of an elliptic curve in the chain, at least: 256, 384 or 521.
    min_ec_bits: Option<Located<Number>>,
    /// SHA-256 of public keys (SubjectPublicKeyInfo), in hex or base64; one certificate of the chain must
    /// have one of them.
    #[schemars(schema_with = "one_or_many::<String>")]
    spki_pins: Option<Vec<Located<String>>>,
    /// SHA-256 of certificates (DER), in hex or base64; one certificate of the chain must be one of them.
    #[schemars(schema_with = "one_or_many::<String>")]
    certificate_pins: Option<Vec<Located<String>>>,
    /// SPIFFE trust domains; the certificate must have an ID of one of them.
    #[schemars(schema_with = "one_or_many::<String>")]
    trust_domains: Option<Vec<Located<String>>>,
    /// Whether clients are told the names of the CAs: `send` or `hide`.
    ca_names: Option<CaNames>,
    /// Certificate revocation lists. Without this table none is looked at.
    crl: Option<Located<RawCrl>>,
    /// OCSP: asking the CA whether a certificate is revoked. Without this table nobody is asked.
    ocsp: Option<Located<RawOcsp>>,
}

impl RawTrust {
    pub(crate) fn check(self, check: &mut Check<'_>, name: &str, table: &Span) -> Trust {
        let written = check.required(table, "anchors", self.anchors);
        if written.as_ref().is_some_and(Vec::is_empty) {
            check.error(
                table,
                "`anchors` is empty, so this bundle would refuse everybody",
            );
        }
        let written = written.unwrap_or_default();
        check.distinct(&written, "this file");
        let intermediates = self.intermediates.unwrap_or_default();
        check.distinct(&intermediates, "this file");
        let second = Duration::from_secs(1);
        let limit = check.duration_or_off(
            self.max_lifetime,
            None,
            60 * second..=3_155_760_000 * second,
        );
        if let (None, Some(action)) = (limit, &self.max_lifetime_action) {
            check.error(
                &action.span,
                "`max_lifetime_action` does nothing without `max_lifetime`",
            );
        }
        let action = self
            .max_lifetime_action
            .map_or(LifetimeAction::Refuse, |action| action.value);
        Trust {
            name: name.to_owned(),
            span: table.clone(),
            anchors: written.iter().map(|text| check.path(text)).collect(),
            intermediates: intermediates.iter().map(|text| check.path(text)).collect(),
            eku: self.eku.unwrap_or(Eku::IfPresent),
            max_depth: check.count(self.max_depth, MAX_DEPTH, 0..=MAX_DEPTH),
            max_lifetime: limit.map(|limit| MaxLifetime { limit, action }),
            min_rsa_bits: check.count(self.min_rsa_bits, MIN_RSA_BITS, MIN_RSA_BITS..=16_384),
            min_ec_bits: check.count(self.min_ec_bits, MIN_EC_BITS, MIN_EC_BITS..=521),
            spki_pins: fingerprints(check, self.spki_pins),
            certificate_pins: fingerprints(check, self.certificate_pins),
            trust_domains: trust_domains(check, self.trust_domains),
            ca_names: self.ca_names.unwrap_or(CaNames::Send),
            crl: self.crl.map(|raw| raw.value.check(check, &raw.span)),
            ocsp: self.ocsp.map(|raw| raw.value.check(check, &raw.span)),
        }
    }
}

/// The bundles that can be named.
pub(crate) struct Trusts {
    pub(crate) names: Names,
    pub(crate) named: Vec<Arc<Trust>>,
}

impl Trusts {
    /// The bundle of a name, or of a file.
    pub(crate) fn find(&self, check: &mut Check<'_>, text: &Located<String>) -> Option<Arc<Trust>> {
        if let Some(at) = self.names.iter().position(|name| name.value == text.value) {
            return self.named.get(at).cloned();
        }
        if text.value.contains(['/', '.']) {
            return Some(Arc::new(Trust::file(check.path(text))));
        }
        if self.names.len() == 0 {
            let message = format!("no trust bundle is called {}", quoted(&text.value));
            check
                .error(&text.span, message)
                .help("add a `[trust.NAME]`, or name a PEM file: \"./clients.pem\"");
            return None;
        }
        self.names
            .index(check, text)
            .and_then(|at| self.named.get(at).cloned())
    }
}
