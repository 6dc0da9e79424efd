//! The data workers: one thread, one runtime, one set of sockets each.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis_config::Listener;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::ServerError;
use crate::drain::{Drain, Draining};
use crate::listener::{quic, tcp};
use crate::proxy::{Left, Shared, Worker};

/// Log lines and idle connections are looked after this often.
const TICK: Duration = Duration::from_millis(100);
/// And so soon again where a look left something: a fifth of the worker's time, at most, is spent on looks.
const SOON: Duration = Duration::from_millis(10);
/// How often a drain looks whether everybody left.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long a worker may take to end after it was told.
const JOIN_LIMIT: Duration = Duration::from_secs(2);

/// What a worker is told.
enum Order {
    /// Accept on this socket until the stop signal.
    Listen {
        name: Arc<str>,
        socket: std::net::TcpListener,
        stop: watch::Receiver<bool>,
    },
    /// Serve HTTP/3 on this socket.
    Quic {
        name: Arc<str>,
        seat: quic::Seat,
        stop: watch::Receiver<bool>,
    },
}

/// All workers, and the listeners they serve.
pub(super) struct Workers {
    orders: Vec<mpsc::UnboundedSender<Order>>,
    threads: Vec<thread::JoinHandle<()>>,
    open: Vec<OpenListener>,
    drain: Drain,
    shared: Arc<Shared>,
}

/// A bind address in use, with one socket for each worker.
pub(super) struct OpenListener {
    name: Arc<str>,
    /// As configured; the port may be 0.
    bind: SocketAddr,
    address: SocketAddr,
    sockets: Vec<std::net::TcpListener>,
    /// For HTTP/3.
    seats: Vec<quic::Seat>,
    http3: bool,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// Starts the threads.
    pub(super) fn start(
        count: Option<NonZeroUsize>,
        shared: &Arc<Shared>,
    ) -> Result<Self, ServerError> {
        let available = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let count = count.unwrap_or(available).get();
        let (drain, draining) = Drain::new();
        let (mut orders, mut threads) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for index in 0..count {
            let (sender, receiver) = mpsc::unbounded_channel();
            let (shared, draining) = (Arc::clone(shared), draining.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || work(shared, draining, receiver))
                .map_err(|error| ServerError::System("worker thread", error))?;
            orders.push(sender);
            threads.push(thread);
        }
        tracing::info!(workers = count, "started");
        Ok(Self {
            orders,
            threads,
            open: Vec::new(),
            drain,
            shared: Arc::clone(shared),
        })
    }

    /// Opens the sockets of all listeners and begins to accept.
    pub(super) fn listen(&mut self, listeners: &[Listener]) -> Result<(), ServerError> {
        let opened = self.open_new(listeners)?;
        self.switch(listeners, opened);
        Ok(())
    }

    /// Opens sockets for listeners that are not served yet, without accepting on them.
    pub(super) fn open_new(
        &self,
        listeners: &[Listener],
    ) -> Result<Vec<OpenListener>, ServerError> {
        let new = listeners
            .iter()
            .filter(|listener| !self.open.iter().any(|open| open.serves(listener)));
        new.map(|listener| self.open_one(listener)).collect()
    }

    fn open_one(&self, listener: &Listener) -> Result<OpenListener, ServerError> {
        let bind = listener.bind.value;
        let failed = |error| ServerError::Bind(bind, error);
        let first = tcp::bind(bind).map_err(failed)?;
        let address = first.local_addr().map_err(failed)?;
        let mut sockets = vec![first];
        for _ in 1..self.orders.len() {
            sockets.push(tcp::bind(address).map_err(failed)?);
        }
        let http3 = listener.http3.is_some();
        let seats = match http3 {
            true => quic::open(address, self.orders.len()).map_err(failed)?,
            false => Vec::new(),
        };
        let (stop, _) = watch::channel(false);
        Ok(OpenListener {
            name: listener.name.as_str().into(),
            bind,
            address,
            sockets,
            seats,
            http3,
            stop,
        })
    }

    /// Stops listeners that are no longer wanted and begins to accept on the opened ones.
    pub(super) fn switch(&mut self, listeners: &[Listener], opened: Vec<OpenListener>) {
        self.open.retain(|open| {
            let wanted = listeners.iter().any(|listener| open.serves(listener));
            if !wanted {
                open.stop.send_replace(true);
            }
            wanted
        });
        for mut listener in opened {
            for (worker, socket) in self
                .orders
                .iter()
                .zip(std::mem::take(&mut listener.sockets))
            {
                let order = Order::Listen {
                    name: Arc::clone(&listener.name),
                    socket,
                    stop: listener.stop.subscribe(),
                };
                if worker.send(order).is_err() {
                    tracing::error!(listener = %listener.name, "a worker is gone; restart the gateway");
                }
            }
            let seats = std::mem::take(&mut listener.seats);
            for (worker, seat) in self.orders.iter().zip(seats) {
                let (name, stop) = (Arc::clone(&listener.name), listener.stop.subscribe());
                // Who is gone was complained about above.
                let _ = worker.send(Order::Quic { name, seat, stop });
            }
            tracing::info!(listener = %listener.name, address = %listener.address, "listening");
            if listener.http3 {
                tracing::info!(listener = %listener.name, "http/3 on the same address over UDP");
            }
            self.open.push(listener);
        }
    }

    /// Names and real addresses.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.open
            .iter()
            .map(|open| (open.name.to_string(), open.address))
            .collect()
    }

    /// Stops accepting, tells every connection, and waits. Says how many connections were left behind.
    pub(super) async fn drain(&mut self, limit: Duration) -> usize {
        for open in &self.open {
            open.stop.send_replace(true);
        }
        self.drain.start();
        let deadline = Instant::now() + limit;
        // The last connections of a kernel queue are accepted within the first looks.
        tokio::time::sleep(DRAIN_LOOK * 2).await;
        while self.shared.connections.used() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        let left_behind = self.shared.connections.used();
        // No more orders: the workers cut what is left, hand over their last log lines and end.
        self.orders.clear();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(|| {
            threads.into_iter().for_each(|thread| drop(thread.join()))
        });
        if tokio::time::timeout(JOIN_LIMIT, joined).await.is_err() {
            tracing::warn!("a worker did not end in time");
        }
        left_behind
    }
}

impl OpenListener {
    fn serves(&self, listener: &Listener) -> bool {
        *self.name == *listener.name
            && self.bind == listener.bind.value
            && self.http3 == listener.http3.is_some()
    }
}

/// The life of a worker thread.
fn work(shared: Arc<Shared>, draining: Draining, mut orders: mpsc::UnboundedReceiver<Order>) {
    let runtime = match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "no runtime for a worker"),
    };
    let worker = runtime.block_on(serve_orders(shared, draining, &mut orders));
    // Cut connections write their lines while they are dropped.
    drop(runtime);
    worker.access.hand_over();
    worker.refusals.hand_over();
}

async fn serve_orders(
    shared: Arc<Shared>,
    draining: Draining,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> Rc<Worker> {
    let worker = Worker::new(shared, draining);
    let keeper = Rc::clone(&worker);
    tokio::task::spawn_local(async move { keeper.turns.keep().await });
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Listen { name, socket, stop }) => {
                    if let Err(error) = accept(name, socket, stop, &worker) {
                        tracing::error!(%error, "a worker cannot accept");
                    }
                }
                Some(Order::Quic { name, seat, stop }) => {
                    let worker = Rc::clone(&worker);
                    tokio::task::spawn_local(async move {
                        if let Err(error) = quic::serve(seat, name, worker, stop).await {
                            tracing::error!(%error, "a worker cannot serve HTTP/3");
                        }
                    });
                }
                None => return worker,
            },
            _ = tick.tick() => if worker.tick() == Left::Some {
                tick.reset_after(SOON);
            },
        }
    }
}

fn accept(
    name: Arc<str>,
    socket: std::net::TcpListener,
    stop: watch::Receiver<bool>,
    worker: &Rc<Worker>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    tokio::task::spawn_local(tcp::accept_all(listener, name, Rc::clone(worker), stop));
    Ok(())
}
