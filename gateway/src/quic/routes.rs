//! Which connection of a worker a datagram is for.
//!
//! Connection ids begin with the number of their worker. Each connection is known under the ids it gave out, the
//! newest of them, and under the id its client began with. Queues are bounded: what does not fit is lost, as any
//! datagram may be.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use quinn_proto::{
    ConnectionId, ConnectionIdGenerator, DatagramEvent, EcnCodepoint, Endpoint, InvalidCid,
};
use tokio::time::{Duration, Instant};

/// Bytes of a connection id of ours.
pub(super) const ID_BYTES: usize = 8;
/// Ids by which a connection is known: eight are in use at once, the others are those a client retires meanwhile.
const IDS_KEPT: usize = 64;
/// Datagrams that may wait for a connection: while it is signed for, the rest of its ClientHello and what a client sends
/// again. A flood of handshakes makes the gateway hold no more.
const QUEUED_EARLY: usize = 32;
/// And when it is established: a client's whole window.
const QUEUED: usize = 256;

/// A datagram as it came.
#[derive(Debug)]
pub struct Datagram {
    /// When.
    pub at: Instant,
    /// From where.
    pub remote: SocketAddr,
    /// The address of ours it came to.
    pub local: Option<IpAddr>,
    /// Congestion mark.
    pub ecn: Option<EcnCodepoint>,
    /// What it holds.
    pub data: BytesMut,
}

impl Datagram {
    /// Gives it to an endpoint. What that wants answered at once is appended to `answer`.
    pub(super) fn enter(
        self,
        endpoint: &mut Endpoint,
        answer: &mut Vec<u8>,
    ) -> Option<DatagramEvent> {
        let at = self.at.into_std();
        endpoint.handle(at, self.remote, self.local, self.ecn, self.data, answer)
    }
}

/// For whom a datagram is, and what begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The id of the connection.
    pub id: ConnectionId,
    /// A long header.
    pub long: bool,
    /// An Initial, or a packet of another version: a connection may begin with it.
    pub begins: bool,
}

/// Reads the head of a datagram (RFC 8999). `None` where it is none of QUIC.
pub fn destination(data: &[u8]) -> Option<Destination> {
    let first = *data.first()?;
    if first & 0x80 == 0 {
        let id = data.get(1..1 + ID_BYTES)?;
        return Some(Destination {
            id: ConnectionId::new(id),
            long: false,
            begins: false,
        });
    }
    let length = usize::from(*data.get(5)?);
    let id = data.get(6..6 + length).filter(|id| id.len() <= 20)?;
    let version = data.get(1..5)?;
    Some(Destination {
        id: ConnectionId::new(id),
        long: true,
        begins: version != [0, 0, 0, 1] || first & 0x30 == 0,
    })
}

/// What waits for a connection.
#[derive(Debug)]
pub struct Inbox {
    waiting: RefCell<VecDeque<Datagram>>,
    waker: RefCell<Option<Waker>>,
    room: Cell<usize>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            waiting: RefCell::default(),
            waker: RefCell::default(),
            room: Cell::new(QUEUED_EARLY),
        }
    }
}

impl Inbox {
    /// Puts a datagram there, or loses it.
    pub fn put(&self, datagram: Datagram) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.room.get() {
            return;
        }
        waiting.push_back(datagram);
        drop(waiting);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The connection is established.
    pub(super) fn widen(&self) {
        self.room.set(QUEUED);
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> VecDeque<Datagram> {
        self.waiting.take()
    }

    /// Ready when something is there.
    pub(super) fn poll_some(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting.borrow().is_empty() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

type Table = Arc<Mutex<HashMap<ConnectionId, u64>>>;

/// The connections of a worker's socket.
#[derive(Debug)]
pub struct Routes {
    worker: u8,
    /// Shared with the generators of ids, which quinn-proto wants to be `Send`.
    ids: Table,
    inboxes: RefCell<HashMap<u64, Rc<Inbox>>>,
    next: Cell<u64>,
}

impl Routes {
    /// No connections yet, for the worker of this number.
    pub fn new(worker: u8) -> Rc<Self> {
        Rc::new(Self {
            worker,
            ids: Table::default(),
            inboxes: RefCell::default(),
            next: Cell::new(0),
        })
    }

    /// The connection an id belongs to.
    pub fn find(&self, id: &ConnectionId) -> Option<Rc<Inbox>> {
        let key = *lock(&self.ids).get(id)?;
        self.inboxes.borrow().get(&key).cloned()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.inboxes.borrow().is_empty()
    }

    /// Makes a place for a connection that its client calls `id`.
    pub fn open(self: &Rc<Self>, id: ConnectionId) -> Place {
        let key = self.next.get();
        self.next.set(key + 1);
        let inbox = Rc::new(Inbox::default());
        self.inboxes.borrow_mut().insert(key, Rc::clone(&inbox));
        lock(&self.ids).insert(id, key);
        Place {
            routes: Rc::clone(self),
            key,
            first: id,
            given: Arc::default(),
            inbox,
        }
    }

    /// Ids for answers that belong to no connection.
    pub(super) fn stray(&self) -> Generator {
        Generator {
            worker: self.worker,
            key: None,
            ids: Arc::clone(&self.ids),
            given: Arc::default(),
        }
    }
}

/// A connection's place in the table, given up on drop.
#[derive(Debug)]
pub struct Place {
    routes: Rc<Routes>,
    key: u64,
    first: ConnectionId,
    given: Arc<Mutex<VecDeque<ConnectionId>>>,
    inbox: Rc<Inbox>,
}

impl Place {
    /// What comes for it.
    pub fn inbox(&self) -> &Rc<Inbox> {
        &self.inbox
    }

    /// Its ids.
    pub(super) fn generator(&self) -> Generator {
        Generator {
            worker: self.routes.worker,
            key: Some(self.key),
            ids: Arc::clone(&self.routes.ids),
            given: Arc::clone(&self.given),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.routes.inboxes.borrow_mut().remove(&self.key);
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids = lock(&self.routes.ids);
        for id in given.iter().chain([&self.first]) {
            // The client's choice may be another connection's by now.
            if ids.get(id) == Some(&self.key) {
                ids.remove(id);
            }
        }
    }
}

/// Makes the ids of a connection, and enters them.
#[derive(Debug, Clone)]
pub(super) struct Generator {
    worker: u8,
    key: Option<u64>,
    ids: Table,
    given: Arc<Mutex<VecDeque<ConnectionId>>>,
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; ID_BYTES];
        // Without randomness ids repeat, and quinn-proto asks until one is new: then nothing else works either.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        bytes[0] = self.worker;
        let id = ConnectionId::new(&bytes);
        if let Some(key) = self.key {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            let mut ids = lock(&self.ids);
            given.push_back(id);
            if given.len() > IDS_KEPT
                && let Some(oldest) = given.pop_front()
            {
                ids.remove(&oldest);
            }
            ids.insert(id, key);
        }
        id
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.first() == Some(&self.worker) {
            true => Ok(()),
            false => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn lock(table: &Table) -> MutexGuard<'_, HashMap<ConnectionId, u64>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
