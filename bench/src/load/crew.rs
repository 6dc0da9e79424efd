//! All threads of a run: started, told when, listened to, and their counts put together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::Plan;
use super::failure::Failure;
use super::tally::Tally;
use super::worker::{INTERVAL, Note, Orders, Signal, Window, work};
use crate::cost::{self, Meter, Spent};
use crate::report::model::{LoadCost, Point};
use crate::report::watch::Watcher;

/// How long threads may take to get ready: sessions of a hundred thousand clients are collected first.
const PREPARATION: Duration = Duration::from_secs(300);
/// How long after the deadline of the last unit threads may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// What came out.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) started: time::OffsetDateTime,
    pub(super) seconds: f64,
    /// What the main load counted.
    pub(super) load: Tally,
    /// What the bystander counted.
    pub(super) bystander: Tally,
    pub(super) series: Vec<Point>,
    pub(super) server: Option<Spent>,
    pub(super) cost: LoadCost,
    pub(super) interrupted: bool,
}

/// Runs the load of `plan`, and beside it that of the bystander.
pub(super) fn measure(
    plan: &Plan,
    bystander: Option<&Plan>,
    watcher: &dyn Watcher,
) -> anyhow::Result<Measured> {
    on_its_own_thread(plan, async || {
        Crew::start(plan, bystander)?.conduct(watcher).await
    })
}

/// Conducts a run on a thread of its own: the caller may be within a runtime, and its affinity is its own affair.
pub(super) fn on_its_own_thread<T: Send>(
    plan: &Plan,
    conduct: impl AsyncFnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    thread::scope(|scope| {
        let conducting = scope.spawn(|| {
            if !plan.cores.is_empty() {
                cost::pin(&plan.cores)?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(conduct())
        });
        match conducting.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The threads, and what is known of them.
struct Crew<'a> {
    plan: &'a Plan,
    /// How many threads make the main load; those behind are bystanders.
    loading: usize,
    threads: Vec<thread::JoinHandle<()>>,
    signals: watch::Sender<Signal>,
    notes: mpsc::UnboundedReceiver<(usize, Note)>,
    load: Tally,
    bystander: Tally,
    intervals: BTreeMap<usize, (usize, Tally)>,
    series: Vec<Point>,
    cpu: Vec<Duration>,
    open: usize,
    over: usize,
}

impl<'a> Crew<'a> {
    fn start(plan: &'a Plan, bystander: Option<&Plan>) -> anyhow::Result<Self> {
        let mut main = plan.clone();
        // A thread without a connection would only divide the rate.
        main.threads = plan.threads.min(plan.concurrency);
        let loading = main.threads;
        let (signals, listen) = watch::channel(Signal::Prepare);
        let (tell, notes) = mpsc::unbounded_channel();
        let main = Arc::new(main);
        let mut plans: Vec<_> = (0..loading).map(|_| Arc::clone(&main)).collect();
        plans.extend(bystander.cloned().map(Arc::new));
        let mut threads = Vec::new();
        for (number, plan) in plans.into_iter().enumerate() {
            let orders = Orders {
                number,
                // The bystander is the only thread of its plan.
                index: if number < loading { number } else { 0 },
                plan,
                signals: listen.clone(),
                notes: tell.clone(),
            };
            let named = thread::Builder::new().name(format!("load-{number}"));
            threads.push(
                named
                    .spawn(move || work(orders))
                    .context("start a thread")?,
            );
        }
        Ok(Self {
            plan,
            loading,
            threads,
            signals,
            notes,
            load: Tally::new(),
            bystander: Tally::new(),
            intervals: BTreeMap::new(),
            series: Vec::new(),
            cpu: Vec::new(),
            open: 0,
            over: 0,
        })
    }

    async fn conduct(mut self, watcher: &dyn Watcher) -> anyhow::Result<Measured> {
        let started = time::OffsetDateTime::now_utc();
        let mut interrupted = !self.get_ready().await?;
        let begin = Instant::now() + self.plan.warmup;
        let end = begin + self.plan.duration;
        if !interrupted {
            self.signals.send_replace(Signal::Go(Window { begin, end }));
            interrupted = !uninterrupted(sleep_until(begin.into())).await;
        }
        let own = cost::process_cpu();
        let begun = Instant::now();
        let meter = Meter::begin(self.plan.server.as_ref(), self.plan.metrics.as_ref())?;
        if !interrupted {
            let listening = self.listen_until(end, watcher);
            interrupted = !uninterrupted(listening).await;
        }
        let ended = Instant::now();
        let spent = meter.end();
        let own = cost::process_cpu().saturating_sub(own);
        let seconds = (ended - begun).as_secs_f64();
        if interrupted {
            self.signals.send_replace(Signal::Stop);
        }
        let patience = self.plan.timeout + GRACE;
        let rest = self.listen_to_the_rest(watcher);
        if !uninterrupted(timeout(patience, rest)).await {
            interrupted = true;
        }
        self.signals.send_replace(Signal::Stop);
        self.threads.drain(..).for_each(|thread| {
            // It has told all it had to tell.
            let _ = thread.join();
        });
        Ok(self.outcome(Outcome {
            started,
            seconds,
            own,
            server: spent,
            interrupted,
        }))
    }

    /// Whether all are; false where it was interrupted.
    async fn get_ready(&mut self) -> anyhow::Result<bool> {
        let mut ready = 0;
        let end = Instant::now() + PREPARATION;
        while ready < self.threads.len() {
            let note = tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => return Ok(false),
                () = sleep_until(end.into()) => bail!("not ready to begin after {PREPARATION:?}"),
                note = self.notes.recv() => note,
            };
            match note {
                Some((_, Note::Failed(error))) => return Err(error),
                Some(_) => ready += 1,
                None => bail!("a thread ended before it began"),
            }
        }
        Ok(true)
    }

    async fn listen_until(&mut self, end: Instant, watcher: &dyn Watcher) {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(end.into()) => return,
                note = self.notes.recv() => match note {
                    Some((number, note)) => self.hear(number, note, watcher),
                    None => return,
                },
            }
        }
    }

    async fn listen_to_the_rest(&mut self, watcher: &dyn Watcher) {
        while self.over < self.threads.len() {
            match self.notes.recv().await {
                Some((number, note)) => self.hear(number, note, watcher),
                None => return,
            }
        }
    }

    fn hear(&mut self, number: usize, note: Note, watcher: &dyn Watcher) {
        match note {
            Note::Ready => {}
            Note::Failed(_) => self.over += 1,
            Note::Interval(_, tally) if number >= self.loading => self.bystander.add(&tally),
            Note::Interval(interval, tally) => {
                let (heard, sum) = self
                    .intervals
                    .entry(interval)
                    .or_insert_with(|| (0, Tally::new()));
                *heard += 1;
                sum.add(&tally);
                if *heard == self.loading
                    && let Some((_, sum)) = self.intervals.remove(&interval)
                {
                    self.note_point(interval, &sum, watcher);
                }
            }
            Note::Over(last) => {
                self.over += 1;
                let into = match number >= self.loading {
                    true => &mut self.bystander,
                    false => &mut self.load,
                };
                // Done after the end is not done within the run; how long it took counts.
                let _ = into.latency.add(&last.tally.latency);
                into.add_errors(&last.tally);
                if number < self.loading {
                    self.open += last.open;
                    self.cpu.push(last.cpu);
                }
            }
        }
    }

    fn note_point(&mut self, interval: usize, sum: &Tally, watcher: &dyn Watcher) {
        self.load.add(sum);
        let quantile = |quantile| sum.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        let second = INTERVAL.as_secs_f64() * (interval + 1) as f64;
        let whole = self.plan.duration.as_secs_f64();
        let point = Point {
            second: second.min(whole),
            done: sum.done,
            errors: sum.failures(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
        };
        self.series.push(point);
        watcher.point(&point, (second / whole).min(1.0), &self.load.errors);
    }

    fn outcome(mut self, told: Outcome) -> Measured {
        // Nothing came, and nothing failed within its deadline: silence is a failure, too.
        if self.load.done == 0 && self.load.errors.is_empty() && self.open > 0 {
            let kind = Failure::Unanswered.kind();
            self.load.errors.insert(kind, self.open as u64);
        }
        let busiest = self.cpu.iter().max().copied().unwrap_or_default();
        Measured {
            started: told.started,
            seconds: told.seconds,
            load: self.load,
            bystander: self.bystander,
            series: self.series,
            server: told.server,
            cost: LoadCost {
                cpu_seconds: told.own.as_secs_f64(),
                threads: self.loading,
                busiest: busiest.as_secs_f64() / told.seconds.max(1e-9),
            },
            interrupted: told.interrupted,
        }
    }
}

struct Outcome {
    started: time::OffsetDateTime,
    seconds: f64,
    own: Duration,
    server: Option<Spent>,
    interrupted: bool,
}

/// False where Ctrl-C came first.
pub(super) async fn uninterrupted<T>(future: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => false,
        _ = future => true,
    }
}
