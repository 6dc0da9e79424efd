//! Everything a connection and its requests need, immutable, swapped whole on reload.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use portcullis_config::{
    ClientCertMode, Config, Forwarding, HostPattern, IdentityJwt, Limits, Listener, ListenerKind,
    Site, Timeouts,
};
use rustls_pki_types::TrustAnchor;

use crate::certificates::{ProvenCertificate, Tokens, load_certificate, load_key, load_trust};
use crate::jws::JwsSigner;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::route::Routes;
use crate::tls::SiteTls;
use crate::upstream::Target;

/// One configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every reload.
    pub generation: u64,
    /// In the order of the configuration.
    pub listeners: Vec<ListenerView>,
    /// In the order of the configuration.
    pub sites: Vec<SiteView>,
    /// Who may do what.
    pub policy: Policy,
    /// Where requests go.
    pub targets: Vec<Arc<Target>>,
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

/// A site as connections see it.
#[derive(Debug)]
pub struct SiteView {
    /// Its name.
    pub name: Arc<str>,
    /// TLS settings, shared with the connections made under them.
    pub tls: Arc<SiteTls>,
    /// From path to upstream.
    pub routes: Routes,
    /// For lists and metrics.
    pub certificates: Vec<ProvenCertificate>,
}

/// A listener as connections see it.
#[derive(Debug)]
pub struct ListenerView {
    /// What the operator wrote.
    pub settings: Listener,
    /// Its name, for records.
    pub name: Arc<str>,
    /// From server names to sites; `None` for a redirect listener.
    pub names: Option<NameTable>,
}

/// From host names to sites of one listener: exact, then wildcard, then `*`.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: HashMap<Box<str>, usize>,
    wildcard: HashMap<Box<str>, usize>,
    any: Option<usize>,
    default: Option<usize>,
    strict: bool,
}

/// One thing that is wrong with what the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotError {
    /// Where it was written, for [`portcullis_config::SourceMap`].
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
}

impl NameTable {
    fn new(sites: &[Site], on: &[usize], default: Option<usize>, strict: bool) -> Self {
        let mut table = Self {
            default,
            strict,
            ..Self::default()
        };
        for &index in on {
            for host in &sites[index].hosts {
                match &host.value {
                    HostPattern::Exact(name) => {
                        table.exact.insert(name.as_str().into(), index);
                    }
                    HostPattern::Wildcard(parent) => {
                        table.wildcard.insert(parent.as_str().into(), index);
                    }
                    HostPattern::Any => table.any = Some(index),
                }
            }
        }
        table
    }

    /// The site a host belongs to. `host` is lower case, without port and trailing dot.
    pub fn site_of(&self, host: &str) -> Option<usize> {
        if let Some(site) = self.exact.get(host) {
            return Some(*site);
        }
        let parent = host
            .split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .map(|(_, parent)| parent);
        parent
            .and_then(|parent| self.wildcard.get(parent))
            .copied()
            .or(self.any)
    }

    /// The site for a server name as a client sent it (RFC 6066, section 3).
    pub fn site_for_client(&self, server_name: Option<&str>) -> Result<usize, Reason> {
        let named = server_name.map(normalize_host);
        let known = named.as_deref().and_then(|name| self.site_of(name));
        let fallback = if named.is_some() && self.strict {
            None
        } else {
            self.default.or(self.any)
        };
        known.or(fallback).ok_or(Reason::UnknownServerName)
    }
}

/// Lower case, without the trailing dot of an absolute name.
pub fn normalize_host(host: &str) -> std::borrow::Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

impl Snapshot {
    /// Builds a snapshot: opens tokens, loads and proves certificates, reads trust bundles. All errors at
    /// once. Tokens, and pools of upstreams, are taken over from `old` where their settings did not change.
    pub fn build(config: &Config, old: Option<&Self>) -> Result<Self, Vec<SnapshotError>> {
        let mut errors = Vec::new();
        let none = Tokens::default();
        let open = old.map_or(&none, |old| &old.tokens);
        let tokens = Tokens::open(config, open, |hsm, error| {
            errors.push(SnapshotError {
                span: hsm.place().clone(),
                message: format!("hsm {}: {error}", hsm.name),
            });
        });
        // Without its tokens nothing about keys can be said; trust bundles can still be checked.
        let mut bundles = HashMap::new();
        let mut sites = Vec::with_capacity(config.sites.len());
        for site in &config.sites {
            let anchors = load_anchors(site, &mut bundles, &mut errors);
            if let Some(tokens) = &tokens
                && let Some(view) = build_site(config, site, tokens, anchors, &mut errors)
            {
                sites.push(view);
            }
        }
        let identity_tokens = match (&config.forwarding.jwt, &tokens) {
            (Some(settings), Some(tokens)) => build_tokens(config, settings, tokens, &mut errors),
            _ => None,
        };
        let (Some(tokens), true) = (tokens, errors.is_empty()) else {
            return Err(errors);
        };
        tokens.tune();
        let old_targets = old.map_or(&[][..], |old| &old.targets);
        Ok(Self {
            generation: old.map_or(1, |old| old.generation + 1),
            listeners: config
                .listeners
                .iter()
                .map(|listener| view_listener(listener, &config.sites))
                .collect(),
            sites,
            policy: Policy::new(config),
            targets: config
                .upstreams
                .iter()
                .map(|upstream| Target::reuse(upstream, old_targets))
                .collect(),
            forwarding: config.forwarding.clone(),
            identity_tokens,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            tokens,
        })
    }

    /// A listener by name.
    pub fn listener(&self, name: &str) -> Option<&ListenerView> {
        self.listeners
            .iter()
            .find(|listener| *listener.name == *name)
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

fn view_listener(listener: &Listener, sites: &[Site]) -> ListenerView {
    let names = match &listener.kind {
        ListenerKind::Https {
            sites: on,
            default_site,
            strict_sni,
        } => Some(NameTable::new(sites, on, *default_site, *strict_sni)),
        ListenerKind::Redirect { .. } => None,
    };
    ListenerView {
        settings: listener.clone(),
        name: listener.name.as_str().into(),
        names,
    }
}

type Bundles = HashMap<PathBuf, Option<Vec<TrustAnchor<'static>>>>;

/// The site's trust anchors. Each bundle is read, and complained about, once.
fn load_anchors(
    site: &Site,
    bundles: &mut Bundles,
    errors: &mut Vec<SnapshotError>,
) -> Vec<TrustAnchor<'static>> {
    let mut anchors = Vec::new();
    for path in &site.client_cert.trust {
        let loaded = bundles.entry(path.value.clone()).or_insert_with(|| {
            load_trust(&path.value)
                .inspect_err(|error| {
                    errors.push(SnapshotError {
                        span: path.span.clone(),
                        message: error.to_string(),
                    });
                })
                .ok()
        });
        anchors.extend(loaded.iter().flatten().cloned());
    }
    anchors
}

fn build_site(
    config: &Config,
    site: &Site,
    tokens: &Tokens,
    anchors: Vec<TrustAnchor<'static>>,
    errors: &mut Vec<SnapshotError>,
) -> Option<SiteView> {
    let mut certificates = Vec::with_capacity(site.certificates.len());
    for certificate in &site.certificates {
        match load_certificate(config, site, certificate, tokens) {
            Ok(proven) => certificates.push(proven),
            Err(error) => {
                use crate::certificates::CertificateError as E;
                let span = match error {
                    E::Hsm(_) | E::NoToken(_) | E::Provenance { .. } => {
                        certificate.key.span.clone()
                    }
                    E::Read(..) | E::Pem(..) | E::Leaf(_) | E::Anchor(..) => {
                        certificate.chain.span.clone()
                    }
                };
                errors.push(SnapshotError {
                    span,
                    message: error.to_string(),
                });
            }
        }
    }
    if certificates.len() < site.certificates.len() {
        return None;
    }
    refuse_twins(site, &certificates, errors);
    if site.client_cert.mode != ClientCertMode::Ignore && anchors.is_empty() {
        return None; // The bundle's own error was reported.
    }
    let certified = certificates
        .iter()
        .map(|proven| Arc::clone(&proven.certified))
        .collect();
    let remote = certificates.iter().any(|proven| proven.remote);
    let signers = certificates
        .iter()
        .map(|proven| proven.signer.clone())
        .collect();
    match SiteTls::new(
        &site.tls,
        certified,
        (site.client_cert.mode, anchors),
        site.http2,
        (remote, signers),
    ) {
        Ok(tls) => Some(SiteView {
            name: site.name.as_str().into(),
            tls: Arc::new(tls),
            routes: Routes::new(site.routes.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(strict: bool, default: Option<usize>) -> NameTable {
        let mut table = NameTable {
            strict,
            default,
            ..NameTable::default()
        };
        table.exact.insert("api.example.com".into(), 0);
        table.wildcard.insert("example.com".into(), 1);
        table
    }

    #[test]
    fn an_unknown_or_absent_name_is_refused_without_a_default_site() {
        for name in [
            None,
            Some("example.com"),
            Some("a.b.example.com"),
            Some("other.org"),
            Some(""),
        ] {
            assert_eq!(
                table(false, None).site_for_client(name),
                Err(Reason::UnknownServerName),
                "{name:?}"
            );
        }
    }

    #[test]
    fn strict_sni_refuses_unknown_names_but_serves_clients_without_one() {
        assert_eq!(
            table(true, Some(0)).site_for_client(Some("other.org")),
            Err(Reason::UnknownServerName)
        );
        assert_eq!(table(true, Some(0)).site_for_client(None), Ok(0));
        assert_eq!(
            table(false, Some(0)).site_for_client(Some("other.org")),
            Ok(0)
        );
    }

    #[test]
    fn case_and_a_trailing_dot_make_no_difference() {
        for name in [
            "api.example.com",
            "API.Example.COM",
            "api.example.com.",
            "API.EXAMPLE.COM.",
        ] {
            assert_eq!(
                table(true, None).site_for_client(Some(name)),
                Ok(0),
                "{name}"
            );
        }
        assert_eq!(
            table(true, None).site_for_client(Some("X.example.com")),
            Ok(1)
        );
    }
}
