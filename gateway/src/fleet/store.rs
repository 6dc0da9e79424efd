//! The handle: any thread asks, the keeper answers.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::error::FleetError;
use super::keeper;
use super::settings::Settings;

/// Commands under way, of one store. At the default timeout of 50 ms that is 20,000 a second from a server that
/// answers as late as it may; a full set of them is what a stuck server leaves.
const IN_FLIGHT_MAX: usize = 1024;

/// Where a value was taken for good. No value is empty.
const MARK: &[u8] = b"";

/// Replaces a value if it still is what it was, by bytes. Two arguments: the new value and the old; without the
/// old one nothing may be there.
const COMPARE_AND_SET: &str = "local now = redis.call('GET', KEYS[1]) \
     if now == (ARGV[2] or false) then redis.call('SET', KEYS[1], ARGV[1]) return 1 end return 0";

/// Counts one caller (GCRA): microseconds to wait, 0 where it may go on. Two arguments: microseconds between two, and how
/// many at once. What is kept is when the caller is even with its rate. `TIME` is the server's. Half a microsecond is what a double rounds away at that size.
const COUNT: &str = "local t = redis.call('TIME') local now = t[1] * 1000000 + t[2] \
     local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]) \
     local even = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + interval \
     local wait = even - now - interval * burst \
     if wait > 0.5 then return math.ceil(wait) end \
     redis.call('SET', KEYS[1], string.format('%.3f', even), 'PX', math.ceil((even - now) / 1000) + 1) return 0";

/// A store that may be away.
pub struct Store {
    settings: Arc<Settings>,
    jobs: mpsc::Sender<Job>,
    /// Taken by the keeper.
    queue: Mutex<Option<mpsc::Receiver<Job>>>,
    in_flight: Arc<Semaphore>,
    state: Arc<State>,
}

/// How a store fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether something is connected.
    pub up: bool,
    /// Commands that were not answered, and connections that were not made or broke.
    pub failures: u64,
    /// The last of them, while nothing is connected.
    pub error: Option<String>,
}

/// What the keeper tells, and the handles add to.
#[derive(Debug, Default)]
pub(super) struct State {
    up: AtomicBool,
    failures: AtomicU64,
    error: RwLock<Option<String>>,
}

/// A command, and whom to answer.
pub(super) struct Job {
    pub(super) command: Cmd,
    pub(super) reply: oneshot::Sender<Result<Value, FleetError>>,
    /// Held until the command has ended, also when nobody waits for it any more.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Store {
    /// A store that is not looked for yet: see [`Self::connect`].
    pub fn new(settings: Settings) -> Arc<Self> {
        let (jobs, queue) = mpsc::channel(IN_FLIGHT_MAX);
        Arc::new(Self {
            settings: Arc::new(settings),
            jobs,
            queue: Mutex::new(Some(queue)),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            state: Arc::default(),
        })
    }

    /// Connects in the background, and again whenever that ends, for as long as somebody holds the store. Call
    /// within the control runtime; again does nothing.
    pub fn connect(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.take() else { return };
        // The client builds its TLS on the provider of the process, which must not depend on what other crates
        // turn on. An error says that there is one, which is ours.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (settings, state) = (Arc::clone(&self.settings), Arc::clone(&self.state));
        tokio::spawn(keeper::keep(settings, queue, state));
    }

    /// How it is reached.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How it fares.
    pub fn health(&self) -> Health {
        let error = self.state.error.read();
        Health {
            up: self.state.up.load(Ordering::Relaxed),
            failures: self.state.failures.load(Ordering::Relaxed),
            error: error.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// What is there.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, FleetError> {
        bytes(self.ask(redis::cmd("GET").arg(self.key(key))).await?)
    }

    /// Stores a value for this long unless one is there; tells whether it was stored.
    ///
    /// # Errors
    /// There was no answer; it may have been stored.
    pub async fn set_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, FleetError> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(value).arg("NX");
        let answer = self.ask(command.arg("PX").arg(milliseconds(ttl))).await?;
        Ok(answer != Value::Nil)
    }

    /// Takes a value away: one of all who ask gets it. Needs Redis 6.2 or newer.
    ///
    /// # Errors
    /// There was no answer; it may be gone.
    pub async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, FleetError> {
        bytes(self.ask(redis::cmd("GETDEL").arg(self.key(key))).await?)
    }

    /// Takes a value away as [`Self::take`] does, and leaves a mark for this long: nobody gets it again, and
    /// [`Self::set_if_absent`] does not put it there, however late it comes.
    ///
    /// # Errors
    /// There was no answer; it may be gone.
    pub async fn take_for_good(
        &self,
        key: &str,
        mark: Duration,
    ) -> Result<Option<Vec<u8>>, FleetError> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(MARK).arg("PX");
        let answer = self.ask(command.arg(milliseconds(mark)).arg("GET")).await?;
        Ok(bytes(answer)?.filter(|value| value != MARK))
    }

    /// Stores a value for ever if what is there still is `old` (`None`: nothing); tells whether it was stored.
    ///
    /// # Errors
    /// There was no answer; it may have been stored.
    pub async fn compare_and_set(
        &self,
        key: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<bool, FleetError> {
        let mut command = redis::cmd("EVAL");
        command.arg(COMPARE_AND_SET).arg(1).arg(self.key(key));
        let answer = self.ask(command.arg(new).arg(old)).await?;
        Ok(answer == Value::Int(1))
    }

    /// Counts one of those that may come `interval` apart, `burst` at once (GCRA). `None` where it may; else how long
    /// it should wait. Redis' own clock counts, so gateways need not agree on the time.
    ///
    /// # Errors
    /// There was no answer; it may have been counted.
    pub async fn count(
        &self,
        key: &str,
        interval: Duration,
        burst: u32,
    ) -> Result<Option<Duration>, FleetError> {
        let mut command = redis::cmd("EVAL");
        command.arg(COUNT).arg(1).arg(self.key(key));
        command.arg(microseconds(interval)).arg(burst);
        match self.ask(&command).await? {
            Value::Int(0) => Ok(None),
            Value::Int(wait) => Ok(Some(Duration::from_micros(
                u64::try_from(wait).unwrap_or_default(),
            ))),
            _ => Err(FleetError::Redis("an answer of the wrong kind".to_owned())),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.settings.prefix)
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, FleetError> {
        let answer = self.answer(command).await;
        if answer.is_err() {
            self.state.count_failure();
        }
        answer
    }

    async fn answer(&self, command: &Cmd) -> Result<Value, FleetError> {
        if !self.state.up.load(Ordering::Relaxed) {
            return Err(FleetError::Away);
        }
        let permit = Arc::clone(&self.in_flight).try_acquire_owned();
        let permit = permit.map_err(|_| FleetError::Busy)?;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            command: command.clone(),
            reply,
            permit,
        };
        self.jobs.try_send(job).map_err(|_| FleetError::Busy)?;
        // The keeper has the same deadline; this one holds when its runtime is behind.
        match timeout(self.settings.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(FleetError::Away),
            Err(_) => Err(FleetError::Late),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("settings", &self.settings)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn connected(&self) {
        *self.error.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.up.store(true, Ordering::Relaxed);
    }

    /// Tells whether this is new: the same error again and again is not told.
    pub(super) fn away(&self, error: String) -> bool {
        self.up.store(false, Ordering::Relaxed);
        self.count_failure();
        let mut last = self.error.write().unwrap_or_else(PoisonError::into_inner);
        last.replace(error) != *last
    }

    fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

fn bytes(answer: Value) -> Result<Option<Vec<u8>>, FleetError> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(FleetError::Redis("an answer of the wrong kind".to_owned())),
    }
}

/// With a fraction: a million a second are one apart.
fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// At least one: Redis takes no zero.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
