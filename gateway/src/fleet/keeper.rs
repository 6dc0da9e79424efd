//! The task that owns the connection: connects, runs commands, notices the end, connects again.
//!
//! While nothing is connected whoever asks is refused at once. A server that takes commands and does not answer
//! counts as gone after a few.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, RedisError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::error::FleetError;
use super::link::Link;
use super::settings::Settings;
use super::store::{Job, State};

/// Between attempts to connect: doubles from the first to the last.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How often a connection is tried that nobody may be using.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Commands in a row without an answer that make a connection count as dead.
const LATE_MAX: u32 = 5;

/// Connects and serves until nobody holds the store.
pub(super) async fn keep(
    settings: Arc<Settings>,
    mut jobs: mpsc::Receiver<Job>,
    state: Arc<State>,
) {
    let store = settings.name.as_str();
    let mut backoff = BACKOFF_MIN;
    loop {
        let connecting = timeout(settings.connect_timeout, Link::connect(&settings));
        let Some(connected) = refusing(&mut jobs, connecting).await else {
            return;
        };
        let error = match connected.unwrap_or(Err(FleetError::Late)) {
            Ok(link) => {
                backoff = BACKOFF_MIN;
                state.connected();
                tracing::info!(store, "connected to redis");
                match serve(&settings, link, &mut jobs).await {
                    Some(error) => error,
                    None => return,
                }
            }
            Err(error) => error,
        };
        let first = state.away(error.to_string());
        if first {
            tracing::warn!(store, %error, "redis is away");
        }
        if refusing(&mut jobs, sleep(backoff)).await.is_none() {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Waits for something, and meanwhile refuses every command; `None` when nobody holds the store any more.
async fn refusing<T>(jobs: &mut mpsc::Receiver<Job>, wait: impl Future<Output = T>) -> Option<T> {
    let mut wait = std::pin::pin!(wait);
    loop {
        tokio::select! {
            outcome = &mut wait => return Some(outcome),
            job = jobs.recv() => {
                let _ = job?.reply.send(Err(FleetError::Away)); // Nobody waits for it any more.
            }
        }
    }
}

/// Runs commands until the connection is of no use any more, or nobody holds the store (`None`).
async fn serve(
    settings: &Arc<Settings>,
    link: Link,
    jobs: &mut mpsc::Receiver<Job>,
) -> Option<FleetError> {
    let mut running = JoinSet::new();
    let mut probes = interval(PROBE_EVERY);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut late = 0;
    // What still runs at the end is dropped with the set, and those who wait are told.
    loop {
        tokio::select! {
            job = jobs.recv() => {
                running.spawn(run(link.clone(), job?, settings.timeout));
            }
            Some(outcome) = running.join_next() => match outcome {
                Ok(Outcome::Answered) => late = 0,
                Ok(Outcome::Late) if late + 1 >= LATE_MAX => return Some(FleetError::Late),
                Ok(Outcome::Late) => late += 1,
                Ok(Outcome::Gone(error)) => return Some(error),
                Err(_) => {} // A panic has been counted.
            },
            _ = probes.tick() => {
                running.spawn(probe(link.clone(), Arc::clone(settings)));
            }
        }
    }
}

/// What a command says of its connection.
enum Outcome {
    Answered,
    Late,
    Gone(FleetError),
}

async fn run(link: Link, job: Job, limit: Duration) -> Outcome {
    let Job {
        command,
        reply,
        permit,
    } = job;
    let answer = ask(link, &command, limit).await;
    let outcome = outcome(&answer);
    let answer = match answer {
        Ok(answer) => answer.map_err(FleetError::from),
        Err(Late) => Err(FleetError::Late),
    };
    let _ = reply.send(answer); // Nobody waits for it any more.
    drop(permit);
    outcome
}

/// Reads a key that nobody sets: what a user of the store must be allowed anyway.
async fn probe(link: Link, settings: Arc<Settings>) -> Outcome {
    let mut command = redis::cmd("GET");
    command.arg(format!("{}:probe", settings.prefix));
    // Not in anybody's handshake, but a server that is this slow is of no use in one.
    outcome(&ask(link, &command, settings.timeout).await)
}

/// No answer in time.
struct Late;

type Answer = Result<Result<redis::Value, RedisError>, Late>;

async fn ask(mut link: Link, command: &Cmd, limit: Duration) -> Answer {
    match timeout(limit, link.run(command)).await {
        Ok(Err(error)) if error.is_timeout() => Err(Late),
        Ok(answer) => Ok(answer),
        Err(_) => Err(Late),
    }
}

fn outcome(answer: &Answer) -> Outcome {
    match answer {
        Ok(Ok(_)) => Outcome::Answered,
        Err(Late) => Outcome::Late,
        Ok(Err(error)) if is_gone(error) => Outcome::Gone(error.clone().into()),
        // The server is there and refuses.
        Ok(Err(_)) => Outcome::Answered,
    }
}

/// Whether another connection may do better: this one broke, or its server is no master any more, or it is
/// a Cluster that cannot find a node.
fn is_gone(error: &RedisError) -> bool {
    let demoted = matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"));
    let lost = error.kind() == redis::ErrorKind::ClusterConnectionNotFound;
    demoted || lost || error.is_io_error() || error.is_unrecoverable_error()
}
