//! Everything a connection and its requests need, immutable, swapped whole on reload.

mod names;
mod resumption;
mod rules;
mod upstreams;

use std::ops::Range;
use std::sync::Arc;

use http::HeaderName;
use portcullis_config::{Certificate, Config, Forwarding, IdentityJwt, Limits, Site, Timeouts};

pub use self::names::{NameTable, normalize_host};
pub use self::resumption::Resumption;
pub use self::rules::{ListenerView, Rules, SiteRules, Standing};
use crate::certificates::{
    CertificateError, ProvenCertificate, Tokens, load_certificate, load_key,
};
use crate::fleet::Stores;
use crate::jws::JwsSigner;
use crate::rates::RateLimit;
use crate::tls::{Resources, Resuming, SiteTls};
use crate::trust::Demand;
use crate::upstream::{ClientTls, Target};

/// One configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every reload.
    pub generation: u64,
    /// Names, demands on clients, policy, routes.
    pub rules: Rules,
    /// In the order of the configuration, as `rules.sites`.
    pub sites: Vec<SiteView>,
    /// Ticket keys and kept sessions.
    pub resumption: Resumption,
    /// What the fleet shares.
    pub stores: Stores,
    /// How often somebody may ask.
    pub rates: Vec<Arc<RateLimit>>,
    /// Where requests go.
    pub targets: Vec<Arc<Target>>,
    /// How each of them is spoken to over TLS, in their order.
    upstream_tls: Vec<Option<Arc<ClientTls>>>,
    /// What upstreams are told.
    pub forwarding: Forwarding,
    /// Signs who the client is, for the upstreams that want it signed.
    pub identity_tokens: Option<IdentityTokens>,
    /// Bounds.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// Open tokens.
    pub tokens: Tokens,
}

/// `[forwarding.jwt]`, ready to sign.
#[derive(Debug)]
pub struct IdentityTokens {
    /// The proven key.
    pub signer: JwsSigner,
    /// Where tokens are sent.
    pub header: HeaderName,
    /// What the operator wrote.
    pub settings: IdentityJwt,
}

/// The TLS side of a site.
#[derive(Debug)]
pub struct SiteView {
    /// TLS settings, shared with the connections made under them.
    pub tls: Arc<SiteTls>,
    /// For lists and metrics.
    pub certificates: Vec<ProvenCertificate>,
}

/// One thing that is wrong with what the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotError {
    /// Where it was written, for [`portcullis_config::SourceMap`].
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
}

impl SnapshotError {
    /// At the key or at the chain, wherever the mistake is.
    fn of_certificate(certificate: &Certificate, error: &CertificateError) -> Self {
        use crate::certificates::CertificateError as E;
        let span = match error {
            E::Hsm(_) | E::NoToken(_) | E::Provenance { .. } => certificate.key.span.clone(),
            E::Read(..) | E::Pem(..) | E::Leaf(_) | E::Anchor(..) | E::NotCa(..) => {
                certificate.chain.span.clone()
            }
        };
        Self {
            span,
            message: error.to_string(),
        }
    }
}

impl Snapshot {
    /// Builds a snapshot: opens tokens, loads and proves certificates, reads trust bundles. All errors at
    /// once. Tokens, revocation lists and pools of upstreams are taken over from `old` where their settings did not
    /// change.
    pub fn build(
        config: &Config,
        standing: &Standing,
        old: Option<&Self>,
    ) -> Result<Self, Vec<SnapshotError>> {
        let mut errors = Vec::new();
        let none = Tokens::default();
        let open = old.map_or(&none, |old| &old.tokens);
        let tokens = Tokens::open(config, open, |hsm, error| {
            errors.push(SnapshotError {
                span: hsm.place().clone(),
                message: format!("hsm {}: {error}", hsm.name),
            });
        });
        let rules = Rules::build(config, standing, old.map(|old| &old.rules))
            .map_err(|more| errors.extend(more))
            .ok();
        let stores = Stores::new(&config.redis, old.map(|old| &old.stores));
        let resumption = tokens.as_ref().and_then(|tokens| {
            Resumption::build(config, (standing, tokens, &stores), old)
                .map_err(|error| errors.push(error))
                .ok()
        });
        // Without its tokens nothing about keys can be said.
        let mut sites = Vec::with_capacity(config.sites.len());
        if let (Some(tokens), Some(resumption)) = (&tokens, &resumption) {
            for (index, site) in config.sites.iter().enumerate() {
                // Certificates are looked at also where the trust bundles have errors.
                let handshake = rules
                    .as_ref()
                    .map(|rules| rules.sites[index].handshake.clone());
                let around = (tokens, &resumption.resources);
                sites.extend(build_site((config, site), around, handshake, &mut errors));
            }
        }
        let identity_tokens = match (&config.forwarding.jwt, &tokens) {
            (Some(settings), Some(tokens)) => build_tokens(config, settings, tokens, &mut errors),
            _ => None,
        };
        let old_targets = old.map_or(&[][..], |old| &old.targets);
        let reached = match (&tokens, &rules) {
            (Some(tokens), Some(rules)) => {
                let trust = &rules.upstream_trust;
                upstreams::build(config, (trust, tokens), old_targets, &mut errors)
            }
            _ => Vec::new(),
        };
        let (Some(tokens), Some(rules), Some(resumption)) = (tokens, rules, resumption) else {
            return Err(errors);
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        tokens.tune();
        Ok(Self {
            generation: old.map_or(1, |old| old.generation + 1),
            rules,
            sites,
            resumption,
            rates: RateLimit::all(config, &stores, old.map_or(&[], |old| &old.rates)),
            stores,
            targets: reached
                .iter()
                .map(|(target, _)| Arc::clone(target))
                .collect(),
            upstream_tls: reached.into_iter().map(|(_, tls)| tls).collect(),
            forwarding: config.forwarding.clone(),
            identity_tokens,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            tokens,
        })
    }

    /// Has the targets spoken to as this snapshot says. To be called when it is in force for good.
    pub fn take_effect(&self) {
        for (target, tls) in self.targets.iter().zip(&self.upstream_tls) {
            if let Some(tls) = tls {
                target.adopt(tls);
            }
        }
    }
}

fn build_tokens(
    config: &Config,
    settings: &IdentityJwt,
    tokens: &Tokens,
    errors: &mut Vec<SnapshotError>,
) -> Option<IdentityTokens> {
    let mut refuse = |message: String| {
        errors.push(SnapshotError {
            span: settings.key.span.clone(),
            message,
        });
    };
    let key = load_key(config, &settings.key, settings.hsm, tokens);
    let key = key.map_err(|error| refuse(error.to_string())).ok()?;
    let signer = JwsSigner::new(key).map_err(|error| refuse(error.to_string()));
    // The name was checked with the configuration.
    let header = HeaderName::try_from(&settings.header).map_err(|error| refuse(error.to_string()));
    Some(IdentityTokens {
        signer: signer.ok()?,
        header: header.ok()?,
        settings: settings.clone(),
    })
}

fn build_site(
    (config, site): (&Config, &Site),
    (tokens, resources): (&Tokens, &Resources),
    handshake: Option<Demand>,
    errors: &mut Vec<SnapshotError>,
) -> Option<SiteView> {
    let mut certificates = Vec::with_capacity(site.certificates.len());
    for certificate in &site.certificates {
        match load_certificate(config, certificate, site.key_policy, tokens) {
            Ok(proven) => certificates.push(proven),
            Err(error) => errors.push(SnapshotError::of_certificate(certificate, &error)),
        }
    }
    if certificates.len() < site.certificates.len() {
        return None;
    }
    refuse_twins(site, &certificates, errors);
    let handshake = handshake?; // The bundle's own error was reported.
    let certified = certificates
        .iter()
        .map(|proven| Arc::clone(&proven.certified))
        .collect();
    let remote = certificates.iter().any(|proven| proven.remote);
    let signers = certificates
        .iter()
        .map(|proven| proven.signer.clone())
        .collect();
    let resuming = Resuming {
        site: &site.name,
        settings: &site.resumption,
        fleet: resumption::fleet(config),
        resources,
    };
    match SiteTls::new(
        &site.tls,
        certified,
        (handshake, resuming),
        &site.alpn(),
        (remote, signers),
    ) {
        Ok(tls) => Some(SiteView {
            tls: Arc::new(tls),
            certificates,
        }),
        Err(error) => {
            let span = site
                .hosts
                .first()
                .map(|host| host.span.clone())
                .unwrap_or_default();
            errors.push(SnapshotError {
                span,
                message: format!("site {}: {error}", site.name),
            });
            None
        }
    }
}

/// Of two certificates with keys of one kind the second would never be used: a mistake, said loudly.
fn refuse_twins(site: &Site, proven: &[ProvenCertificate], errors: &mut Vec<SnapshotError>) {
    for (index, later) in proven.iter().enumerate() {
        if proven[..index]
            .iter()
            .any(|earlier| earlier.key.kind == later.key.kind)
        {
            let message = format!(
                "site {} has two certificates with {} keys; only the first would be used",
                site.name, later.key.kind
            );
            errors.push(SnapshotError {
                span: site.certificates[index].chain.span.clone(),
                message,
            });
        }
    }
}
