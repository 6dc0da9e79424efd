//! A worker's end of an endpoint: what it has open there, and what waits to be used again.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::http1::Connection;
use super::http2::Multiplexed;
use crate::balance::{Candidate, Load};

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) load: Load,
    pub(super) multiplexed: Multiplexed,
    idle: RefCell<Vec<(Connection, Instant)>>,
    /// How many more idle connections the upstream may have in this worker.
    room: Rc<Cell<usize>>,
}

/// A request in progress at an endpoint, as the worker counts them.
#[derive(Debug)]
pub(super) struct Open(Rc<Slot>);

impl Slot {
    pub(super) fn new(endpoint: &Arc<Endpoint>, room: &Rc<Cell<usize>>) -> Rc<Self> {
        Rc::new(Self {
            endpoint: Arc::clone(endpoint),
            load: Load::default(),
            multiplexed: Multiplexed::default(),
            idle: RefCell::default(),
            room: Rc::clone(room),
        })
    }

    /// Counts one more request in progress.
    pub(super) fn open(self: &Rc<Self>) -> Open {
        self.load.begin();
        Open(Rc::clone(self))
    }

    /// The connection used last that is still quiet: the warmest, and the others may time out. `epoch` is that of
    /// what is believed of the service now.
    pub(super) fn take_idle(&self, idle_timeout: Duration, epoch: u64) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some((connection, since)) = idle.pop() {
            self.room.set(self.room.get() + 1);
            if since.elapsed() < idle_timeout
                && connection.is_trusted(epoch)
                && connection.is_quiet()
            {
                return Some(connection);
            }
        }
        None
    }

    /// Closes what was idle for too long.
    pub(super) fn close_idle(&self, now: Instant, idle_timeout: Duration) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|(connection, since)| now - *since < idle_timeout && connection.is_quiet());
        self.room.set(self.room.get() + before - idle.len());
    }

    fn put_idle(&self, connection: Connection) {
        // As many as there may be requests: fewer would be closed and made again with every wave. What is not used
        // is closed after `idle_timeout`.
        if let Some(room) = self.room.get().checked_sub(1) {
            self.room.set(room);
            self.idle.borrow_mut().push((connection, Instant::now()));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().len();
        self.room.set(self.room.get() + idle);
    }
}

impl Candidate for Rc<Slot> {
    fn weight(&self) -> u32 {
        self.endpoint.weight()
    }

    fn name(&self) -> u64 {
        self.endpoint.name
    }

    fn load(&self) -> &Load {
        &self.load
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.load.end();
    }
}

/// The way back of a connection, if its endpoint is still of use when the response ends.
#[derive(Debug)]
pub(super) struct Return(Weak<Slot>);

impl Return {
    pub(super) fn to(slot: &Rc<Slot>) -> Self {
        Self(Rc::downgrade(slot))
    }

    pub(super) fn give_back(&self, connection: Connection) {
        if let Some(slot) = self.0.upgrade() {
            slot.put_idle(connection);
        }
    }
}
