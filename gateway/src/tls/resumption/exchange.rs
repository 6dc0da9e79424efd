//! One handshake's view of tickets and sessions: what rustls asks, answered from what was decided before.
//!
//! rustls is told about exactly one session, and only under the very bytes the client offered it by. What it wants to
//! keep is completed with what the gateway knows of the client, and sealed or stored.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::server::{ProducesTickets, StoresServerSessions};
use rustls::{HandshakeKind, ProtocolVersion};
use zeroize::Zeroizing;

use super::SiteResumption;
use super::cache::Stored;
use super::state::Session;
use super::stats::{Declined, NotIssued};
use crate::ticket_keys::{TicketKey, Versions};
use crate::tls::client_cert::peek_proof;
use crate::trust::Proof;

/// What a handshake may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// Sealed tickets.
    Tickets,
    /// The session store.
    Store,
}

/// The session that may be resumed, as rustls will ask for it.
pub(super) struct Answer {
    /// The ticket, the PSK identity or the session id.
    pub(super) offered: Vec<u8>,
    /// What rustls reads.
    pub(super) session: Zeroizing<Vec<u8>>,
}

/// Who the client of a resumed session is, as it goes into the next ticket.
pub(super) struct Carried {
    /// When the client showed its certificate, or came without: seconds since the Unix epoch.
    pub(super) authenticated: i64,
    /// Until when what it showed is valid.
    pub(super) not_after: i64,
    /// As [`crate::trust::Demand::write_client`] wrote it.
    pub(super) client: Vec<u8>,
}

/// The ticketer and the session store of one handshake.
pub(super) struct Exchange {
    site: Arc<SiteResumption>,
    means: Means,
    key: Option<Arc<TicketKey>>,
    /// Of the time before the offered session was looked at.
    era: u64,
    answer: Option<Answer>,
    course: Mutex<Course>,
    /// What rustls tells the client, in seconds; of the ticket sealed last.
    lifetime: AtomicU32,
}

/// A session that is about to be given out.
pub(super) struct State {
    pub(super) version: ProtocolVersion,
    /// As it is sealed or stored.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Seconds for which it is worth something.
    pub(super) left: i64,
}

/// How the handshake goes, as far as it is known.
struct Course {
    stage: Stage,
    /// Of the session that may be resumed.
    carried: Option<Carried>,
    /// Of a full handshake.
    proof: Option<Proof>,
}

/// What is known before a step. Only the last word counts: after a HelloRetryRequest a handshake is a full one until
/// the second hello is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The hello is being answered. A ticket that is made already now is that of a TLS 1.2 resumption.
    Hello,
    Full,
    Resumed,
}

impl Course {
    /// Who the client is, if it is the one of the session. What an offered session knew of a client never becomes
    /// another client's.
    fn carried(&self) -> Option<&Carried> {
        match self.stage {
            Stage::Hello | Stage::Resumed => self.carried.as_ref(),
            Stage::Full => None,
        }
    }
}

impl Exchange {
    pub(super) fn new(
        site: &Arc<SiteResumption>,
        (means, era): (Means, u64),
        answer: Option<(Answer, Carried)>,
    ) -> Self {
        let (answer, carried) = answer.unzip();
        let key = match means {
            Means::Tickets => site.keys.ring().seals().cloned(),
            Means::Store => None,
        };
        let course = Course {
            stage: Stage::Hello,
            carried,
            proof: None,
        };
        Self {
            site: Arc::clone(site),
            means,
            key,
            era,
            answer,
            course: Mutex::new(course),
            lifetime: AtomicU32::new(0),
        }
    }

    /// The hello is answered, by resumption or not.
    pub(super) fn follow(&self, kind: Option<HandshakeKind>) {
        self.course().stage = match kind {
            Some(HandshakeKind::Resumed) => Stage::Resumed,
            _ => Stage::Full,
        };
    }

    /// What the verifier proved in an earlier step.
    pub(super) fn set_proof(&self, proof: &Proof) {
        self.course().proof = Some(proof.clone());
    }

    /// The session of the store was resumed; it is good for nothing more.
    pub(super) fn used(&self, id: &[u8]) {
        self.site.sessions.remove(id);
    }

    /// The session that was at hand was not taken up.
    pub(super) fn declined(&self, why: Declined) {
        self.site.stats.declined(why);
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_to(&self, offered: &[u8]) -> Option<Vec<u8>> {
        let answer = self.answer.as_ref()?;
        (answer.offered == offered).then(|| answer.session.to_vec())
    }

    /// What is to be sealed or stored of a session rustls made. Called while rustls handles the client's Finished; in a
    /// TLS 1.2 resumption already when it answers the hello.
    fn state(&self, encoded: &[u8], versions: Versions) -> Result<State, NotIssued> {
        let (session, chain) = Session::of_rustls(encoded).ok_or(NotIssued::NotUnderstood)?;
        let version = session.version;
        if versions == Versions::Tls13 && version != ProtocolVersion::TLSv1_3 {
            return Err(NotIssued::Version);
        }
        let course = self.course();
        let now = i64::try_from(session.created).unwrap_or(i64::MAX);
        // Room for all of it, for a vector that grows leaves copies of the secret behind.
        let mut out = Zeroizing::new(Vec::with_capacity(encoded.len() + 1024));
        session.write(&mut out);
        let (authenticated, not_after) = match course.carried() {
            Some(carried) => {
                out.extend(carried.authenticated.to_be_bytes());
                out.extend_from_slice(&carried.client);
                (carried.authenticated, carried.not_after)
            }
            None => {
                let proof = course.proof.clone().or_else(peek_proof);
                out.extend(now.to_be_bytes());
                let demand = &self.site.demand;
                demand
                    .write_client(&chain, proof.as_ref(), &mut out)
                    .ok_or(NotIssued::TooLarge)?;
                (now, proof.map_or(i64::MAX, |proof| proof.not_after()))
            }
        };
        let settings = &self.site.settings;
        let lineage_ends = authenticated.saturating_add(seconds(settings.max_lineage));
        let left = seconds(settings.lifetime)
            .min(lineage_ends.saturating_sub(now))
            .min(not_after.saturating_sub(now));
        if left <= 0 {
            return Err(NotIssued::Over);
        }
        Ok(State {
            version,
            bytes: out,
            left,
        })
    }

    fn seal(&self, encoded: &[u8]) -> Result<Vec<u8>, NotIssued> {
        let key = self.key.as_ref().ok_or(NotIssued::NoKey)?;
        let state = self.state(encoded, key.versions())?;
        if state.bytes.len() + crate::ticket_keys::OVERHEAD > self.site.max_size {
            return Err(NotIssued::TooLarge);
        }
        let left = u32::try_from(state.left).unwrap_or(u32::MAX);
        self.lifetime.store(left, Ordering::Relaxed);
        let sealed = key.seal(&self.site.binding, &state.bytes);
        sealed.ok_or(NotIssued::NoKey)
    }
}

impl ProducesTickets for Exchange {
    fn enabled(&self) -> bool {
        self.means == Means::Tickets
    }

    fn lifetime(&self) -> u32 {
        self.lifetime.load(Ordering::Relaxed)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let sealed = self.seal(plain);
        self.site.stats.issued(sealed.as_ref().err().copied());
        sealed.ok()
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        match self.means {
            Means::Tickets => self.answer_to(cipher),
            Means::Store => None,
        }
    }
}

impl StoresServerSessions for Exchange {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let value = Zeroizing::new(value);
        let state = self.state(&value, Versions::All);
        self.site.stats.issued(state.as_ref().err().copied());
        let Ok(state) = state else {
            return false;
        };
        self.site.publish(&key, &state);
        let until = crate::ticket_keys::unix_now().saturating_add(state.left);
        let stored = Stored::new((self.site.binding, self.era), until, state.bytes);
        self.site.sessions.put(&key, stored)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.means {
            Means::Store => self.answer_to(key),
            Means::Tickets => None,
        }
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }

    fn can_cache(&self) -> bool {
        self.means == Means::Store
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("means", &self.means)
            .field("offers_session", &self.answer.is_some())
            .finish_non_exhaustive()
    }
}

pub(super) fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
