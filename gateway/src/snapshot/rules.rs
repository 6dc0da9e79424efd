//! What is decided by, apart from keys and sockets: names, demands on clients, policy, routes.
//!
//! Built without a token, so that `explain` and `policy test` can answer from a file alone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use portcullis_config::{
    ClientCert, Config, Listener, ListenerKind, Passthrough, Places, Site, Trust, Upstream,
};

use super::{NameTable, SnapshotError};
use crate::certificates::state_dir;
use crate::policy::Policy;
use crate::route::Routes;
use crate::tls::{ResumptionStats, SessionCache};
use crate::trust::{Bundle, Demand, DenyError, DenyList};

/// The rules of a snapshot.
#[derive(Debug)]
pub struct Rules {
    /// In the order of the configuration.
    pub listeners: Vec<ListenerView>,
    /// In the order of the configuration.
    pub sites: Vec<SiteRules>,
    /// In the order of the configuration.
    pub passthroughs: Vec<Passthrough>,
    /// By name, for there may be thousands.
    site_at: HashMap<Arc<str>, usize>,
    /// Who may do what.
    pub policy: Policy,
    /// Trust bundles that some site, route or upstream names.
    pub bundles: Vec<Arc<Bundle>>,
    /// Clients that are turned away whatever their certificate says.
    pub deny: Arc<DenyList>,
    /// Where routes lead, as the operator wrote it, in the order of the configuration.
    pub upstreams: Vec<Upstream>,
    /// Whom the gateway believes at each of them; none without TLS.
    pub upstream_trust: Vec<Vec<Arc<Bundle>>>,
    /// Lines of the configuration.
    pub places: Places,
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
    /// What answers over TCP say of HTTP/3 (RFC 7838). Not where the system chooses the port.
    pub alt_svc: Option<Arc<HeaderValue>>,
}

/// What a site asks of clients and where it leads.
#[derive(Debug)]
pub struct SiteRules {
    /// What the operator wrote.
    pub settings: Site,
    /// Its name.
    pub name: Arc<str>,
    /// What the handshake asks, so that every route can decide for itself.
    pub handshake: Demand,
    /// What the site asks, then what each route with a demand of its own asks.
    pub demands: Vec<Demand>,
    /// From path to upstream and demand.
    pub routes: Routes,
}

/// What outlives a snapshot.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where revocation lists are kept over restarts.
    pub state_dir: Arc<Path>,
    /// The deny list.
    pub deny: Arc<DenyList>,
    /// Sessions that are kept.
    pub sessions: Arc<SessionCache>,
    /// What became of sessions that were offered.
    pub resumption: Arc<ResumptionStats>,
}

impl Standing {
    /// What a process begins with.
    ///
    /// # Errors
    /// The deny list of the state directory cannot be read.
    pub fn open(config: &Config) -> Result<Self, DenyError> {
        let state_dir = state_dir(config.state_dir.as_deref());
        let deny = DenyList::open(&config.deny, Some(&state_dir))?;
        Ok(Self {
            state_dir: state_dir.into(),
            deny: Arc::new(deny),
            sessions: Arc::new(SessionCache::new(
                config.limits.sessions,
                config.limits.session_memory as u64,
            )),
            resumption: Arc::default(),
        })
    }
}

impl Rules {
    /// Reads trust bundles and revocation lists; all errors at once. Lists are taken over from `old` where their
    /// settings did not change.
    pub fn build(
        config: &Config,
        standing: &Standing,
        old: Option<&Self>,
    ) -> Result<Self, Vec<SnapshotError>> {
        let mut loader = Loader {
            standing,
            old: old.map_or(&[], |old| &old.bundles),
            loaded: HashMap::new(),
            errors: Vec::new(),
        };
        let sites: Vec<_> = config.sites.iter().map(|site| loader.site(site)).collect();
        let upstream_trust = config.upstreams.iter().map(|it| loader.of_upstream(it));
        let upstream_trust = upstream_trust.collect();
        if !loader.errors.is_empty() {
            return Err(loader.errors);
        }
        let mut bundles: Vec<_> = loader.loaded.into_values().flatten().collect();
        bundles.sort_by(|a, b| a.name().cmp(b.name()));
        let names = sites.iter().map(|site| Arc::clone(&site.name));
        Ok(Self {
            site_at: names.zip(0..).collect(),
            listeners: config
                .listeners
                .iter()
                .map(|listener| view_listener(listener, config))
                .collect(),
            sites,
            passthroughs: config.passthroughs.clone(),
            policy: Policy::new(config),
            bundles,
            deny: Arc::clone(&standing.deny),
            upstreams: config.upstreams.clone(),
            upstream_trust,
            places: config.places.clone(),
        })
    }

    /// Where a site stands in `sites`, by name.
    pub fn site(&self, name: &str) -> Option<usize> {
        self.site_at.get(name).copied()
    }

    /// A listener by name.
    pub fn listener(&self, name: &str) -> Option<&ListenerView> {
        self.listeners
            .iter()
            .find(|listener| *listener.name == *name)
    }
}

/// Reads each bundle, and complains about it, once.
struct Loader<'a> {
    standing: &'a Standing,
    old: &'a [Arc<Bundle>],
    loaded: HashMap<String, Option<Arc<Bundle>>>,
    errors: Vec<SnapshotError>,
}

impl Loader<'_> {
    fn site(&mut self, site: &Site) -> SiteRules {
        let mut demands = vec![self.demand(&site.client_cert)];
        let mut routes = Vec::with_capacity(site.routes.len());
        for route in &site.routes {
            let demand = match &route.client_cert {
                None => 0,
                Some(own) => {
                    demands.push(self.demand(own));
                    demands.len() - 1
                }
            };
            routes.push((route.clone(), demand));
        }
        SiteRules {
            settings: site.clone(),
            name: site.name.as_str().into(),
            handshake: Demand::of_handshake(&demands[0], &demands[1..]),
            demands,
            routes: Routes::new(routes),
        }
    }

    fn demand(&mut self, wanted: &ClientCert) -> Demand {
        let bundles = wanted
            .trust
            .iter()
            .filter_map(|trust| self.bundle(trust))
            .collect();
        Demand::new(wanted.mode, bundles, &self.standing.deny)
    }

    fn of_upstream(&mut self, upstream: &Upstream) -> Vec<Arc<Bundle>> {
        let trust = upstream.tls.iter().flat_map(|tls| &tls.trust);
        trust.filter_map(|trust| self.bundle(trust)).collect()
    }

    fn bundle(&mut self, trust: &Arc<Trust>) -> Option<Arc<Bundle>> {
        if let Some(loaded) = self.loaded.get(&trust.name) {
            return loaded.clone();
        }
        let old = self.old.iter().find(|old| **old.name() == *trust.name);
        let standing = self.standing;
        let bundle = match Bundle::load(trust, &standing.state_dir, old.map(|old| &**old)) {
            Ok(bundle) => Some(Arc::new(bundle)),
            Err(errors) => {
                let told = errors.iter().map(|error| SnapshotError {
                    span: error.span(),
                    message: error.to_string(),
                });
                self.errors.extend(told);
                None
            }
        };
        self.loaded.insert(trust.name.clone(), bundle.clone());
        bundle
    }
}

fn view_listener(listener: &Listener, config: &Config) -> ListenerView {
    let names = match &listener.kind {
        ListenerKind::Https {
            sites,
            passthroughs,
            default_site,
            strict_sni,
        } => {
            let mut names = NameTable::new(*default_site, *strict_sni);
            for &site in sites {
                names.add_site(site, &config.sites[site].hosts);
            }
            for &passthrough in passthroughs {
                names.add_passthrough(passthrough, &config.passthroughs[passthrough].names);
            }
            Some(names)
        }
        ListenerKind::Egress { site, .. } => {
            let mut names = NameTable::new(None, false);
            names.add_site(*site, &config.sites[*site].hosts);
            Some(names)
        }
        ListenerKind::Redirect { .. } => None,
    };
    ListenerView {
        settings: listener.clone(),
        name: listener.name.as_str().into(),
        names,
        alt_svc: alt_svc(listener),
    }
}

fn alt_svc(listener: &Listener) -> Option<Arc<HeaderValue>> {
    listener.http3.filter(|http3| http3.alt_svc)?;
    let port = Some(listener.bind.value.port()).filter(|port| *port != 0)?;
    let told = HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400"));
    told.ok().map(Arc::new)
}
