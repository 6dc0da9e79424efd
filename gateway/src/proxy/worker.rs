//! What a worker thread owns, and what it shares with the others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::client::Client;
use super::ids::Ids;
use super::register::{Left, Register};
use crate::drain::Draining;
use crate::http1::HeadLimits;
use crate::limit::Slots;
use crate::snapshot::Snapshot;
use crate::telemetry::inventory::Inventory;
use crate::telemetry::{LineBuffer, LogSink, Metrics, RefusalRecord};
use crate::turns::Turns;
use crate::upstream::{UpstreamCounters, Upstreams};

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
    /// Client certificates that were seen.
    pub inventory: Inventory,
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
    /// Turns of handshakes, behind requests.
    pub turns: Turns,
    /// Request ids.
    pub ids: Ids,
    /// When to leave.
    pub draining: Draining,
    register: Register,
    current: RefCell<Arc<Snapshot>>,
    generation: Cell<u64>,
}

impl Worker {
    /// A worker with empty pools.
    pub fn new(shared: Arc<Shared>, draining: Draining) -> Rc<Self> {
        let snapshot = shared.snapshot.load_full();
        let metrics = &shared.metrics;
        let counters = UpstreamCounters {
            connections: metrics.upstream_connections.clone(),
            retries: metrics.upstream_retries.clone(),
            over_budget: metrics.upstream_retries_over_budget.clone(),
        };
        Rc::new(Self {
            upstreams: Upstreams::new(head_limits(&snapshot), counters),
            access: LineBuffer::new(shared.access.clone()),
            refusals: LineBuffer::new(shared.refusals.clone()),
            turns: Turns::new(metrics.handshakes_deferred.clone()),
            ids: Ids::new(),
            draining,
            register: Register::default(),
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
        self.refusals.append(|lines| record.write(lines));
    }

    /// Takes in a connection, so that a revocation reaches it also while it asks for nothing.
    pub fn enter(&self, client: &Rc<Client>) {
        self.register.enter(client);
    }

    /// Regular small duties: log lines go out, idle upstream connections are closed, clients whose certificate is
    /// not good any more are told to leave. Says whether such clients are still to be looked for.
    pub fn tick(&self) -> Left {
        let left = self.register.look(self);
        self.access.hand_over();
        self.refusals.hand_over();
        self.upstreams.close_idle();
        drop(self.snapshot()); // Lets go of an old configuration also where no request comes.
        left
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
