//! An established connection: one task drives it, streams read and write.
//!
//! [`Link::drive`] alone touches the network. Streams leave their data with quinn-proto, within its windows, and wake
//! the driver; the driver wakes streams that can go on.

mod stream;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn_proto::{ConnectionError, Dir, Event, StreamEvent, StreamId, VarInt};
use tokio::time::{Duration, Instant, sleep_until};

use super::connection::Core;
use super::routes::Place;
use super::socket::Socket;

/// Transmits of one connection, after which others of the worker have their turn.
const TRANSMITS: usize = 16;
/// The longest sleep of a connection without timers.
const NO_TIMER: Duration = Duration::from_secs(3600);

/// Why there is no connection any more.
pub type Lost = ConnectionError;

/// Why a stream does not go on.
#[derive(Debug)]
pub enum StreamLost {
    /// Nor does any other.
    Connection(Lost),
    /// The client gave it up, with this code.
    Given(u64),
    /// It has ended already.
    Over,
}

/// An established connection.
pub struct Link {
    core: RefCell<Box<Core>>,
    place: Place,
    socket: Rc<Socket>,
    header_bytes: usize,
    /// A stream did something that may have to be sent.
    dirty: Cell<bool>,
    lost: RefCell<Option<Lost>>,
    sleepers: RefCell<Sleepers>,
}

/// Who waits for what.
#[derive(Default)]
struct Sleepers {
    driver: Option<Waker>,
    accepting: [Option<Waker>; 2],
    opening: Option<Waker>,
    reading: HashMap<StreamId, Waker>,
    writing: HashMap<StreamId, Waker>,
    stopping: HashMap<StreamId, Waker>,
    emptying: Option<Waker>,
    /// Answers that the client has not acknowledged to their end.
    unfinished: HashSet<StreamId>,
}

impl Link {
    pub(super) fn new(
        core: Box<Core>,
        place: Place,
        socket: Rc<Socket>,
        header_bytes: usize,
    ) -> Rc<Self> {
        place.inbox().widen();
        Rc::new(Self {
            core: RefCell::new(core),
            place,
            socket,
            header_bytes,
            dirty: Cell::new(true),
            lost: RefCell::default(),
            sleepers: RefCell::default(),
        })
    }

    /// Where the client is now; it may move.
    pub fn remote(&self) -> SocketAddr {
        self.core.borrow().connection.remote_address()
    }

    /// `limits.header_bytes`.
    pub(super) fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// Drives the connection until nothing is left of it.
    pub async fn drive(self: Rc<Self>) {
        let mut contents = Vec::new();
        let mut timer = pin!(sleep_until(Instant::now() + NO_TIMER));
        loop {
            self.dirty.set(false);
            self.core.borrow_mut().advance(self.place.inbox().take());
            self.dispatch();
            let mut sent = 0;
            loop {
                let segments = self.socket.segments();
                let transmit = self.core.borrow_mut().transmit(segments, &mut contents);
                let Some(transmit) = transmit else {
                    break;
                };
                self.socket.send(&transmit, &contents).await;
                sent += 1;
                if sent % TRANSMITS == 0 {
                    tokio::task::yield_now().await;
                    self.core.borrow_mut().advance(self.place.inbox().take());
                    self.dispatch();
                }
            }
            if self.core.borrow().connection.is_drained() {
                return;
            }
            let due = self.core.borrow_mut().connection.poll_timeout();
            let due = due.map_or_else(|| Instant::now() + NO_TIMER, Instant::from_std);
            timer.as_mut().reset(due);
            poll_fn(|cx| {
                let arrived = self.place.inbox().poll_some(cx).is_ready();
                if arrived || self.dirty.get() || timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                self.sleepers.borrow_mut().driver = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }

    /// Wakes whoever can go on.
    fn dispatch(&self) {
        let mut core = self.core.borrow_mut();
        let mut sleepers = self.sleepers.borrow_mut();
        while let Some(event) = core.connection.poll() {
            match event {
                Event::ConnectionLost { reason } => {
                    self.lost.borrow_mut().get_or_insert(reason);
                    sleepers.wake_all();
                }
                Event::Stream(StreamEvent::Opened { dir }) => {
                    wake(&mut sleepers.accepting[dir as usize]);
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    wake(&mut sleepers.reading.remove(&id))
                }
                Event::Stream(StreamEvent::Writable { id }) => {
                    wake(&mut sleepers.writing.remove(&id))
                }
                Event::Stream(StreamEvent::Finished { id }) => sleepers.finished(id),
                Event::Stream(StreamEvent::Stopped { id, .. }) => {
                    wake(&mut sleepers.stopping.remove(&id));
                    wake(&mut sleepers.writing.remove(&id));
                    sleepers.finished(id);
                }
                Event::Stream(StreamEvent::Available { .. }) => wake(&mut sleepers.opening),
                _ => {}
            }
        }
    }

    /// There may be something to send.
    fn touch(&self) {
        self.dirty.set(true);
        wake(&mut self.sleepers.borrow_mut().driver);
    }

    fn lost(&self) -> Option<Lost> {
        self.lost.borrow().clone()
    }

    /// The next stream that the client opened.
    pub(super) fn poll_accept(
        &self,
        dir: Dir,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamId, Lost>> {
        let accepted = self.core.borrow_mut().connection.streams().accept(dir);
        if let Some(id) = accepted {
            self.touch(); // The client may open another one.
            return Poll::Ready(Ok(id));
        }
        if let Some(lost) = self.lost() {
            return Poll::Ready(Err(lost));
        }
        self.sleepers.borrow_mut().accepting[dir as usize] = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A stream of our own, as soon as the client allows it.
    pub(super) fn poll_open(&self, dir: Dir, cx: &mut Context<'_>) -> Poll<Result<StreamId, Lost>> {
        if let Some(lost) = self.lost() {
            return Poll::Ready(Err(lost));
        }
        if let Some(id) = self.core.borrow_mut().connection.streams().open(dir) {
            return Poll::Ready(Ok(id));
        }
        self.sleepers.borrow_mut().opening = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the client has everything that was sent to it, or is gone.
    pub fn poll_delivered(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleepers = self.sleepers.borrow_mut();
        if sleepers.unfinished.is_empty() || self.lost.borrow().is_some() {
            return Poll::Ready(());
        }
        sleepers.emptying = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the connection; what was not delivered is lost.
    pub fn close(&self, code: u64, reason: &[u8]) {
        if self.lost.borrow().is_some() {
            return;
        }
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        let now = std::time::Instant::now();
        let mut core = self.core.borrow_mut();
        core.connection
            .close(now, code, Bytes::copy_from_slice(reason));
        drop(core);
        *self.lost.borrow_mut() = Some(ConnectionError::LocallyClosed);
        self.sleepers.borrow_mut().wake_all();
        self.touch();
    }
}

impl Sleepers {
    fn finished(&mut self, id: StreamId) {
        self.unfinished.remove(&id);
        if self.unfinished.is_empty() {
            wake(&mut self.emptying);
        }
    }

    fn wake_all(&mut self) {
        let all = std::mem::take(self);
        let one = all
            .accepting
            .into_iter()
            .chain([all.driver, all.opening, all.emptying]);
        let many = all.reading.into_values().chain(all.writing.into_values());
        one.flatten()
            .chain(many)
            .chain(all.stopping.into_values())
            .for_each(Waker::wake);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}
