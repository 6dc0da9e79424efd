//! One thread that makes load: its runtime, clients, connections, and counts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, sleep_until, timeout};

use super::clients::Clients;
use super::failure::Failure;
use super::http1::{self, Answer};
use super::pacer::Pacer;
use super::slot::{self, Done, Slot};
use super::socket::Dialer;
use super::tally::{Bytes, Tally};
use super::{Pace, Plan};
use crate::cost;

/// How often counts are handed over.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);
/// After a failure in a closed loop, so that a server that refuses is not flooded.
const PAUSE: Duration = Duration::from_millis(5);
/// Connections at the same time that collect sessions.
const COLLECTORS: usize = 32;
/// So many failures, and no session, are enough.
const GIVE_UP: usize = 100;

/// What all threads are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Get ready.
    Prepare,
    /// Make load from now on, and count it within the window.
    Go(Window),
    /// Over before its time.
    Stop,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

/// What a thread tells.
#[derive(Debug)]
pub(super) enum Note {
    /// It can begin.
    Ready,
    /// Counts of the interval of this number.
    Interval(usize, Box<Tally>),
    /// The rest.
    Over(Box<Last>),
    /// It could not begin.
    Failed(anyhow::Error),
}

/// What is known when a thread is done.
#[derive(Debug)]
pub(super) struct Last {
    /// What ended after the window, or never: its latencies and failures count.
    pub(super) tally: Tally,
    /// CPU time of the thread within the window.
    pub(super) cpu: Duration,
    /// Units that were going on at the end.
    pub(super) open: usize,
}

/// What a thread is to do.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) plan: Arc<Plan>,
    /// Which thread of the crew it is: what it tells is heard under this number.
    pub(super) number: usize,
    /// Which thread of its plan it is.
    pub(super) index: usize,
    pub(super) signals: watch::Receiver<Signal>,
    pub(super) notes: mpsc::UnboundedSender<(usize, Note)>,
}

impl Orders {
    fn tell(&self, note: Note) {
        // Nobody listens any more where the run was given up.
        let _ = self.notes.send((self.number, note));
    }
}

/// The life of a thread that makes load.
pub(super) fn work(mut orders: Orders) {
    if let Err(error) = try_work(&mut orders) {
        orders.tell(Note::Failed(error));
    }
}

fn try_work(orders: &mut Orders) -> anyhow::Result<()> {
    let plan = &orders.plan;
    if let Some(core) = plan.cores.get(orders.index % plan.cores.len().max(1)) {
        cost::pin(&[*core])?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let worker = Rc::new(Worker::new(Arc::clone(&orders.plan), orders.index)?);
        worker.live(orders).await
    })
}

/// What the connections of a thread share.
#[derive(Debug)]
pub(super) struct Worker {
    plan: Arc<Plan>,
    index: usize,
    clients: Clients,
    dialer: Dialer,
    requests: Vec<Vec<u8>>,
    pacer: Rc<Pacer>,
    tally: RefCell<Tally>,
    bytes: Bytes,
    /// None before the window.
    begin: Cell<Option<Instant>>,
    ready: Semaphore,
    /// Units that go on.
    open: Cell<usize>,
}

impl Worker {
    pub(super) fn new(plan: Arc<Plan>, index: usize) -> anyhow::Result<Self> {
        let per_second = match plan.pace {
            Pace::Closed => None,
            Pace::Open { per_second } => Some(per_second / plan.threads as f64),
        };
        // Threads, and programs one after the other, begin elsewhere.
        let first = std::process::id().wrapping_add(index as u32 * 251);
        Ok(Self {
            clients: Clients::new(&plan, index)?,
            dialer: Dialer::new(plan.target.address(), first),
            requests: http1::requests(&plan),
            pacer: Rc::new(Pacer::new(per_second)),
            tally: RefCell::new(Tally::new()),
            bytes: Bytes::default(),
            begin: Cell::new(None),
            ready: Semaphore::new(0),
            open: Cell::new(0),
            plan,
            index,
        })
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The request for the server name of this number.
    pub(super) fn request(&self, name: usize) -> &[u8] {
        &self.requests[name % self.requests.len()]
    }

    /// The request for the server name of this number, with an absolute URI.
    pub(super) fn uri_request(&self, name: usize) -> http::Request<()> {
        let names = self.plan.names();
        let target = &self.plan.target;
        let authority = target.authority(&names[name % names.len()]);
        let mut request = http::Request::new(());
        // A target is made of a URI that was parsed, and its path is that of one.
        if let Ok(uri) = format!("https://{authority}{}", target.path()).parse() {
            *request.uri_mut() = uri;
        }
        request
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// This thread's share of so many.
    pub(super) fn share(&self, of: usize) -> usize {
        let threads = self.plan.threads;
        of / threads + usize::from(self.index < of % threads)
    }

    async fn live(self: &Rc<Self>, orders: &mut Orders) -> anyhow::Result<()> {
        self.collect_sessions().await;
        let slots = Slot::all(self, self.share(self.plan.concurrency));
        let count = u32::try_from(slots.len())?;
        let mut running = JoinSet::new();
        for slot in slots {
            running.spawn_local(Rc::clone(self).turn(slot));
        }
        // What is not there by then is opened on the way.
        let _ = timeout(self.plan.timeout, self.ready.acquire_many(count)).await;
        orders.tell(Note::Ready);
        let Some(window) = begin_of(&mut orders.signals).await else {
            return Ok(());
        };
        self.pacer.begin(Instant::now() + self.offset())?;
        let mut stopped = orders.signals.clone();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|signal| *signal == Signal::Stop) => {}
            () = sleep_until(window.begin.into()) => self.window(window, orders).await,
        }
        running.abort_all();
        Ok(())
    }

    /// So that the starts of all threads are spread evenly.
    fn offset(&self) -> Duration {
        match self.plan.pace {
            Pace::Closed => Duration::ZERO,
            Pace::Open { per_second } => Duration::from_secs_f64(self.index as f64 / per_second),
        }
    }

    /// Counts from the begin of the window to its end.
    async fn window(self: &Rc<Self>, window: Window, orders: &Orders) {
        let cpu = cost::thread_cpu();
        self.tally.borrow_mut().take();
        self.bytes.take();
        self.begin.set(Some(window.begin));
        let mut stopped = orders.signals.clone();
        let mut over = window.end;
        for number in 0.. {
            let next = window.begin + INTERVAL * (number + 1);
            let end = next.min(window.end);
            tokio::select! {
                biased;
                _ = stopped.wait_for(|signal| *signal == Signal::Stop) => over = Instant::now(),
                () = sleep_until(end.into()) => {}
            }
            let mut tally = self.tally.borrow_mut().take();
            tally.bytes = self.bytes.take();
            orders.tell(Note::Interval(number as usize, Box::new(tally)));
            if end == window.end || over < window.end {
                break;
            }
        }
        let cpu = cost::thread_cpu().saturating_sub(cpu);
        let open = self.open.get();
        let late = self.pacer.late(over);
        self.pacer.end();
        for due in late.into_iter().filter(|due| *due >= window.begin) {
            let mut tally = self.tally.borrow_mut();
            tally.took(over.saturating_duration_since(due));
            tally.failed(&Failure::Late);
        }
        if matches!(self.plan.pace, Pace::Open { .. }) && over == window.end {
            // Those that were started in time tell how long they took.
            let idle = async {
                while self.open.get() > 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|signal| *signal == Signal::Stop) => {}
                _ = timeout(self.plan.timeout, idle) => {}
            }
        }
        let tally = self.tally.borrow_mut().take();
        orders.tell(Note::Over(Box::new(Last { tally, cpu, open })));
    }

    /// One slot, from its first unit to its last.
    async fn turn(self: Rc<Self>, mut slot: Slot) {
        let _ = timeout(self.plan.timeout, slot.prepare(&self)).await;
        self.ready.add_permits(1);
        while let Some(start) = self.pacer.next().await {
            self.open.set(self.open.get() + 1);
            let outcome = timeout(self.plan.timeout, slot.unit(&self)).await;
            self.open.set(self.open.get() - 1);
            let outcome = outcome.unwrap_or(Err(Failure::Timeout));
            let failed = outcome.is_err();
            self.count(start, outcome);
            if failed && self.plan.pace == Pace::Closed {
                sleep(PAUSE).await;
            }
        }
    }

    fn count(&self, start: Instant, outcome: Result<Done, Failure>) {
        let Some(begin) = self.begin.get() else {
            return;
        };
        let mut tally = self.tally.borrow_mut();
        match outcome {
            Ok(done) => {
                tally.done(done.handshake);
                // In an open loop what was to start before the window is not measured, only done.
                if start >= begin || self.plan.pace == Pace::Closed {
                    tally.took(done.at.saturating_duration_since(start));
                }
            }
            Err(failure) => tally.failed(&failure),
        }
    }

    /// Full handshakes until every client has a session for each of its connections.
    pub(super) async fn collect_sessions(self: &Rc<Self>) {
        if self.plan.tls.resume > 0.0 {
            let owners = self.clients.owners();
            let slots = self.share(self.plan.concurrency);
            let left = Rc::new(Cell::new(owners * (slots.div_ceil(owners) + 1)));
            let failures = Rc::new(Cell::new(0));
            let mut running = JoinSet::new();
            for _ in 0..COLLECTORS.min(slots) {
                let (worker, left) = (Rc::clone(self), Rc::clone(&left));
                running.spawn_local(worker.collect(left, Rc::clone(&failures)));
            }
            while running.join_next().await.is_some() {}
        }
        self.clients.offer();
    }

    async fn collect(self: Rc<Self>, left: Rc<Cell<usize>>, failures: Rc<Cell<usize>>) {
        let mut answer = Answer::default();
        while left.get() > 0 && failures.get() < GIVE_UP {
            left.set(left.get() - 1);
            let unit = async {
                // With a request, for some servers send tickets only when they have to send something.
                let (connection, _) = slot::request(&self, &mut answer).await?;
                connection.close().await
            };
            match timeout(self.plan.timeout, unit).await {
                // Whatever the answer: the session counts.
                Ok(Ok(()) | Err(Failure::Status(_))) => failures.set(0),
                _ => failures.set(failures.get() + 1),
            }
        }
    }
}

/// The window, once it is known; none where it will not come.
async fn begin_of(signals: &mut watch::Receiver<Signal>) -> Option<Window> {
    let signal = signals.wait_for(|signal| *signal != Signal::Prepare).await;
    match *signal.ok()? {
        Signal::Go(window) => Some(window),
        _ => None,
    }
}
