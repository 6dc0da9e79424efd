//! Connections that stay open and do nothing: what the server's memory grows by, and how many it keeps.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::Plan;
use super::connection::Connection;
use super::crew::{Measured, on_its_own_thread, uninterrupted};
use super::failure::Failure;
use super::http1::Answer;
use super::slot;
use super::tally::Tally;
use super::worker::Worker;
use crate::cost::{self, Meter};
use crate::report::model::{LoadCost, Point};
use crate::report::watch::Watcher;

/// Connections a thread opens at the same time.
const OPENING: usize = 16;

/// What came out.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) measured: Measured,
    /// Memory the server had before.
    pub(super) rss_before_kib: Option<u64>,
    /// Connections that were open at the same time.
    pub(super) opened: u64,
}

/// What threads are told, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    WarmUp,
    Open,
    Look,
    End,
}

/// Opens the connections of the plan, holds them, and looks what is left.
pub(super) fn hold(plan: &Plan, watcher: &dyn Watcher) -> anyhow::Result<Held> {
    on_its_own_thread(plan, async || conduct(plan, watcher).await)
}

async fn conduct(plan: &Plan, watcher: &dyn Watcher) -> anyhow::Result<Held> {
    let started = time::OffsetDateTime::now_utc();
    let mut crew = Crew::start(plan)?;
    let mut interrupted = !crew.step(Step::WarmUp).await?;
    let rss_before_kib = plan.server.as_ref().and_then(cost::Server::rss_kib);
    let own = cost::process_cpu();
    let meter = Meter::begin(plan.server.as_ref(), plan.metrics.as_ref())?;
    let begun = Instant::now();
    interrupted |= !interrupted && !crew.step(Step::Open).await?;
    let opened_after = begun.elapsed();
    let opened = crew.tally.done;
    let point = Point {
        second: opened_after.as_secs_f64(),
        done: opened,
        errors: crew.tally.failures(),
        ..Point::default()
    };
    watcher.point(&point, 0.5, &crew.tally.errors);
    interrupted |= !interrupted && !uninterrupted(sleep(plan.duration)).await;
    let server = meter.end();
    let own = cost::process_cpu().saturating_sub(own);
    crew.tally.done = 0;
    // Also after Ctrl-C: what is left is known at once.
    crew.step(Step::Look).await?;
    watcher.point(&point, 1.0, &crew.tally.errors);
    let threads = crew.threads.len();
    let load = crew.end();
    Ok(Held {
        measured: Measured {
            started,
            // How fast they were opened; holding them is no work.
            seconds: opened_after.as_secs_f64(),
            load,
            bystander: Tally::new(),
            series: vec![point],
            server,
            cost: LoadCost {
                cpu_seconds: own.as_secs_f64(),
                threads,
                busiest: 0.0,
            },
            interrupted,
        },
        rss_before_kib,
        opened,
    })
}

struct Crew {
    threads: Vec<thread::JoinHandle<()>>,
    steps: watch::Sender<Option<Step>>,
    notes: mpsc::UnboundedReceiver<anyhow::Result<Tally>>,
    tally: Tally,
}

impl Crew {
    fn start(plan: &Plan) -> anyhow::Result<Self> {
        let mut plan = plan.clone();
        plan.threads = plan.threads.min(plan.concurrency);
        let plan = Arc::new(plan);
        let (steps, listen) = watch::channel(None);
        let (tell, notes) = mpsc::unbounded_channel();
        let start = |index| {
            let (plan, listen, tell) = (Arc::clone(&plan), listen.clone(), tell.clone());
            let named = thread::Builder::new().name(format!("load-{index}"));
            named.spawn(move || {
                if let Err(error) = work(plan, index, listen, &tell) {
                    // Nobody listens any more where the run was given up.
                    let _ = tell.send(Err(error));
                }
            })
        };
        let threads = (0..plan.threads).map(start).collect::<Result<_, _>>();
        Ok(Self {
            threads: threads.context("start a thread")?,
            steps,
            notes,
            tally: Tally::new(),
        })
    }

    /// Has every thread do this; false where Ctrl-C came first.
    async fn step(&mut self, step: Step) -> anyhow::Result<bool> {
        self.steps.send_replace(Some(step));
        for _ in 0..self.threads.len() {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => return Ok(false),
                note = self.notes.recv() => match note {
                    Some(tally) => self.tally.add(&tally?),
                    None => bail!("a thread ended before its time"),
                },
            }
        }
        Ok(true)
    }

    fn end(self) -> Tally {
        self.steps.send_replace(Some(Step::End));
        for thread in self.threads {
            // It has told all it had to tell.
            let _ = thread.join();
        }
        self.tally
    }
}

fn work(
    plan: Arc<Plan>,
    index: usize,
    mut steps: watch::Receiver<Option<Step>>,
    tell: &mpsc::UnboundedSender<anyhow::Result<Tally>>,
) -> anyhow::Result<()> {
    if let Some(core) = plan.cores.get(index % plan.cores.len().max(1)) {
        cost::pin(&[*core])?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let worker = Rc::new(Worker::new(Arc::clone(&plan), index)?);
        let mut held = Vec::new();
        let mut last = None;
        loop {
            let told = steps.wait_for(|step| *step > last).await;
            last = match told {
                Ok(step) => *step,
                Err(_) => return Ok(()),
            };
            let tally = match last {
                // The server's first connection makes it load what it needs once.
                Some(Step::WarmUp) => {
                    worker.collect_sessions().await;
                    open(&worker, 1).await;
                    Tally::new()
                }
                Some(Step::Open) => {
                    let (open, tally) = open(&worker, worker.share(plan.concurrency)).await;
                    held = open;
                    tally
                }
                Some(Step::Look) => look(&mut held).await,
                _ => return Ok(()),
            };
            let _ = tell.send(Ok(tally));
        }
    })
}

/// So many connections, each after one request.
async fn open(worker: &Rc<Worker>, count: usize) -> (Vec<Connection>, Tally) {
    let left = Rc::new(Cell::new(count));
    let mut running = JoinSet::new();
    for _ in 0..OPENING.min(count) {
        let (worker, left) = (Rc::clone(worker), Rc::clone(&left));
        running.spawn_local(async move {
            let (mut opened, mut tally) = (Vec::new(), Tally::new());
            let mut answer = Answer::default();
            while left.get() > 0 {
                left.set(left.get() - 1);
                let start = Instant::now();
                let opening = slot::request(&worker, &mut answer);
                match timeout(worker.plan().timeout, opening).await {
                    Ok(Ok((connection, at))) => {
                        tally.done(connection.handshake_kind());
                        tally.took(at - start);
                        opened.push(connection);
                    }
                    Ok(Err(failure)) => tally.failed(&failure),
                    Err(_) => tally.failed(&Failure::Timeout),
                }
            }
            (opened, tally)
        });
    }
    let (mut opened, mut tally) = (Vec::new(), Tally::new());
    while let Some(one) = running.join_next().await {
        if let Ok((more, counts)) = one {
            opened.extend(more);
            tally.add(&counts);
        }
    }
    tally.bytes = worker.bytes().take();
    (opened, tally)
}

/// Counts those that are still open as done, the others as failures.
async fn look(held: &mut [Connection]) -> Tally {
    let mut tally = Tally::new();
    for connection in held {
        match connection.is_gone().await {
            true => tally.failed(&Failure::Gone),
            false => tally.done(None),
        }
    }
    tally
}
