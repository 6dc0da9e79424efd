//! The gateway under callgrind, and the counters of callgrind.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use super::scene::{MUTUAL, OPEN, Pki};
use crate::pki::write_file;

/// Under valgrind a start takes seconds where it takes milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A gateway whose instructions are counted. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Counting {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    /// Profiles that were dumped so far.
    dumps: std::cell::Cell<usize>,
}

impl Counting {
    /// Starts one worker with what a gateway does by default: access and refusal log, metrics, one rule.
    pub(super) fn start(program: &Path, pki: &Pki, origin: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        pki.write(folder.path())?;
        write_file(
            &folder.path().join("portcullis.toml"),
            &configuration(origin),
        )?;
        let program = program
            .canonicalize()
            .with_context(|| format!("{}: build it with `make count`", program.display()))?;
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=profile"])
            .arg(format!(
                "--vgdb-prefix={}",
                folder.path().join("vgdb").display()
            ))
            .arg(program)
            .args(["run", "--config", "portcullis.toml"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .context("start valgrind (apt install valgrind)")?;
        let mut counting = Self {
            child,
            folder,
            address: ([127, 0, 0, 1], 0).into(),
            dumps: std::cell::Cell::new(0),
        };
        counting.address = counting.wait_for_address()?;
        Ok(counting)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the gateway found the CPU to have: under valgrind less than without it.
    pub(super) fn cpu_features(&self) -> String {
        let log = self.log();
        let line = log.lines().find_map(|line| line.split_once("CPU: "));
        line.map_or("unknown", |(_, features)| features).to_owned()
    }

    /// Forgets what was counted.
    pub(super) fn zero(&self) -> anyhow::Result<()> {
        self.tell("zero")
    }

    /// Instructions since the last dump, of all threads.
    pub(super) fn dump(&self) -> anyhow::Result<u64> {
        self.tell("dump")?;
        self.dumps.set(self.dumps.get() + 1);
        let text = fs::read_to_string(self.profile()).context("read callgrind's profile")?;
        let total = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("totals: "));
        let total = total.context("callgrind's profile has no line `totals:`")?;
        Ok(total.trim().parse()?)
    }

    /// Copies the last profile, for callgrind_annotate.
    pub(super) fn keep_profile(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(self.profile(), path).with_context(|| format!("write {}", path.display()))?;
        Ok(())
    }

    fn profile(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("profile.{}", self.dumps.get()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A command to callgrind, which has obeyed when this returns.
    fn tell(&self, command: &str) -> anyhow::Result<()> {
        let prefix = self.folder.path().join("vgdb");
        let output = Command::new("vgdb")
            .arg(format!("--vgdb-prefix={}", prefix.display()))
            .arg(format!("--pid={}", self.child.id()))
            .arg(command)
            .output()
            .context("run vgdb (apt install valgrind)")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "vgdb {command}: {said}");
        Ok(())
    }

    /// `... listening listener=main address=IP:PORT`
    fn wait_for_address(&mut self) -> anyhow::Result<SocketAddr> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            let log = self.log();
            let line = log
                .lines()
                .find_map(|line| line.split_once("listening listener="));
            if let Some((_, address)) = line.and_then(|(_, rest)| rest.split_once(" address=")) {
                return Ok(address.trim().parse()?);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway ended with {status}:\n{log}");
            }
            ensure!(Instant::now() < end, "the gateway does not start:\n{log}");
            pause();
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}

/// Nothing announces a line in a file.
fn pause() {
    std::thread::park_timeout(LOOK);
}

fn configuration(origin: SocketAddr) -> String {
    let site = |host: &str, lines: &str| {
        format!(
            "[[site]]\nhosts = ['{host}']\nupstream = 'http://{origin}'\n\
             certificate = {{ chain = 'server.pem', key = 'file:server.key' }}\n{lines}"
        )
    };
    let demand = "client_cert = { mode = 'require', trust = 'clients' }\n";
    format!(
        "workers = 1\nstate_dir = './state'\n[admin]\nbind = '127.0.0.1:0'\nsocket = './admin.sock'\n\
         [log]\naccess = './access.log'\nrefusals = './refusals.log'\n\
         [keys]\nsoftware = ['file:server.key']\n[trust.clients]\nanchors = 'clients.pem'\n\
         [[listener]]\nname = 'main'\nbind = '127.0.0.1:0'\n{}{}[[rule]]\nroles = ['anyone']\n",
        site(OPEN, ""),
        site(MUTUAL, demand)
    )
}
