//! UDP listeners: every worker has its own socket for each bind address (SO_REUSEPORT).
//!
//! The kernel spreads clients over the sockets by their addresses. A client that moves keeps its connection: the id in
//! its datagrams begins with the number of the worker, and whoever gets them hands them on. What does not fit into a
//! queue is lost, as any datagram may be.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::admit;
use crate::connection::{self, Udp};
use crate::proxy::Worker;
use crate::quic::{self, Arrival, Buffers, Datagram, Destination, Keys, Routes, Socket, Stray};

/// Datagrams on their way from one worker to another.
const HANDED_ON: usize = 1024;
/// The least a client's first datagram holds (RFC 9000, section 14.1).
const FIRST: usize = 1200;
/// Rest after a read that failed.
const RECEIVE_REST: Duration = Duration::from_millis(50);
/// How often a socket that is no longer wanted is asked whether it is needed.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// A worker's part of a listener.
#[derive(Debug)]
pub struct Seat {
    socket: std::net::UdpSocket,
    worker: u8,
    keys: Keys,
    inbox: mpsc::Receiver<Datagram>,
    /// Of all workers, by number.
    workers: Arc<[mpsc::Sender<Datagram>]>,
}

/// Opens the sockets of a listener, one for each worker.
pub fn open(address: SocketAddr, workers: usize) -> io::Result<Vec<Seat>> {
    let keys = Keys::random().ok_or_else(|| io::Error::other("no randomness for QUIC keys"))?;
    // A connection id has one byte for its worker.
    let workers = workers.min(usize::from(u8::MAX));
    let (senders, inboxes): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| mpsc::channel(HANDED_ON)).unzip();
    let senders: Arc<[_]> = senders.into();
    let seats = inboxes.into_iter().zip(0..).map(|(inbox, worker)| {
        Ok(Seat {
            socket: quic::bind(address)?,
            worker,
            keys: keys.clone(),
            inbox,
            workers: Arc::clone(&senders),
        })
    });
    seats.collect()
}

/// Serves until `stop` says so, and then whoever is connected, to the last.
pub async fn serve(
    seat: Seat,
    name: Arc<str>,
    worker: Rc<Worker>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let routes = Routes::new(seat.worker);
    let mut inbox = seat.inbox;
    let mut post = Post {
        stray: Stray::new(&seat.keys, &routes),
        udp: Udp {
            socket: Rc::new(Socket::new(seat.socket)?),
            keys: seat.keys,
        },
        number: seat.worker,
        workers: seat.workers,
        stopping: false,
        routes,
        name,
        worker,
    };
    let socket = Rc::clone(&post.udp.socket);
    let mut buffers = Buffers::default();
    let mut look = tokio::time::interval(LAST_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = socket.receive(&mut buffers, |datagram| post.deliver(datagram, From::Network)) => {
                if let Err(error) = received {
                    tracing::error!(%error, listener = %post.name, "receive failed");
                    tokio::time::sleep(RECEIVE_REST).await;
                }
            }
            Some(datagram) = inbox.recv() => post.deliver(datagram, From::Worker),
            _ = stop.wait_for(|stop| *stop), if !post.stopping => post.stopping = true,
            _ = look.tick(), if post.stopping => if post.routes.is_empty() {
                return Ok(());
            },
        }
    }
}

/// Where a datagram comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Network,
    Worker,
}

/// Brings datagrams to their connections.
struct Post {
    udp: Udp,
    routes: Rc<Routes>,
    stray: Stray,
    number: u8,
    workers: Arc<[mpsc::Sender<Datagram>]>,
    stopping: bool,
    name: Arc<str>,
    worker: Rc<Worker>,
}

impl Post {
    fn deliver(&mut self, datagram: Datagram, from: From) {
        let Some(to) = quic::destination(&datagram.data) else {
            return;
        };
        if let Some(inbox) = self.routes.find(&to.id) {
            return inbox.put(datagram);
        }
        if to.begins {
            if !self.stopping && datagram.data.len() >= FIRST {
                self.begin(datagram, to);
            }
            return;
        }
        let owner = to.id.first().copied().unwrap_or(self.number);
        if owner != self.number && from == From::Network {
            if let Some(owner) = self.workers.get(usize::from(owner)) {
                let _ = owner.try_send(datagram); // Full, or gone: lost.
            }
        } else if !to.long {
            self.stray.reset(datagram, &self.udp.socket);
        }
    }

    fn begin(&self, datagram: Datagram, to: Destination) {
        let socket = &self.udp.socket;
        let arrival = Arrival::new((datagram, to.id), &self.routes, (&self.udp.keys, socket));
        let Some(arrival) = arrival else {
            return;
        };
        let shared = &self.worker.shared;
        // In a crowd only those are served who are where they say they are: a flood of made-up addresses signs nothing.
        if shared.handshakes.is_crowded() && arrival.may_retry() {
            shared.metrics.accept_pauses.inc();
            return arrival.retry(socket);
        }
        let Some((slot, open)) = admit(arrival.remote(), &self.name, &self.worker) else {
            return arrival.refuse(socket);
        };
        let (udp, name, worker) = (
            self.udp.clone(),
            Arc::clone(&self.name),
            Rc::clone(&self.worker),
        );
        tokio::task::spawn_local(async move {
            let _open = open;
            connection::run_quic(arrival, udp, name, worker, slot).await;
        });
    }
}
