//! What a worker thread owns, and what it shares with the others.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::time::Instant;

use super::identity_headers::IdentityHeaders;
use super::ids::Ids;
use crate::drain::Draining;
use crate::http1::HeadLimits;
use crate::limit::Slots;
use crate::policy::RoleSet;
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::ConnectionFacts;
use crate::telemetry::{LineBuffer, LogSink, Metrics, RefusalRecord};
use crate::tls::SiteTls;
use crate::upstream::Upstreams;

/// Shared by all workers and the control thread.
#[derive(Debug)]
pub struct Shared {
    /// The configuration in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// Counters.
    pub metrics: Metrics,
    /// Client connections of the process.
    pub connections: Slots,
    /// Handshakes in progress in the process.
    pub handshakes: Slots,
    /// Access log.
    pub access: LogSink,
    /// Refusal log.
    pub refusals: LogSink,
}

/// One data worker's own things. Nothing here is shared with another thread.
#[derive(Debug)]
pub struct Worker {
    /// What is shared.
    pub shared: Arc<Shared>,
    /// Pools.
    pub upstreams: Upstreams,
    /// Lines of the access log.
    pub access: LineBuffer,
    /// Lines of the refusal log.
    pub refusals: LineBuffer,
    /// Request ids.
    pub ids: Ids,
    /// When to leave.
    pub draining: Draining,
    current: RefCell<Arc<Snapshot>>,
    generation: Cell<u64>,
}

impl Worker {
    /// A worker with empty pools.
    pub fn new(shared: Arc<Shared>, draining: Draining) -> Rc<Self> {
        let snapshot = shared.snapshot.load_full();
        let metrics = &shared.metrics;
        let (made, again) = (
            metrics.upstream_connections.clone(),
            metrics.upstream_retries.clone(),
        );
        Rc::new(Self {
            upstreams: Upstreams::new(head_limits(&snapshot), made, again),
            access: LineBuffer::new(shared.access.clone()),
            refusals: LineBuffer::new(shared.refusals.clone()),
            ids: Ids::new(),
            draining,
            generation: Cell::new(snapshot.generation),
            current: RefCell::new(snapshot),
            shared,
        })
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let generation = self.shared.snapshot.load().generation;
        if generation != self.generation.get() {
            let fresh = self.shared.snapshot.load_full();
            self.upstreams.adopt(&fresh.targets, head_limits(&fresh));
            self.generation.set(fresh.generation);
            self.current.replace(fresh);
        }
        Arc::clone(&self.current.borrow())
    }

    /// Counts and logs a refusal.
    pub fn refuse(&self, record: &RefusalRecord<'_>) {
        self.shared.metrics.refused(record.reason);
        self.refusals.write(record);
    }

    /// Regular small duties: log lines go out, idle upstream connections are closed.
    pub fn tick(&self) {
        self.access.hand_over();
        self.refusals.hand_over();
        self.upstreams.close_idle();
        drop(self.snapshot()); // Lets go of an old configuration also where no request comes.
    }
}

/// The bounds on heads in a snapshot.
pub(super) fn head_limits(snapshot: &Snapshot) -> HeadLimits {
    let limits = &snapshot.limits;
    HeadLimits {
        bytes: limits.header_bytes,
        headers: limits.headers,
        target: limits.target,
    }
}

/// The client end of a connection, for its requests.
#[derive(Debug)]
pub struct Client {
    /// For records.
    pub facts: Rc<ConnectionFacts>,
    /// The settings of the handshake.
    tls: Arc<SiteTls>,
    /// The chain that was verified then, the leaf first; empty without one.
    pub(super) chain: Vec<CertificateDer<'static>>,
    open: Rc<Cell<usize>>,
    sending: RefCell<Vec<Weak<SendClock>>>,
    view: RefCell<Option<Rc<View>>>,
}

/// Since when a piece of an answer has been waiting for the client to take it.
#[derive(Debug)]
pub(super) struct SendClock(Cell<Option<Instant>>);

impl SendClock {
    /// A piece was handed out; until the next is asked for, the client is taking its time.
    pub(super) fn handed_out(&self) {
        self.0.set(Some(Instant::now()));
    }

    /// The next piece is asked for.
    pub(super) fn asked(&self) {
        self.0.set(None);
    }
}

/// A request of a connection, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct OpenRequest(Rc<Cell<usize>>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection seen through the configuration in force.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    /// Index of the connection's listener, if it still exists.
    pub(super) listener: Option<usize>,
    /// Index of the connection's site, if it still exists on that listener.
    pub(super) site: Option<usize>,
    pub(super) roles: RoleSet,
    /// Whether the client's chain leads to a trust anchor of the site as it is now.
    pub(super) trusted: Result<(), Reason>,
    /// What upstreams are told about the client.
    pub(super) identity_headers: IdentityHeaders,
}

impl Client {
    /// A connection whose handshake is complete.
    pub fn new(
        facts: ConnectionFacts,
        tls: Arc<SiteTls>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self {
            facts: Rc::new(facts),
            tls,
            chain,
            open: Rc::default(),
            sending: RefCell::default(),
            view: RefCell::new(None),
        }
    }

    /// Verifies the chain of the handshake again where the site's trust anchors have changed since. The
    /// clients of a removed CA stop here; the others do not notice.
    fn trusted_by(&self, now: &SiteTls) -> Result<(), Reason> {
        let digest = |tls: &SiteTls| tls.verifier.as_ref().map(|verifier| verifier.digest());
        if self.chain.is_empty() || digest(now) == digest(&self.tls) {
            return Ok(());
        }
        match &now.verifier {
            Some(verifier) => verifier.verify_chain(&self.chain, UnixTime::now()),
            // The site asks for no certificates any more, so this one proves nothing.
            None => Err(Reason::ClientCertUnknownCa),
        }
    }

    /// A clock for an answer whose reader may stall; it is looked at until it is dropped.
    pub(super) fn send_clock(&self) -> Rc<SendClock> {
        let clock = Rc::new(SendClock(Cell::new(None)));
        let mut sending = self.sending.borrow_mut();
        sending.retain(|clock| clock.strong_count() > 0);
        sending.push(Rc::downgrade(&clock));
        clock
    }

    /// Whether an answer has been waiting for its reader for longer than `limit`.
    pub(super) fn stalls(&self, limit: Duration) -> bool {
        let since = |clock: &Weak<SendClock>| clock.upgrade().and_then(|clock| clock.0.get());
        let clocks = self.sending.borrow();
        clocks
            .iter()
            .filter_map(since)
            .any(|since| since.elapsed() > limit)
    }

    /// Counts a request until the returned value is dropped.
    pub(super) fn open_request(&self) -> OpenRequest {
        self.open.set(self.open.get() + 1);
        OpenRequest(Rc::clone(&self.open))
    }

    /// Requests that were not answered to their end yet.
    pub(super) fn open_requests(&self) -> usize {
        self.open.get()
    }

    /// The view for the next request; worked out anew only after a reload.
    pub(super) fn view(&self, worker: &Worker) -> Rc<View> {
        let snapshot = worker.snapshot();
        let mut view = self.view.borrow_mut();
        match &*view {
            Some(current) if current.snapshot.generation == snapshot.generation => {
                Rc::clone(current)
            }
            _ => {
                let listener = snapshot
                    .listeners
                    .iter()
                    .position(|listener| listener.name == self.facts.listener);
                let site = snapshot
                    .sites
                    .iter()
                    .position(|site| site.name == self.facts.site);
                let roles = snapshot.policy.roles_of(&self.facts.identity);
                let trusted =
                    site.map_or(Ok(()), |site| self.trusted_by(&snapshot.sites[site].tls));
                let fresh = Rc::new(View {
                    snapshot,
                    listener,
                    site,
                    roles,
                    trusted,
                    identity_headers: IdentityHeaders::default(),
                });
                *view = Some(Rc::clone(&fresh));
                fresh
            }
        }
    }
}
