//! Wires the house: the only file that knows every room.
//!
//! One control thread (the caller's) owns signals, probes, the control socket and reloads. W data workers, one
//! for each core, own everything a connection touches.

mod reload;
mod watch;
mod workers;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use portcullis_config::{Config, ConfigErrors, SourceMap};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::workers::Workers;
use crate::admin::{self, Command};
use crate::certificates::{prepare_state_dir, state_dir};
use crate::limit::Slots;
use crate::proxy::Shared;
use crate::rates;
use crate::revocation;
use crate::snapshot::{Snapshot, SnapshotError, Standing};
use crate::telemetry::inventory::Inventory;
use crate::telemetry::{LogSink, Metrics};
use crate::ticket_keys::TicketKeysError;
use crate::tls::acceleration::Acceleration;
use crate::trust::DenyError;
use crate::upstream;

/// Commands that may wait: reloads are rare and one at a time.
const COMMANDS: usize = 8;

/// Why the gateway does not start, or a reload is refused.
#[derive(Debug)]
pub enum ServerError {
    /// The configuration, or what it names.
    Config(ConfigErrors),
    /// A socket cannot be opened.
    Bind(SocketAddr, io::Error),
    /// The control socket cannot be opened.
    Control(PathBuf, io::Error),
    /// The deny list of the state directory.
    Deny(DenyError),
    /// A log file cannot be opened.
    Log(io::Error),
    /// Threads, runtimes, signals.
    System(&'static str, io::Error),
    /// The keys of session tickets.
    TicketKeys(TicketKeysError),
    /// A setting that only a restart changes.
    Restart(&'static str),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Control(path, error) => write!(
                f,
                "cannot open the control socket {}: {error}",
                path.display()
            ),
            Self::Deny(error) => error.fmt(f),
            Self::TicketKeys(error) => write!(f, "tickets.keys: {error}"),
            Self::Log(error) => write!(f, "cannot open a log: {error}"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
            Self::Restart(what) => write!(
                f,
                "{what} changed; that takes a restart, everything else a reload"
            ),
        }
    }
}

impl std::error::Error for ServerError {}

impl From<ConfigErrors> for ServerError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

/// The gateway, started.
pub struct Server {
    path: PathBuf,
    standing: Standing,
    config: Config,
    state: Arc<admin::State>,
    workers: Workers,
    commands: mpsc::Receiver<Command>,
    /// Kept so that `commands` never ends, also without a control socket.
    sender: mpsc::Sender<Command>,
    admin_address: Option<SocketAddr>,
}

/// Loads a configuration and builds what it names. Blocks while tokens open and keys prove themselves.
/// At a reload `running` is what is in force.
pub fn prepare(
    path: &Path,
    running: Option<(&Standing, &Snapshot)>,
) -> Result<(Config, Standing, Snapshot), ServerError> {
    let (config, sources) = Config::load(path)?;
    let standing = match running {
        Some((standing, _)) => standing.clone(),
        None => Standing::open(&config).map_err(ServerError::Deny)?,
    };
    let old = running.map(|(_, snapshot)| snapshot);
    let snapshot = Snapshot::build(&config, &standing, old);
    let snapshot = snapshot.map_err(|errors| located(&sources, &errors))?;
    Ok((config, standing, snapshot))
}

/// Has the revocation lists of a snapshot looked after, its OCSP questions answered, its stores connected and its upstreams
/// watched, on the control runtime.
fn keep_fresh(snapshot: &Snapshot) {
    for bundle in &snapshot.rules.bundles {
        if let Some(lists) = bundle.crl() {
            revocation::keep_fresh(lists);
        }
        if let Some(answers) = bundle.ocsp() {
            revocation::answer_questions(answers);
        }
    }
    for store in snapshot.stores.iter() {
        store.connect();
    }
    snapshot.targets.iter().for_each(upstream::keep);
    snapshot.rates.iter().for_each(rates::keep);
}

/// Gives errors of upper rooms the file and line their names were written at.
pub fn located(sources: &SourceMap, errors: &[SnapshotError]) -> ServerError {
    let reports = errors
        .iter()
        .map(|error| sources.report(error.span.clone(), &error.message, None));
    match ConfigErrors::collect(reports) {
        Some(errors) => ServerError::Config(errors),
        None => ServerError::System(
            "configuration",
            io::Error::other("refused without a reason"),
        ),
    }
}

/// A PIN that is refused must be known as such after a restart.
fn warn_of_state_dir(config: &Config) {
    let remembers = |hsm: &portcullis_config::Hsm| hsm.module().is_some_and(|it| it.pin.is_some());
    if !config.hsms.iter().any(remembers) {
        return;
    }
    let folder = state_dir(config.state_dir.as_deref());
    if let Err(error) = prepare_state_dir(&folder) {
        let folder = folder.display();
        tracing::warn!(%error, %folder, "refused PINs are forgotten at a restart: set `state_dir`");
    }
}

impl Server {
    /// Starts everything. Call within a local tokio runtime, which becomes the control runtime.
    pub async fn start(path: &Path) -> Result<Self, ServerError> {
        let (config, standing, snapshot) = prepare(path, None)?;
        let keys = &snapshot.resumption.resources.keys;
        keys.begin().await.map_err(ServerError::TicketKeys)?;
        keep_fresh(&snapshot);
        warn_of_state_dir(&config);
        let acceleration = Acceleration::measure();
        tracing::info!("{}", acceleration.summary());
        if let Some(warning) = acceleration.warning() {
            tracing::warn!("{warning}");
        }
        let mut registry = Registry::with_prefix("portcullis");
        let metrics = Metrics::register(&mut registry);
        metrics.adopt_shadow_rules(std::iter::empty(), snapshot.rules.policy.shadow_rules());
        let shared = Arc::new(Shared {
            access: LogSink::open(&config.log.access, metrics.access_lines_dropped.clone())
                .map_err(ServerError::Log)?,
            refusals: LogSink::open(&config.log.refusals, metrics.refusal_lines_dropped.clone())
                .map_err(ServerError::Log)?,
            connections: Slots::new(config.limits.connections),
            handshakes: Slots::new(config.limits.handshakes),
            inventory: Inventory::new(config.limits.inventory),
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
        });
        count_panics(&shared);
        let state = Arc::new(admin::State {
            shared: Arc::clone(&shared),
            registry,
            acceleration,
            draining: AtomicBool::new(false),
        });
        let (sender, commands) = mpsc::channel(COMMANDS);
        let workers = Workers::start(config.workers, &shared)?;
        let mut server = Self {
            path: path.to_owned(),
            standing,
            config,
            state,
            workers,
            commands,
            sender,
            admin_address: None,
        };
        server.workers.listen(&server.config.listeners)?;
        server.open_admin().await?;
        Ok(server)
    }

    async fn open_admin(&mut self) -> Result<(), ServerError> {
        if let Some(address) = self.config.admin.bind {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| ServerError::Bind(address, error))?;
            let address = listener
                .local_addr()
                .map_err(|error| ServerError::Bind(address, error))?;
            tracing::info!(%address, "probes and metrics");
            self.admin_address = Some(address);
            tokio::spawn(admin::listen_probes(listener, Arc::clone(&self.state)));
        }
        if let Some(path) = &self.config.admin.socket {
            admin::listen_control(path, self.sender.clone(), Arc::clone(&self.state))
                .map_err(|error| ServerError::Control(path.clone(), error))?;
        }
        Ok(())
    }

    /// Names and addresses of the listeners; with port 0 in the configuration, the real ports.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.workers.addresses()
    }

    /// Address of probes and metrics.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    pub async fn run(mut self) -> Result<(), ServerError> {
        let mut signals = Signals::new().map_err(|error| ServerError::System("signals", error))?;
        tokio::spawn(watch::tokens(Arc::clone(&self.state.shared)));
        tokio::spawn(watch::sessions(Arc::clone(&self.standing.sessions)));
        loop {
            let wanted = tokio::select! {
                Some(command) = self.commands.recv() => Wanted::Reload(Some(command)),
                _ = signals.reload.recv() => Wanted::Reload(None),
                _ = signals.reopen.recv() => Wanted::Reopen,
                () = signals.end.asked() => break,
            };
            match wanted {
                // A reload waits for tokens, which may hang; the end does not wait for it. Until the swap,
                // which is one step, it has changed nothing and can be dropped.
                Wanted::Reload(command) => tokio::select! {
                    result = self.reload() => if let Some(Command::Reload(reply)) = command {
                        let _ = reply.send(result.map_err(|error| error.to_string())); // They may have left.
                    },
                    () = signals.end.asked() => break,
                },
                Wanted::Reopen => {
                    self.state.shared.access.reopen();
                    self.state.shared.refusals.reopen();
                }
            }
        }
        self.drain().await;
        Ok(())
    }

    /// Stops accepting, lets requests in progress end, and returns when everybody left or the drain timeout
    /// is over.
    async fn drain(mut self) {
        let limit = self.config.timeouts.drain;
        tracing::info!(seconds = limit.as_secs_f64(), "draining");
        self.state.draining.store(true, Ordering::Relaxed);
        let left_behind = self.workers.drain(limit).await;
        self.state.shared.access.flush();
        self.state.shared.refusals.flush();
        if let Some(socket) = &self.config.admin.socket {
            let _ = std::fs::remove_file(socket); // A stale socket is replaced at the next start.
        }
        tracing::info!(
            connections = left_behind,
            "drained; connections that had to be cut"
        );
    }
}

/// What the control thread is asked for.
enum Wanted {
    Reload(Option<Command>),
    Reopen,
}

struct Signals {
    reload: Signal,
    reopen: Signal,
    end: EndSignals,
}

struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl EndSignals {
    /// SIGTERM or SIGINT.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A panic ends one task; it must not end unseen.
fn count_panics(shared: &Arc<Shared>) {
    let panics = shared.metrics.panics.clone();
    std::panic::set_hook(Box::new(move |info| {
        panics.inc();
        tracing::error!(
            location = info.location().map(tracing::field::display),
            "a task panicked; this is a defect"
        );
    }));
}
