//! The client end of a connection: who it is for each request, and when it has to leave.

mod review;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::time::Instant;

use self::review::Farewell;
use super::identity_headers::IdentityHeaders;
use super::worker::Worker;
use crate::identity::ClientIdentity;
use crate::policy::RoleSet;
use crate::reason::Reason;
use crate::snapshot::{SiteRules, Snapshot};
use crate::telemetry::access_log::ConnectionFacts;
use crate::tls::EarlyData;
use crate::trust::{Met, Refused, Shown};

/// How often, within `timeouts.write`, the streams of a connection are looked at for a stalled one.
pub(super) const STALL_LOOKS: u32 = 4;

/// The client end of a connection, for its requests.
#[derive(Debug)]
pub struct Client {
    /// For records.
    pub facts: Rc<ConnectionFacts>,
    /// What it showed in the handshake.
    pub(super) shown: Shown,
    /// `None` where there is no early data.
    early_data: Option<EarlyData>,
    open: Rc<Cell<usize>>,
    sending: RefCell<Vec<Weak<SendClock>>>,
    view: RefCell<Option<Rc<View>>>,
    /// What requests in progress rest on, where routes ask for more than the handshake did.
    resting: RefCell<Vec<Weak<Resting>>>,
    /// When the certificate, or what is known about it, runs out, seconds since the Unix epoch.
    good_until: Cell<i64>,
    farewell: Farewell,
}

/// The path a request in progress was admitted for: what its route asks must hold until it ends.
#[derive(Debug)]
pub(super) struct Resting(Box<str>);

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

/// A connection seen through the configuration and the revocations in force.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    /// Index of the connection's listener, if it still exists.
    pub(super) listener: Option<usize>,
    /// Index of the connection's site, if it still exists.
    pub(super) site: Option<usize>,
    /// [`crate::trust::Demand::epoch`] of the site.
    epoch: u64,
    /// One for each demand of the site, worked out when a request first makes it.
    callers: Vec<OnceCell<Result<Caller, Refused>>>,
}

/// A client as one demand of its site sees it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) identity: ClientIdentity,
    pub(super) roles: RoleSet,
    /// Until when it holds, seconds since the Unix epoch.
    pub(super) not_after: Option<i64>,
    /// When it is to be looked at again, seconds since the Unix epoch.
    again_at: i64,
    /// An OCSP answer is wanted before it is served.
    pub(super) pending: Cell<bool>,
    /// What upstreams are told about it.
    pub(super) headers: IdentityHeaders,
}

impl Client {
    /// A connection whose handshake is complete.
    pub fn new(facts: ConnectionFacts, shown: Shown, early_data: Option<EarlyData>) -> Self {
        let good_until = shown.proof().map_or(i64::MAX, |proof| proof.good_until());
        Self {
            facts: Rc::new(facts),
            shown,
            early_data,
            open: Rc::default(),
            sending: RefCell::default(),
            view: RefCell::new(None),
            resting: RefCell::default(),
            good_until: Cell::new(good_until),
            farewell: Farewell::default(),
        }
    }

    /// Whether a request that begins now may be somebody else's copy of it.
    pub(super) fn is_replayable(&self) -> bool {
        let early = self.early_data.as_ref();
        early.is_some_and(EarlyData::is_replayable)
    }

    /// Every request that was read so far has been answered, and nothing of another one was read.
    pub(super) fn all_acted_upon(&self) {
        if let Some(early) = &self.early_data {
            early.all_acted_upon();
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

    /// The view for the next request; made anew after a reload, and after a revocation that the site looks at.
    pub(super) fn view(&self, worker: &Worker) -> Rc<View> {
        let snapshot = worker.snapshot();
        let mut view = self.view.borrow_mut();
        if let Some(current) = &*view
            && current.snapshot.generation == snapshot.generation
            && current.rules().map_or(0, |rules| rules.handshake.epoch()) == current.epoch
        {
            return Rc::clone(current);
        }
        let fresh = Rc::new(View::new(snapshot, &self.facts));
        *view = Some(Rc::clone(&fresh));
        fresh
    }

    /// The view, if it is another one than the last that was `seen`.
    pub(super) fn new_view(
        &self,
        worker: &Worker,
        seen: &mut Option<Rc<View>>,
    ) -> Option<Rc<View>> {
        let view = self.view(worker);
        let known = seen.as_ref().is_some_and(|seen| Rc::ptr_eq(&view, seen));
        (!known).then(|| Rc::clone(seen.insert(view)))
    }

    /// Has what was asked of a request looked after until the returned value is dropped. `None` where its route asks
    /// nothing that the handshake did not.
    pub(super) fn rest_on(&self, view: &View, path: &str, caller: &Caller) -> Option<Rc<Resting>> {
        let asks = view.rules().is_some_and(|rules| rules.demands.len() > 1);
        if !asks || !self.can_be_revoked() {
            return None;
        }
        self.good_until
            .set(self.good_until.get().min(caller.again_at));
        let rests = Rc::new(Resting(path.into()));
        let mut resting = self.resting.borrow_mut();
        resting.retain(|other| other.strong_count() > 0);
        resting.push(Rc::downgrade(&rests));
        Some(rests)
    }

    /// The same for what the site itself asks, where the handshake asked less for the sake of its routes.
    pub(super) fn rest_on_site(&self, view: &View, caller: &Caller) -> Option<Rc<Resting>> {
        // No path is empty, so no route has it.
        self.rest_on(view, "", caller)
    }

    /// Waits for the OCSP answer that a demand of the site wants.
    pub(super) async fn settle(&self, view: &View, demand: usize) -> Result<(), Refused> {
        let Some(rules) = view.rules() else {
            return Ok(());
        };
        rules.demands[demand]
            .settle(&self.shown, UnixTime::now())
            .await?;
        if let Ok(caller) = view.caller(self, demand) {
            caller.pending.set(false);
        }
        Ok(())
    }
}

impl View {
    fn new(snapshot: Arc<Snapshot>, facts: &ConnectionFacts) -> Self {
        let rules = &snapshot.rules;
        let mut listeners = rules.listeners.iter();
        let listener = listeners.position(|listener| listener.name == facts.listener);
        let site = rules.site(&facts.site);
        let own = site.map(|site| &rules.sites[site]);
        let callers = own.map_or(0, |own| own.demands.len());
        Self {
            epoch: own.map_or(0, |own| own.handshake.epoch()),
            callers: (0..callers).map(|_| OnceCell::new()).collect(),
            listener,
            site,
            snapshot,
        }
    }

    /// The rules of the connection's site.
    pub(super) fn rules(&self) -> Option<&SiteRules> {
        self.site.map(|site| &self.snapshot.rules.sites[site])
    }

    /// The client as a demand of the site sees it, or why it does not meet it.
    pub(super) fn caller(&self, client: &Client, demand: usize) -> Result<&Caller, &Refused> {
        let work_out = || {
            let rules = self.rules().ok_or_else(|| Refused {
                reason: Reason::Misdirected,
                detail: String::new(),
            })?;
            let Met {
                identity,
                not_after,
                proof,
            } = rules.demands[demand].met_by(&client.shown, UnixTime::now())?;
            // Nobody asked a program of this machine who it is.
            let identity = match client.facts.identity {
                ClientIdentity::Local => ClientIdentity::Local,
                _ => identity,
            };
            Ok(Caller {
                roles: self.snapshot.rules.policy.roles_of(&identity),
                identity,
                not_after,
                again_at: proof.as_ref().map_or(i64::MAX, |proof| proof.good_until()),
                pending: Cell::new(proof.is_some_and(|proof| proof.is_pending())),
                headers: IdentityHeaders::default(),
            })
        };
        self.callers[demand].get_or_init(work_out).as_ref()
    }
}
