//! The clients of one thread: each a certificate and the sessions that belong to it, used in turn.

use std::cell::Cell;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;

use super::sessions::{Collecting, Sessions};
use super::verifier::{Never, Once};
use super::{Group, HelloRetry, Identity, Plan, Trust, Version};

/// Sessions one thread keeps, of all its clients together.
const MAX_SESSIONS: usize = 65_536;

/// What the next connection is made with.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    /// Which of the plan's names it is.
    pub(super) name_index: usize,
}

/// The clients of one thread.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Vec<Client>,
    names: Vec<ServerName<'static>>,
    next: Cell<usize>,
    /// Share of the hellos that offer a session, and what is owed of it.
    resume: f64,
    owed: Cell<f64>,
    phase: Cell<Phase>,
}

#[derive(Debug)]
struct Client {
    resuming: Arc<ClientConfig>,
    full: Arc<ClientConfig>,
}

/// Whether sessions are offered already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Collecting,
    Offering,
}

impl Clients {
    /// The share of thread `index`: its own client certificates where there are enough of them.
    pub(super) fn new(plan: &Plan, index: usize) -> anyhow::Result<Self> {
        let names = plan.names().into_iter().map(|name| {
            let parsed = ServerName::try_from(name.clone());
            parsed.with_context(|| format!("{name} is no server name"))
        });
        let names = names.collect::<anyhow::Result<Vec<_>>>()?;
        let all = &plan.tls.identities;
        let ours: Vec<Option<&Identity>> = if all.is_empty() {
            vec![None]
        } else if all.len() < plan.threads {
            all.iter().map(Some).collect()
        } else {
            all.iter()
                .skip(index)
                .step_by(plan.threads)
                .map(Some)
                .collect()
        };
        let provider = provider(plan);
        let verifier = verifier(&plan.tls.trust, &provider)?;
        let bound = (MAX_SESSIONS / plan.owners()).clamp(4, 2_048);
        let clients = ours.into_iter().map(|identity| {
            let base = base(plan, &provider, &verifier, identity)?;
            Ok(Client::new(plan, &base, bound))
        });
        Ok(Self {
            clients: clients.collect::<anyhow::Result<_>>()?,
            names,
            next: Cell::new(0),
            resume: plan.tls.resume,
            owed: Cell::new(0.0),
            phase: Cell::new(Phase::Collecting),
        })
    }

    /// How many pairs of client and name there are when both are used in turn.
    pub(super) fn owners(&self) -> usize {
        let mut owners = self.clients.len();
        while !owners.is_multiple_of(self.names.len()) {
            owners += self.clients.len();
        }
        owners
    }

    /// From now on sessions are offered.
    pub(super) fn offer(&self) {
        self.phase.set(Phase::Offering);
    }

    /// The next client, and whom it asks for.
    pub(super) fn next(&self) -> Hello {
        let at = self.next.get();
        self.next.set(at.wrapping_add(1));
        let client = &self.clients[at % self.clients.len()];
        let name_index = at % self.names.len();
        let config = match self.offers() {
            true => &client.resuming,
            false => &client.full,
        };
        Hello {
            config: Arc::clone(config),
            name: self.names[name_index].clone(),
            name_index,
        }
    }

    /// Spread evenly: at 0.95 every twentieth is full.
    fn offers(&self) -> bool {
        if self.phase.get() == Phase::Collecting {
            return false;
        }
        let owed = self.owed.get() + self.resume;
        let offers = owed >= 1.0 - 1e-9;
        self.owed.set(if offers { owed - 1.0 } else { owed });
        offers
    }
}

impl Client {
    fn new(plan: &Plan, base: &ClientConfig, bound: usize) -> Self {
        let (first_share, resumes) = match plan.tls.hello_retry {
            HelloRetry::Avoided => (plan.tls.group, plan.tls.resume > 0.0),
            HelloRetry::Forced(group) => (group, plan.tls.resume > 0.0),
        };
        let bound = if resumes { bound } else { 0 };
        let sessions = Arc::new(Sessions::new(bound, first_share.rustls().name()));
        let with = |resumption| {
            let mut config = base.clone();
            config.resumption = resumption;
            Arc::new(config)
        };
        let collecting = Collecting(Arc::clone(&sessions));
        Self {
            full: match resumes || plan.tls.hello_retry != HelloRetry::Avoided {
                true => with(Resumption::store(Arc::new(collecting))),
                // Not even asked: a ticket that nobody keeps costs a key derivation.
                false => with(Resumption::disabled()),
            },
            resuming: with(Resumption::store(sessions)),
        }
    }
}

/// One suite; one group, and the one of the first key share where the hello is to be retried.
fn provider(plan: &Plan) -> Arc<CryptoProvider> {
    let tls = &plan.tls;
    let mut provider = super::tls::provider().clone();
    provider
        .cipher_suites
        .retain(|suite| tls.suite.covers(suite));
    let mut groups = vec![tls.group];
    if let HelloRetry::Forced(group) = tls.hello_retry {
        groups.push(group);
    }
    if tls.version == Version::Tls12 && !groups.contains(&Group::P256) {
        // A TLS 1.2 server takes the list also as the curves its ECDSA key may be of.
        groups.push(Group::P256);
    }
    provider.kx_groups = groups.into_iter().map(Group::rustls).collect();
    Arc::new(provider)
}

fn verifier(
    trust: &Trust,
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ServerCertVerifier>> {
    Ok(match trust {
        Trust::Everybody => Arc::new(Never(Arc::clone(provider))),
        Trust::Roots(roots) => {
            let built = WebPkiServerVerifier::builder_with_provider(
                Arc::clone(roots),
                Arc::clone(provider),
            );
            Arc::new(Once::new(built.build()?))
        }
    })
}

fn base(
    plan: &Plan,
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<dyn ServerCertVerifier>,
    identity: Option<&Identity>,
) -> anyhow::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[plan.tls.version.rustls()])
        .context("group, suite and version do not go together")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier));
    let mut config = match identity {
        Some(identity) => {
            let pair = SingleCertAndKey::from(Arc::clone(&identity.key));
            builder.with_client_cert_resolver(Arc::new(pair))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![plan.protocol.alpn().to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Mode, Target, TlsPlan};

    fn clients(change: impl FnOnce(&mut Plan)) -> Clients {
        let target = Target::at("https://localhost/", ([127, 0, 0, 1], 1).into()).unwrap();
        let mut plan = Plan::new(Mode::Handshake, target, TlsPlan::new(Trust::Everybody));
        change(&mut plan);
        Clients::new(&plan, 0).unwrap()
    }

    fn offers(clients: &Clients, of: usize) -> usize {
        let hellos = (0..of).filter(|_| clients.offers());
        hellos.count()
    }

    #[test]
    fn nothing_is_offered_before_sessions_were_collected() {
        let clients = clients(|plan| plan.tls.resume = 1.0);
        assert_eq!(offers(&clients, 100), 0);
        clients.offer();
        assert_eq!(offers(&clients, 100), 100);
    }

    #[test]
    fn a_share_of_the_hellos_offers_a_session() {
        for (resume, expected) in [(0.0, 0), (0.25, 50), (0.95, 190), (1.0, 200)] {
            let clients = clients(|plan| plan.tls.resume = resume);
            clients.offer();
            assert_eq!(offers(&clients, 200), expected, "{resume}");
        }
    }

    #[test]
    fn a_name_that_is_none_and_a_suite_without_version_are_refused() {
        let target = Target::at("https://localhost/", ([127, 0, 0, 1], 1).into()).unwrap();
        let mut plan = Plan::new(Mode::Handshake, target, TlsPlan::new(Trust::Everybody));
        plan.tls.names = vec!["not a name".to_owned()];
        assert!(Clients::new(&plan, 0).is_err());
    }

    #[test]
    fn names_are_used_in_turn() {
        let clients = clients(|plan| plan.tls.names = vec!["a.test".into(), "b.test".into()]);
        assert_eq!(clients.owners(), 2);
        let turns: Vec<usize> = (0..4).map(|_| clients.next().name_index).collect();
        assert_eq!(turns, [0, 1, 0, 1]);
    }
}
