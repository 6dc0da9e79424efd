//! The client end of a connection: who it is for each request, and when it has to leave.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::ClientCertMode;
use rustls_pki_types::UnixTime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::identity_headers::IdentityHeaders;
use super::worker::Worker;
use crate::identity::ClientIdentity;
use crate::path::CanonicalPath;
use crate::policy::RoleSet;
use crate::reason::Reason;
use crate::snapshot::{SiteRules, Snapshot};
use crate::telemetry::RefusalRecord;
use crate::telemetry::access_log::ConnectionFacts;
use crate::trust::{Demand, Met, Refused, Shown};

/// The client end of a connection, for its requests.
#[derive(Debug)]
pub struct Client {
    /// For records.
    pub facts: Rc<ConnectionFacts>,
    /// What it showed in the handshake.
    pub(super) shown: Shown,
    open: Rc<Cell<usize>>,
    sending: RefCell<Vec<Weak<SendClock>>>,
    view: RefCell<Option<Rc<View>>>,
    /// What requests in progress rest on, where routes ask for more than the handshake did.
    resting: RefCell<Vec<Weak<Resting>>>,
    /// When the certificate, or what is known about it, runs out, seconds since the Unix epoch.
    good_until: Cell<i64>,
    farewell: Farewell,
}

/// How long a responder has, at least, before it is asked again about a client who is served already.
const ASKING_SECONDS: i64 = 5;

/// That a client has to leave: no new request is served, and those in progress have until a deadline.
#[derive(Debug, Default)]
struct Farewell {
    by: Cell<Option<Instant>>,
    reason: Cell<Option<Reason>>,
    bell: Notify,
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
    pub fn new(facts: ConnectionFacts, shown: Shown) -> Self {
        let good_until = shown.proof().map_or(i64::MAX, |proof| proof.good_until());
        Self {
            facts: Rc::new(facts),
            shown,
            open: Rc::default(),
            sending: RefCell::default(),
            view: RefCell::new(None),
            resting: RefCell::default(),
            good_until: Cell::new(good_until),
            farewell: Farewell::default(),
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

    /// Whether there is a certificate that can cease to be good.
    pub(super) fn can_be_revoked(&self) -> bool {
        !self.shown.chain().is_empty()
    }

    /// Whether the time has come to look at the certificate again.
    pub(super) fn is_past(&self, now: UnixTime) -> bool {
        self.good_until.get() < i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
    }

    /// Looks whether the certificate is still good for the site, and ends the connection where it is not: the client
    /// was revoked, denied or expired, or its CA removed.
    pub(super) fn review(&self, worker: &Worker, now: UnixTime) {
        if self.farewell.by.get().is_some() {
            return;
        }
        let view = self.view(worker);
        let Some(rules) = view.rules() else {
            return; // The site is gone: requests are answered 421.
        };
        if rules.handshake.mode() == ClientCertMode::Ignore {
            return; // The site asks for no certificates any more; routes decide for themselves.
        }
        match rules.handshake.met_by(&self.shown, now) {
            Ok(met) => {
                let again_at = self.again_at(&rules.handshake, &met, now);
                self.good_until.set(again_at);
                if rules.demands.len() > 1 {
                    self.review_routes(worker, (&view, rules), now);
                }
            }
            Err(refused) => self.dismiss(worker, &refused),
        }
    }

    /// The same for what routes asked beyond the handshake: of requests in progress, and of those that are to come.
    fn review_routes(&self, worker: &Worker, (view, rules): (&View, &SiteRules), now: UnixTime) {
        let in_use = self.demands_in_use(rules);
        for (at, demand) in rules.demands.iter().enumerate() {
            let known = view.callers[at].get().is_some_and(Result::is_ok);
            if !in_use[at] && !known {
                continue;
            }
            match demand.met_by(&self.shown, now) {
                Ok(met) => {
                    let again_at = self.again_at(demand, &met, now);
                    self.good_until.set(again_at.min(self.good_until.get()));
                }
                Err(refused) if in_use[at] => return self.dismiss(worker, &refused),
                // The next request is told, for it is decided in a new view.
                Err(_) => drop(self.view.take()),
            }
        }
    }

    /// Which demands of the site requests in progress rest on.
    fn demands_in_use(&self, rules: &SiteRules) -> Vec<bool> {
        let mut resting = self.resting.borrow_mut();
        resting.retain(|rests| rests.strong_count() > 0);
        let mut in_use = vec![false; rules.demands.len()];
        for rests in resting.iter().filter_map(Weak::upgrade) {
            // It is the form that was decided on, which reads as itself.
            let path = CanonicalPath::parse(&rests.0).ok();
            let found = path.and_then(|path| rules.routes.find(&path).map(|found| found.demand));
            in_use[found.unwrap_or(0)] = true;
        }
        in_use
    }

    /// When a client that meets a demand is looked at again. An OCSP answer that ran out is asked for.
    fn again_at(&self, demand: &Demand, met: &Met, now: UnixTime) -> i64 {
        match &met.proof {
            Some(proof) if proof.is_pending() => {
                demand.ask_again(&self.shown);
                let soon = i64::try_from(now.as_secs()).unwrap_or(i64::MAX) + ASKING_SECONDS;
                soon.min(proof.not_after())
            }
            Some(proof) => proof.good_until(),
            None => i64::MAX,
        }
    }

    /// Tells the connection that it has to end.
    fn dismiss(&self, worker: &Worker, refused: &Refused) {
        let limit = worker.snapshot().timeouts.revoked;
        self.farewell.by.set(Some(Instant::now() + limit));
        self.farewell.reason.set(Some(refused.reason));
        self.farewell.bell.notify_waiters();
        worker.shared.metrics.connections_dismissed.inc();
        let detail = match &*refused.detail {
            "" => "the connection ends".to_owned(),
            detail => format!("{detail}; the connection ends"),
        };
        worker.refuse(&RefusalRecord {
            reason: refused.reason,
            client: self.facts.client,
            listener: &self.facts.listener,
            site: Some(&self.facts.site),
            server_name: None,
            identity: Some(&self.facts.identity),
            request_id: None,
            detail: Some(&detail),
        });
    }

    /// Whether the connection has to end.
    pub(super) fn is_dismissed(&self) -> bool {
        self.farewell.by.get().is_some()
    }

    /// Why the connection has to end, if it has to.
    pub(super) fn dismissed_for(&self) -> Option<Reason> {
        self.farewell.reason.get()
    }

    /// Waits until the connection has to end.
    pub(super) async fn dismissed(&self) {
        if self.farewell.by.get().is_none() {
            self.farewell.bell.notified().await;
        }
    }

    /// Waits until the time of a connection that has to end is over.
    pub(super) async fn overdue(&self) {
        loop {
            match self.farewell.by.get() {
                // Boxed: nearly every connection waits for the bell only.
                Some(by) => return Box::pin(sleep_until(by)).await,
                None => self.farewell.bell.notified().await,
            }
        }
    }
}

impl View {
    fn new(snapshot: Arc<Snapshot>, facts: &ConnectionFacts) -> Self {
        let rules = &snapshot.rules;
        let mut listeners = rules.listeners.iter();
        let listener = listeners.position(|listener| listener.name == facts.listener);
        let site = rules.sites.iter().position(|site| site.name == facts.site);
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
