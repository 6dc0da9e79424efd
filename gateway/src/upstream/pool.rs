//! A worker's pools, one for each upstream.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use http::request::Parts;
use http::response;
use portcullis_config::{Upstream, UpstreamProtocol};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::body::{RequestBody, ResponseBody};
use super::connect::connect;
use super::error::UpstreamError;
use super::http1::{self, Connection, Outcome};
use super::http2::Multiplexed;
use crate::http1::HeadLimits;
use crate::policy::Permit;

/// An upstream as all workers see it: its settings and the bound on its requests in progress.
#[derive(Debug)]
pub struct Target {
    /// What the operator wrote.
    pub settings: Upstream,
    /// The name, for records.
    pub name: Arc<str>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One request in progress at an upstream; given back on drop.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

/// A connection that one client has for itself, with its place in the upstream's `connections`.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub tcp: TcpStream,
    _place: Place,
}

impl Target {
    /// Makes the target of an upstream, or keeps the old one if its settings are the same.
    pub fn reuse(settings: &Upstream, old: &[Arc<Self>]) -> Arc<Self> {
        match old.iter().find(|target| target.settings == *settings) {
            Some(target) => Arc::clone(target),
            None => Arc::new(Self {
                settings: settings.clone(),
                name: settings.name.as_str().into(),
                places: Arc::new(Semaphore::new(
                    settings.connections.min(Semaphore::MAX_PERMITS),
                )),
                waiting: AtomicUsize::new(0),
            }),
        }
    }

    async fn place(self: &Arc<Self>) -> Result<Place, UpstreamError> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place(permit));
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.settings.pending {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(UpstreamError::Busy);
        }
        let _waiting = Waiting(self);
        match timeout(
            self.settings.connect_timeout,
            Arc::clone(&self.places).acquire_owned(),
        )
        .await
        {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Busy),
        }
    }
}

/// Counts a waiting request, also when its client goes away meanwhile.
struct Waiting<'a>(&'a Target);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a worker counts about upstreams.
#[derive(Debug, Clone)]
pub(super) struct UpstreamCounters {
    /// Connections made.
    pub connections: Counter,
    /// Requests sent again.
    pub retries: Counter,
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
    idle: RefCell<Vec<(Connection, Instant)>>,
    multiplexed: Multiplexed,
    turn: Cell<usize>,
}

impl Upstreams {
    /// No pools yet.
    pub fn new(head_limits: HeadLimits, connections: Counter, retries: Counter) -> Self {
        let counters = UpstreamCounters {
            connections,
            retries,
        };
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
            pool.idle
                .borrow_mut()
                .retain(|(connection, since)| now - *since < limit && connection.is_quiet());
        }
    }

    /// Sends a permitted request and waits for the head of the answer. The permit is used up.
    pub async fn send(
        &self,
        _permit: Permit,
        target: &Arc<Target>,
        parts: Parts,
        body: RequestBody,
    ) -> Result<(response::Parts, ResponseBody), UpstreamError> {
        // Before the wait for a place: a reload meanwhile closes the pool of a target that is gone, and
        // nothing may open it again.
        let pool = self.pool(target);
        let place = target.place().await?;
        match target.settings.protocol {
            UpstreamProtocol::Http1 => self.send_http1(&pool, parts, body, place).await,
            UpstreamProtocol::Http2 => {
                let request = Request::from_parts(parts, body);
                pool.multiplexed
                    .send(&pool, &self.counters, request, place)
                    .await
            }
            UpstreamProtocol::Tcp => Err(UpstreamError::NotHttp),
        }
    }

    /// Opens a connection for one permitted client alone. The permit is used up.
    pub async fn open(
        &self,
        _permit: Permit,
        target: &Arc<Target>,
    ) -> Result<Opened, UpstreamError> {
        let pool = self.pool(target);
        let place = target.place().await?;
        let tcp = pool.connect(&self.counters).await?;
        Ok(Opened { tcp, _place: place })
    }

    fn pool(&self, target: &Arc<Target>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.iter().find(|pool| Arc::ptr_eq(&pool.target, target)) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool {
            target: Arc::clone(target),
            idle: RefCell::default(),
            multiplexed: Multiplexed::default(),
            turn: Cell::new(0),
        });
        pools.push(Rc::clone(&pool));
        pool
    }

    async fn send_http1(
        &self,
        pool: &Rc<Pool>,
        parts: Parts,
        mut body: RequestBody,
        place: Place,
    ) -> Result<(response::Parts, ResponseBody), UpstreamError> {
        let limits = self.head_limits.get();
        let mut exchange = http1::Exchange {
            parts,
            limits,
            settings: &pool.target.settings,
        };
        if let Some(connection) = pool.take_idle() {
            match exchange.run(connection, body).await {
                Outcome::Answered(head, answer) => {
                    return Ok(answer.into_response(*head, pool, place));
                }
                Outcome::Failed(error) => return Err(error),
                // Closed by the upstream while it was idle, before it read the request: nothing was lost.
                Outcome::Stale(unsent) => {
                    self.counters.retries.inc();
                    body = unsent;
                }
            }
        }
        let tcp = pool.connect(&self.counters).await?;
        match exchange.run(Connection::new(tcp), body).await {
            Outcome::Answered(head, answer) => Ok(answer.into_response(*head, pool, place)),
            Outcome::Failed(error) => Err(error),
            Outcome::Stale(_) => Err(UpstreamError::Closed(
                std::io::ErrorKind::UnexpectedEof.into(),
            )),
        }
    }
}

impl Pool {
    /// Connects to the next endpoint in turn.
    pub(super) async fn connect(
        &self,
        counters: &UpstreamCounters,
    ) -> Result<TcpStream, UpstreamError> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let tcp = connect(&self.target.settings, turn).await?;
        counters.connections.inc();
        Ok(tcp)
    }

    pub(super) fn settings(&self) -> &Upstream {
        &self.target.settings
    }

    /// The connection used last that is still quiet: the warmest, and the others may time out.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some((connection, since)) = idle.pop() {
            if since.elapsed() < self.target.settings.idle_timeout && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    fn put_idle(&self, connection: Connection) {
        // As many as there may be requests: fewer would be closed and made again with every wave. What is not used
        // is closed after `idle_timeout`.
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.target.settings.connections {
            idle.push((connection, Instant::now()));
        }
    }
}

/// The way back of a connection, if its pool still exists when the response ends.
#[derive(Debug)]
pub(super) struct Return(Weak<Pool>);

impl Return {
    pub(super) fn to(pool: &Rc<Pool>) -> Self {
        Self(Rc::downgrade(pool))
    }

    pub(super) fn give_back(&self, connection: Connection) {
        if let Some(pool) = self.0.upgrade() {
            pool.put_idle(connection);
        }
    }
}
