//! A worker's pools, one for each upstream.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use http::request::Parts;
use http::response;
use portcullis_config::{Upstream, UpstreamProtocol};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::body::{RequestBody, ResponseBody};
use super::ejection::Cause;
use super::error::UpstreamError;
use super::search::Search;
use super::send::Sending;
use super::slot::Slot;
use super::stream::Stream;
use super::target::{Place, Target};
use super::tls::ClientTls;
use crate::balance::{Ask, Budget, Chooser, hash};
use crate::http1::HeadLimits;
use crate::policy::Permit;

/// What a worker counts about upstreams.
#[derive(Debug, Clone)]
pub struct UpstreamCounters {
    /// Connections made.
    pub connections: Counter,
    /// Requests sent again.
    pub retries: Counter,
    /// Requests that were not, for the budget was used up.
    pub over_budget: Counter,
}

/// The pools of one worker.
#[derive(Debug)]
pub struct Upstreams {
    pools: RefCell<Vec<Rc<Pool>>>,
    head_limits: Cell<HeadLimits>,
    counters: UpstreamCounters,
}

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    target: Arc<Target>,
    slots: RefCell<Rc<[Rc<Slot>]>>,
    /// Of the target's endpoints, that the slots are for.
    edition: Cell<u64>,
    /// How many more idle connections there may be.
    room: Rc<Cell<usize>>,
    chooser: Chooser,
    budget: Budget,
    /// Where its clock begins.
    begun: Instant,
}

impl Upstreams {
    /// No pools yet.
    pub fn new(head_limits: HeadLimits, counters: UpstreamCounters) -> Self {
        Self {
            pools: RefCell::default(),
            head_limits: Cell::new(head_limits),
            counters,
        }
    }

    /// Fits the pools to a new snapshot; those of unchanged targets stay.
    pub fn adopt(&self, targets: &[Arc<Target>], head_limits: HeadLimits) {
        self.head_limits.set(head_limits);
        self.pools.borrow_mut().retain(|pool| {
            targets
                .iter()
                .any(|target| Arc::ptr_eq(target, &pool.target))
        });
    }

    /// Closes pooled connections that were idle too long; called by a tick of the worker.
    pub fn close_idle(&self) {
        let now = Instant::now();
        for pool in self.pools.borrow().iter() {
            let limit = pool.target.settings.idle_timeout;
            let slots = pool.slots(); // Also lets go of endpoints that are gone.
            slots.iter().for_each(|slot| slot.close_idle(now, limit));
        }
    }

    /// Sends a permitted request and waits for the head of the answer. The permit is used up.
    pub async fn send(
        &self,
        _permit: Permit,
        target: &Arc<Target>,
        ask: Ask,
        (parts, body): (Parts, RequestBody),
    ) -> Result<(response::Parts, ResponseBody), UpstreamError> {
        // Before the wait for a place: a reload meanwhile closes the pool of a target that is gone, and
        // nothing may open it again.
        let pool = self.pool(target);
        let place = target.place().await?;
        let sending = Sending {
            pool: &pool,
            counters: &self.counters,
            limits: self.head_limits.get(),
            ask,
        };
        match target.settings.protocol {
            UpstreamProtocol::Http1 => sending.http1((parts, body), place).await,
            UpstreamProtocol::Http2 => {
                let request = Request::from_parts(parts, body);
                sending.http2(request, place).await
            }
            UpstreamProtocol::Tcp => Err(UpstreamError::NotHttp),
        }
    }

    /// Opens a connection for one permitted client alone. The permit is used up.
    pub async fn open(
        &self,
        _permit: Permit,
        target: &Arc<Target>,
        ask: Ask,
    ) -> Result<Opened, UpstreamError> {
        let pool = self.pool(target);
        let mut place = target.place().await?;
        let mut search = Search::new(&pool, ask);
        loop {
            let slot = search.next()?;
            let Some((stream, _)) = search.connect(&slot, &self.counters).await else {
                continue;
            };
            pool.begin(&slot, &mut place);
            pool.well(&slot);
            return Ok(Opened {
                stream,
                _place: place,
            });
        }
    }

    fn pool(&self, target: &Arc<Target>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.iter().find(|pool| Arc::ptr_eq(&pool.target, target)) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool::new(target));
        pools.push(Rc::clone(&pool));
        pool
    }
}

/// A connection that one client has for itself, with its place in the upstream's `connections`.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub stream: Stream,
    _place: Place,
}

impl Pool {
    fn new(target: &Arc<Target>) -> Self {
        let room = Rc::new(Cell::new(target.settings.connections));
        let edition = target.edition.load(Ordering::Acquire);
        let slots = target.endpoints();
        let slots = slots.iter().map(|endpoint| Slot::new(endpoint, &room));
        // Workers draw differently; where this one's memory lies is as good as a coin.
        let seed = hash(&(Rc::as_ptr(&room) as usize).to_be_bytes());
        Self {
            chooser: Chooser::new(&target.settings.balance, seed),
            budget: Budget::new(target.settings.retries.budget),
            target: Arc::clone(target),
            slots: RefCell::new(slots.collect()),
            edition: Cell::new(edition),
            room,
            begun: Instant::now(),
        }
    }

    pub(super) fn settings(&self) -> &Upstream {
        &self.target.settings
    }

    /// How it is spoken to over TLS, now.
    pub(super) fn tls(&self) -> Option<Arc<ClientTls>> {
        self.target.tls.as_ref().map(ArcSwap::load_full)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.target.epoch()
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// One for each endpoint of now; those that stay keep their connections.
    pub(super) fn slots(&self) -> Rc<[Rc<Slot>]> {
        let edition = self.target.edition.load(Ordering::Acquire);
        if edition != self.edition.get() {
            self.edition.set(edition);
            let (endpoints, before) = (self.target.endpoints(), Rc::clone(&self.slots.borrow()));
            let slots = endpoints.iter().map(|endpoint| {
                let known = before.iter().find(|it| Arc::ptr_eq(&it.endpoint, endpoint));
                known.map_or_else(|| Slot::new(endpoint, &self.room), Rc::clone)
            });
            self.slots.replace(slots.collect());
        }
        Rc::clone(&self.slots.borrow())
    }

    /// Whether there is a choice.
    fn has_choice(&self) -> bool {
        self.slots.borrow().len() > 1
    }

    /// The endpoint for a request, but for those whose names are in `tried`.
    pub(super) fn choose(&self, ask: &Ask, tried: &[u64]) -> Option<Rc<Slot>> {
        let slots = self.slots();
        if let [only] = &*slots {
            return tried.is_empty().then(|| Rc::clone(only));
        }
        let untried = |slot: &Rc<Slot>| !tried.contains(&slot.endpoint.name);
        let usable = |slot: &Rc<Slot>| slot.endpoint.is_up() && untried(slot);
        let chosen = self.chooser.choose(&slots, ask, usable);
        // It is better to try one that is left out than to refuse.
        let at = chosen.or_else(|| self.chooser.choose(&slots, ask, untried))?;
        slots.get(at).map(Rc::clone)
    }

    /// The time, where somebody looks at it.
    pub(super) fn time(&self) -> Duration {
        match self.chooser.measures() && self.has_choice() {
            true => self.begun.elapsed(),
            false => Duration::ZERO,
        }
    }

    /// A request is given to an endpoint; says when.
    pub(super) fn begin(&self, slot: &Rc<Slot>, place: &mut Place) -> Duration {
        slot.endpoint.count_request();
        if self.chooser.counts() && self.has_choice() {
            place.open = Some(slot.open());
        }
        self.time()
    }

    /// The request came to nothing.
    pub(super) fn failed(&self, slot: &Slot, error: UpstreamError) -> UpstreamError {
        if let Some(cause) = Cause::of(&error) {
            self.blame(slot, cause);
        }
        error
    }

    /// Counts a failure against an endpoint; one that is alone is never left out.
    pub(super) fn blame(&self, slot: &Slot, cause: Cause) {
        if self.has_choice() {
            self.target.failed(&slot.endpoint, cause);
        }
    }

    /// It did what was asked of it.
    fn well(&self, slot: &Slot) {
        if self.has_choice() {
            slot.endpoint.succeeded();
        }
    }

    /// The head of its answer is there.
    pub(super) fn answered(&self, slot: &Slot, begun: Duration) {
        self.well(slot);
        if begun > Duration::ZERO {
            let now = self.time();
            slot.load.answered(now.saturating_sub(begun), now);
        }
    }
}
