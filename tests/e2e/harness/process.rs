//! The gateway's process: started, found ready, told to reload or to end, killed at the latest on drop.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Gateway, until, within};

/// The gateway's command line.
pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_portcullis-shim");

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    /// Name and address of each listener at the start, in the order of the configuration.
    listeners: Vec<(String, SocketAddr)>,
    admin: SocketAddr,
}

impl Process {
    /// Runs `portcullis.toml` of `folder` and waits until it is ready.
    /// `under` is a program, with its arguments, that runs the gateway in its own place.
    pub(super) async fn start(
        folder: &Path,
        environment: &[(String, String)],
        under: &[String],
    ) -> Self {
        let log = folder.join("process.log");
        let words: Vec<&str> = under.iter().map(String::as_str).chain([SHIM]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["run", "--config", "portcullis.toml"])
            .current_dir(folder)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut process = Self {
            child,
            log,
            listeners: Vec::new(),
            admin: ([127, 0, 0, 1], 0).into(),
        };
        process.admin = until("the gateway tells its addresses", async || {
            let ended = process.child.try_wait().unwrap();
            let text = process.log();
            assert!(ended.is_none(), "the gateway did not start:\n{text}");
            text.lines().find_map(admin_address)
        })
        .await;
        process.listeners = process.log().lines().filter_map(listener).collect();
        until("the gateway is ready", async || {
            let (status, _) = probe(process.admin, "/readyz").await?;
            (status == 200).then_some(())
        })
        .await;
        process
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // At once: what a gentle end does is the matter of tests that call `terminate`.
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            tell(&format!("--- the gateway said:\n{log}---"));
        } else {
            assert!(!log.contains("a task panicked"), "the gateway said:\n{log}");
        }
    }
}

impl Gateway {
    /// Where the first listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.process.listeners.first().unwrap().1
    }

    /// Where a listener listens.
    pub(crate) fn addr(&self, name: &str) -> SocketAddr {
        let listeners = &self.process.listeners;
        let found = listeners.iter().find(|(listener, _)| listener == name);
        found.unwrap_or_else(|| panic!("no listener {name}")).1
    }

    /// `https://localhost:PORT` of the first listener.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address().port())
    }

    /// Where probes and metrics are.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.process.admin
    }

    /// Asks the admin listener; the status and the body.
    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        let answer = within("a probe is answered", probe(self.process.admin, path)).await;
        answer.unwrap()
    }

    /// The value of one line of `/metrics`, named with its labels as it stands there; 0 where there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.probe("/metrics").await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The process log so far.
    pub(crate) fn process_log(&self) -> String {
        self.process.log()
    }

    /// The folder of the configuration, its certificates and its logs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the configuration file; nothing notices before [`Self::reload`].
    pub(crate) fn rewrite_config(&self, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("portcullis.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(text)).unwrap();
    }

    /// A command of `portcullis` to the running gateway: what it printed.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new(SHIM);
        command.args(arguments).args(["--socket", "admin.sock"]);
        command.current_dir(self.folder.path()).kill_on_drop(true);
        let output = within("an answer of the gateway", command.output())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `portcullis reload`: what it said, or why it refused.
    pub(crate) async fn reload(&self) -> Result<String, String> {
        let mut command = tokio::process::Command::new(SHIM);
        command.args(["reload", "--socket", "admin.sock"]);
        command.current_dir(self.folder.path()).kill_on_drop(true);
        let output = within("a reload", command.output()).await.unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(said(&output.stdout)),
            false => Err(said(&output.stderr)),
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        let child = &mut self.process.child;
        until("the gateway ends", async || child.try_wait().unwrap()).await
    }
}

/// `... listening listener=NAME address=IP:PORT`
fn listener(line: &str) -> Option<(String, SocketAddr)> {
    let (_, fields) = line.split_once("listening listener=")?;
    let (name, address) = fields.split_once(" address=")?;
    Some((name.to_owned(), address.trim().parse().ok()?))
}

/// `... probes and metrics address=IP:PORT`, which follows the listeners.
fn admin_address(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("probes and metrics address=")?;
    address.trim().parse().ok()
}

/// `None` where nobody answers.
async fn probe(admin: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(admin).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[expect(
    clippy::print_stderr,
    reason = "a test that failed shows what the gateway said"
)]
fn tell(text: &str) {
    eprintln!("{text}");
}
