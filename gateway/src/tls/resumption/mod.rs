//! Whether a session is resumed: decided here, before rustls sees the ClientHello.
//!
//! The offered ticket is opened, and everything that may have changed since is asked again: who may still open it, how
//! old it is, whether it is for this name, and whether its client would be let in now. Only then is rustls handed the
//! session. What is declined becomes a full handshake with its proper alerts, never a broken connection.
//!
//! A session is bound to fleet, site, client certificate mode and generation. What is true of one client travels inside
//! and is checked for that client, so that a revocation or a removed CA costs nobody else a session.

mod cache;
mod exchange;
mod shared;
mod state;
mod stats;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_config::{Resumption, ResumptionMode};
use rustls::{HandshakeKind, ServerConfig};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use self::exchange::{Answer, Carried, Exchange, Means, seconds};
use self::state::Session;
use super::client_hello::{Offer, Reader};
use crate::fleet::Store;
use crate::ticket_keys::{Binding, OpenError, TicketKeys, Versions};
use crate::trust::{Demand, Forgotten, Met, Proof, Shown};

pub use cache::{SessionCache, SessionStats, Stored};
pub(super) use shared::Fetched;
use stats::EarlyOutcome;
pub use stats::{Declined, NotIssued, ResumptionStats};

/// What all sites share, and what outlives a reload.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Seals and opens tickets.
    pub keys: Arc<TicketKeys>,
    /// Sessions that are kept here.
    pub sessions: Arc<SessionCache>,
    /// Counters.
    pub stats: Arc<ResumptionStats>,
    /// What the fleet shares, in the order of the configuration.
    pub stores: Vec<Arc<Store>>,
}

/// What the fleet agrees on.
#[derive(Debug, Clone, Copy)]
pub struct Fleet<'a> {
    /// `tickets.fleet`.
    pub name: &'a str,
    /// `tickets.generation`.
    pub generation: u64,
    /// `tickets.max_size`.
    pub max_size: usize,
    /// `tickets.clock_skew`, seconds.
    pub clock_skew: i64,
}

/// Resumption at one site.
#[derive(Debug)]
pub(super) struct SiteResumption {
    binding: Binding,
    demand: Demand,
    settings: Resumption,
    keys: Arc<TicketKeys>,
    sessions: Arc<SessionCache>,
    stats: Arc<ResumptionStats>,
    /// Where sessions that may carry early data are used up for the whole fleet.
    store: Option<Arc<Store>>,
    max_size: usize,
    clock_skew: i64,
}

/// A handshake that is about to begin.
pub(super) struct Prepared {
    /// For rustls.
    pub(super) config: Arc<ServerConfig>,
    /// What the handshake goes by; `None` where resumption is off.
    exchange: Option<Arc<Exchange>>,
    /// The client of the session that rustls is handed.
    returning: Option<Returning>,
    /// Why what was offered is not resumed.
    declined: Option<Declined>,
}

struct Returning {
    shown: Shown,
    /// Its id in the store, which is good for one use.
    stored: Option<Vec<u8>>,
}

/// How a handshake came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was offered.
    Fresh,
    /// What was offered was resumed.
    Resumed,
    /// What was offered was not.
    Declined(Declined),
}

impl SiteResumption {
    /// `None` where it is off.
    pub(super) fn new(
        (site, settings): (&str, &Resumption),
        demand: &Demand,
        fleet: Fleet<'_>,
        resources: &Resources,
    ) -> Option<Arc<Self>> {
        if settings.mode == ResumptionMode::Off {
            return None;
        }
        let Resources {
            keys,
            sessions,
            stats,
            stores,
        } = resources.clone();
        let store = settings.store.filter(|_| settings.early_data > 0);
        let store = store.and_then(|at| stores.get(at).cloned());
        Some(Arc::new(Self {
            binding: binding(site, demand, fleet),
            demand: demand.clone(),
            settings: *settings,
            keys,
            sessions,
            stats,
            store,
            max_size: fleet.max_size,
            clock_skew: fleet.clock_skew,
        }))
    }

    /// Looks at what a client offers. `base` is the site's configuration.
    pub(super) fn prepare(
        self: &Arc<Self>,
        base: &Arc<ServerConfig>,
        (offer, fetched): (Option<&Offer>, Fetched),
        (server_name, tls13): (Option<&str>, bool),
    ) -> Prepared {
        // Without understanding the offer nothing is resumed, and nothing given out.
        let means = offer.and_then(|offer| self.means(offer, tls13));
        let (Some(offer), Some(means)) = (offer, means) else {
            let declined = offer.is_some_and(Offer::has_session);
            return Prepared {
                config: Arc::clone(base),
                exchange: None,
                returning: None,
                declined: self.note(declined.then_some(Declined::Off)),
            };
        };
        let (now, era) = (crate::ticket_keys::unix_now(), self.keys.era());
        let (mut found, mut declined) = (None, None);
        for (at, offered) in offered(offer, means, tls13).enumerate() {
            let taken = match &fetched {
                Fetched::Taken(sealed) if at == 0 => Some(&sealed[..]),
                _ => None,
            };
            match self.reopen((offered, taken), means, (server_name, tls13), now) {
                Ok(session) => {
                    found = Some((at, session));
                    break;
                }
                Err(why) => declined = declined.or(Some(why)),
            }
        }
        let mut config = ServerConfig::clone(base);
        config.send_tls13_tickets = self.settings.tickets;
        let (mut answer, mut returning) = (None, None);
        if let Some((at, (found, carried, shown))) = found {
            declined = None;
            if at == 0 && offer.early_data && self.claims(&found.offered, &fetched) {
                config.max_early_data_size = self.settings.early_data;
                config.send_half_rtt_data = true;
            }
            config.send_tls13_tickets = self.settings.tickets.min(1);
            // A TLS 1.2 session keeps its id; in TLS 1.3 each use gets another (RFC 8446, appendix C.4).
            let single = means == Means::Store && tls13;
            let stored = single.then(|| found.offered.clone());
            returning = Some(Returning { shown, stored });
            answer = Some((found, carried));
        } else if offer.early_data {
            self.stats.early_data(EarlyOutcome::Used);
        }
        if !offer.early_data {
            config.max_early_data_size = self.settings.early_data;
        }
        let exchange = Arc::new(Exchange::new(self, (means, era), answer));
        config.ticketer = Arc::clone(&exchange) as _;
        config.session_storage = Arc::clone(&exchange) as _;
        Prepared {
            config: Arc::new(config),
            exchange: Some(exchange),
            returning,
            declined: self.note(declined),
        }
    }

    /// Whether this handshake, and no other of the fleet, may accept the early data that came with a session. For a
    /// handshake that may not, early data is off: what it gives out carries none either.
    fn claims(&self, id: &[u8], fetched: &Fetched) -> bool {
        let outcome = match (self.settings.early_data, &self.store, fetched) {
            (0, ..) => EarlyOutcome::Off,
            (_, None, _) if self.sessions.remove(id) => EarlyOutcome::Accepted,
            (_, Some(_), Fetched::Taken(_)) => {
                // Here too, whatever becomes of this handshake, or of the store at a reload.
                self.sessions.remove(id);
                EarlyOutcome::Accepted
            }
            (_, Some(_), Fetched::Unreachable) => EarlyOutcome::Unreachable,
            _ => EarlyOutcome::Used,
        };
        self.stats.early_data(outcome);
        outcome == EarlyOutcome::Accepted
    }

    fn note(&self, declined: Option<Declined>) -> Option<Declined> {
        declined.inspect(|why| self.stats.declined(*why))
    }

    /// Tickets or the store, for this client. TLS 1.2 tickets only under keys that nobody can derive again.
    fn means(&self, offer: &Offer, tls13: bool) -> Option<Means> {
        use ResumptionMode::{Both, Off, Stateful, Tickets};
        if tls13 {
            return match self.settings.mode {
                Off => None,
                Stateful => Some(Means::Store),
                // rustls takes early data with kept sessions only, which can be used up.
                Both if self.settings.early_data > 0 => Some(Means::Store),
                Tickets | Both => Some(Means::Tickets),
            };
        }
        let sealed = || {
            let ring = self.keys.ring();
            let seals = ring
                .seals()
                .is_some_and(|key| key.versions() == Versions::All);
            seals && offer.ticket.is_some()
        };
        match self.settings.mode {
            Off => None,
            Stateful => Some(Means::Store),
            Tickets => sealed().then_some(Means::Tickets),
            Both if sealed() => Some(Means::Tickets),
            Both => Some(Means::Store),
        }
    }

    /// Opens what was offered, and asks everything again.
    fn reopen(
        &self,
        (offered, taken): (&[u8], Option<&[u8]>),
        means: Means,
        (server_name, tls13): (Option<&str>, bool),
        now: i64,
    ) -> Result<(Answer, Carried, Shown), Declined> {
        let opened;
        let kept;
        let state: &[u8] = match (means, taken) {
            (Means::Tickets, _) => {
                opened = self.open(offered)?;
                &opened
            }
            (Means::Store, Some(sealed)) => {
                opened = self.open(sealed)?;
                &opened
            }
            (Means::Store, None) => {
                kept = self.sessions.get(offered).ok_or(Declined::StoreMiss)?;
                if kept.binding != self.binding {
                    return Err(Declined::Scope);
                }
                if kept.era != self.keys.era() {
                    return Err(Declined::UnknownKey);
                }
                &kept.state
            }
        };
        let (session, rest) = Session::read(state).ok_or(Declined::Malformed)?;
        let mut reader = Reader(rest);
        let authenticated = reader.array().map(i64::from_be_bytes);
        let authenticated = authenticated.ok_or(Declined::Malformed)?;
        if (session.version == rustls::ProtocolVersion::TLSv1_3) != tls13 {
            return Err(Declined::Parameters);
        }
        let same_name = match (session.server_name, server_name) {
            (Some(then), Some(now)) => then.eq_ignore_ascii_case(now.as_bytes()),
            (then, now) => then.is_none() && now.is_none(),
        };
        if !same_name {
            return Err(Declined::ServerName);
        }
        self.check_age(&session, authenticated, now)?;
        let (shown, met, as_before) = self.recognize(reader.0, now)?;
        let client = match as_before {
            true => Some(reader.0.to_vec()),
            false => self.write_again(&shown, &met),
        };
        let carried = Carried {
            authenticated,
            not_after: met.not_after.unwrap_or(i64::MAX),
            client: client.ok_or(Declined::Malformed)?,
        };
        let answer = Answer {
            offered: offered.to_vec(),
            session: session.to_rustls(),
        };
        Ok((answer, carried, shown))
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Declined> {
        let opened = self.keys.ring().open(&self.binding, sealed);
        opened.map(Zeroizing::new).map_err(|error| match error {
            OpenError::Malformed => Declined::Malformed,
            OpenError::UnknownKey => Declined::UnknownKey,
            OpenError::Bound => Declined::Scope,
        })
    }

    fn check_age(
        &self,
        session: &Session<'_>,
        authenticated: i64,
        now: i64,
    ) -> Result<(), Declined> {
        let created = i64::try_from(session.created).unwrap_or(i64::MAX);
        let age = now.saturating_sub(created);
        if age > seconds(self.settings.lifetime) || age < -self.clock_skew {
            return Err(Declined::Expired);
        }
        if now.saturating_sub(authenticated) > seconds(self.settings.max_lineage) {
            return Err(Declined::Lineage);
        }
        Ok(())
    }

    /// Who the client was, and whether it would be let in now: validity, anchors, revocation, the deny list.
    /// And whether the proof is still the same.
    fn recognize(&self, written: &[u8], now: i64) -> Result<(Shown, Met, bool), Declined> {
        let shown = self.demand.read_client(written).map_err(|why| match why {
            Forgotten::Malformed => Declined::Malformed,
            Forgotten::UnknownIntermediate => Declined::UnknownIntermediate,
        })?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(now).unwrap_or(0),
        ));
        let before = shown.proof();
        let met = self.demand.met_by(&shown, now);
        let met = met.map_err(|refused| Declined::ClientCert(refused.reason))?;
        let as_before = match (&before, &met.proof) {
            (Some(before), Some(now)) => now.is_same(before),
            (before, now) => before.is_none() && now.is_none(),
        };
        Ok((shown, met, as_before))
    }

    /// What goes into the next ticket about a client whose chain had to be verified again.
    fn write_again(&self, shown: &Shown, met: &Met) -> Option<Vec<u8>> {
        let chain: Vec<&[u8]> = shown.chain().iter().map(AsRef::as_ref).collect();
        let mut written = Vec::new();
        self.demand
            .write_client(&chain, met.proof.as_ref(), &mut written)?;
        Some(written)
    }
}

impl Prepared {
    /// A handshake at a site without resumption.
    pub(super) fn without(config: &Arc<ServerConfig>) -> Self {
        Self {
            config: Arc::clone(config),
            exchange: None,
            returning: None,
            declined: None,
        }
    }

    /// Whether a session is at hand, so that nothing will be signed, unless suite or version do not fit.
    pub(super) fn is_returning(&self) -> bool {
        self.returning.is_some()
    }

    /// Takes note of how the handshake goes, before its next step.
    pub(super) fn follow(&self, kind: Option<HandshakeKind>, proof: Option<&Proof>) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        exchange.follow(kind);
        if let Some(proof) = proof {
            exchange.set_proof(proof);
        }
    }

    /// Who came, if it was this session that was resumed.
    pub(super) fn conclude(self, kind: Option<HandshakeKind>) -> (Option<Shown>, Outcome) {
        match (kind, self.returning) {
            (Some(HandshakeKind::Resumed), Some(returning)) => {
                if let (Some(id), Some(exchange)) = (returning.stored, &self.exchange) {
                    exchange.used(&id);
                }
                (Some(returning.shown), Outcome::Resumed)
            }
            (_, Some(_)) => {
                if let Some(exchange) = &self.exchange {
                    exchange.declined(Declined::Parameters);
                }
                (None, Outcome::Declined(Declined::Parameters))
            }
            (_, None) => (
                None,
                self.declined.map_or(Outcome::Fresh, Outcome::Declined),
            ),
        }
    }
}

/// Whether the bytes are a session, as rustls writes it or as it is sealed; for the fuzz targets.
pub(super) fn reads_session(bytes: &[u8]) -> bool {
    let of_rustls = Session::of_rustls(bytes).map(|(session, _)| session);
    let sealed = Session::read(bytes).map(|(session, _)| session);
    for session in of_rustls.iter().chain(&sealed) {
        let mut written = Vec::new();
        session.write(&mut written);
        assert!(
            Session::read(&written)
                .is_some_and(|(again, rest)| again == *session && rest.is_empty())
        );
        let encoded = session.to_rustls();
        assert!(
            Session::of_rustls(&encoded)
                .is_some_and(|(again, chain)| again == *session && chain.is_empty())
        );
    }
    of_rustls.is_some() || sealed.is_some()
}

/// What is looked at of an offer.
fn offered(offer: &Offer, means: Means, tls13: bool) -> impl Iterator<Item = &[u8]> {
    let (psks, single) = match (tls13, means) {
        (true, _) => (&offer.psks[..], None),
        (false, Means::Tickets) => (&[][..], offer.ticket.as_deref()),
        // A session id beside a ticket means nothing (RFC 5077, section 3.4).
        (false, Means::Store) => {
            let meant = offer.ticket.as_ref().is_none_or(Vec::is_empty);
            (&[][..], meant.then_some(&offer.session_id[..]))
        }
    };
    let single = single.filter(|bytes| !bytes.is_empty());
    psks.iter().map(Vec::as_slice).chain(single)
}

/// What must be the same where a session is resumed. Digests, not counters: a fleet agrees without talking.
fn binding(site: &str, demand: &Demand, fleet: Fleet<'_>) -> Binding {
    let mut bound = b"portcullis session 1".to_vec();
    for part in [fleet.name, site, demand.mode().as_str()] {
        bound.extend((part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    bound.extend(fleet.generation.to_be_bytes());
    let mut binding = [0; 32];
    binding.copy_from_slice(digest(&SHA256, &bound).as_ref());
    binding
}
