//! A peer as a process on one core, until it is dropped: then it, and what it started, is gone.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::cost::Server;
use crate::origin::pin_this_thread;

use super::kind::Launch;

/// From its start until it listens.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// From SIGTERM until it is killed. Connections of the load are closed by then.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much of what it said stands in an error.
const LAST_WORDS: usize = 300;

/// A running peer.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    said: PathBuf,
}

impl Process {
    /// Starts a program with its files in `folder`, on one core, and waits until it listens.
    pub(super) fn start(
        program: &Path,
        launch: &Launch,
        folder: &Path,
        core: usize,
        listen: SocketAddr,
    ) -> anyhow::Result<Self> {
        for (name, content) in &launch.files {
            crate::pki::write_secret(&folder.join(name), content)?;
        }
        let said = folder.join("said");
        let log = File::create(&said).context("make the file for what it says")?;
        let mut command = Command::new(program);
        command
            .args(&launch.arguments)
            .envs(
                launch
                    .environment
                    .iter()
                    .map(|(name, value)| (*name, value)),
            )
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C reaches us alone, and we end it with all it started.
            .process_group(0);
        let child =
            spawn_on(core, &mut command).with_context(|| format!("start {}", program.display()))?;
        let mut process = Self { child, said };
        process.wait_until_it_listens(listen)?;
        Ok(process)
    }

    /// Whose CPU time and memory count.
    pub(super) fn server(&self) -> anyhow::Result<Server> {
        Server::of_pid(self.child.id())
    }

    fn wait_until_it_listens(&mut self, listen: SocketAddr) -> anyhow::Result<()> {
        let listens = wait_until(READY_WITHIN, || {
            let ended = self.child.try_wait().ok().flatten();
            let open = || TcpStream::connect_timeout(&listen, READY_WITHIN).is_ok();
            match ended {
                Some(status) => Some(Err(anyhow!("it ended ({status})"))),
                None => open().then_some(Ok(())),
            }
        });
        match listens {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => bail!("{error}: {}", self.last_words()),
            None => bail!("it does not listen: {}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let said = fs::read(&self.said).unwrap_or_default();
        let from = said.len().saturating_sub(LAST_WORDS);
        let words = String::from_utf8_lossy(&said[from..]);
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        // Its id is ours until it is waited for, so nobody else is meant by it.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(pid, Signal::TERM);
            wait_until(END_WITHIN, || self.child.try_wait().ok().flatten());
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A child runs where the thread that starts it may run.
fn spawn_on(core: usize, command: &mut Command) -> anyhow::Result<Child> {
    thread::scope(|scope| {
        let spawn = scope.spawn(|| {
            pin_this_thread(core)?;
            Ok(command.spawn()?)
        });
        let spawned = spawn.join();
        spawned.unwrap_or_else(|_| bail!("the thread that starts it ended"))
    })
}

/// Asks until there is an answer, or none in time.
pub(super) fn wait_until<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= end {
            return answer;
        }
        thread::park_timeout(LOOK_EVERY);
    }
}

/// An address on the loopback that is free for TCP and UDP at this moment.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..32 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("find a port that is free for TCP and UDP")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch {
            arguments: vec!["-c".to_owned(), script.to_owned()],
            ..Launch::default()
        }
    }

    fn start(script: &str, listen: SocketAddr) -> anyhow::Result<Process> {
        let folder = tempfile::tempdir().unwrap();
        Process::start(
            Path::new("/bin/sh"),
            &shell(script),
            folder.path(),
            0,
            listen,
        )
    }

    #[test]
    fn a_program_that_ends_is_refused_with_its_last_words() {
        let refused = start("echo no such thing >&2; exit 3", free_address().unwrap());
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("no such thing"), "{told}");
        assert!(told.contains("exit status: 3"), "{told}");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let program = Path::new("/nowhere/server");
        let listen = free_address().unwrap();
        let refused = Process::start(program, &Launch::default(), folder.path(), 0, listen);
        assert!(format!("{:#}", refused.unwrap_err()).contains("/nowhere/server"));
    }

    #[test]
    fn what_a_peer_started_ends_with_it() {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let process = start(
            "trap '' TERM; sleep 600 & wait; wait",
            here.local_addr().unwrap(),
        );
        let process = process.unwrap();
        let server = process.server().unwrap();
        let both = wait_until(END_WITHIN, || (server.processes().len() == 2).then_some(()));
        assert!(both.is_some(), "the child is not there");
        let children = server.processes();
        drop(process);
        let alive = |pid: &u32| {
            // What is killed stays a zombie until whoever adopted it looks.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')')
                .is_some_and(|(_, state)| !state.starts_with(" Z"))
        };
        let gone = wait_until(END_WITHIN, || (!children.iter().any(alive)).then_some(()));
        assert!(gone.is_some(), "something is left of {children:?}");
    }
}
