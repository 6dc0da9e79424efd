//! What stands around a module: a folder, daemons, an environment, and a process of its own.
//!
//! A PKCS#11 module reads its environment when it is loaded and keeps its state for the life of the
//! process, so each test runs its body in a child process: the same binary, asked for the same test. The
//! daemons belong to the parent and end with it, however the body ended.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use portcullis_hsm::{HsmError, PinSource, Sessions, Token, TokenSelect, TokenSettings};

/// Set in the child; names its folder.
const CHILD: &str = "PORTCULLIS_TEST_MATRIX";

/// How long a body may take; a TPM in software needs the most.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const LABEL: &str = "edge";
pub(crate) const PIN: &str = "471147";
pub(crate) const SO_PIN: &str = "08154711";

/// What the parent prepares for the body.
pub(crate) struct Stage {
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
    /// A program, with arguments, that is to run the body.
    within: Vec<OsString>,
    daemons: Vec<Daemon>,
}

/// Why a module cannot be tried on this machine, and which packages would help.
pub(crate) struct Skip {
    pub(crate) reason: String,
    pub(crate) packages: &'static str,
}

/// A program that serves the module; it ends with this.
pub(crate) struct Daemon(Child);

/// Where the body runs.
pub(crate) struct Place(PathBuf);

/// Runs `body` in a process of its own on the stage that `set` has set, unless that cannot be.
pub(crate) fn on_stage(
    set: impl FnOnce(&mut Stage) -> Result<(), Skip>,
    body: impl FnOnce(&Place),
) {
    if let Some(folder) = env::var_os(CHILD) {
        body(&Place(folder.into()));
        return portcullis_hsm::join_closed_tokens();
    }
    let name = thread::current().name().unwrap_or_default().to_owned();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pin"), PIN).unwrap();
    fs::write(folder.path().join("so-pin"), SO_PIN).unwrap();
    let mut stage = Stage {
        folder: folder.path().to_owned(),
        environment: Vec::new(),
        within: Vec::new(),
        daemons: Vec::new(),
    };
    if let Err(Skip { reason, packages }) = set(&mut stage) {
        // Straight to the terminal: the test harness would keep it to itself.
        let _ = writeln!(
            io::stderr(),
            "\nSKIPPED {name}: {reason} (apt install {packages})"
        );
        return;
    }
    stage.play(&name);
}

impl Stage {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Sets a variable of the body, and of the programs that are run after this.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
    }

    /// Has the body run by another program.
    #[cfg(feature = "exams")]
    pub(crate) fn within(&mut self, program: &[&str]) {
        self.within = program.iter().map(OsString::from).collect();
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<(), Skip> {
        let ended = self.command(program, arguments).output();
        let ended = ended.map_err(|error| skip(format!("{program}: {error}"), ""))?;
        if ended.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        // Installed, but it does not do its work: that is not a reason to skip.
        panic!(
            "{program} {arguments:?} ended with {}: {told}",
            ended.status
        );
    }

    /// Starts a program that ends with the stage; what it says goes to a file of its name.
    pub(crate) fn start(&mut self, program: &str, arguments: &[&str]) -> Result<(), Skip> {
        let log = File::create(self.file(&format!("{program}.log"))).unwrap();
        let mut command = self.command(program, arguments);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = command
            .spawn()
            .map_err(|error| skip(format!("{program}: {error}"), ""))?;
        self.daemons.push(Daemon(daemon));
        Ok(())
    }

    /// Waits until `condition` holds, unless a daemon ends before, or ten seconds do.
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            let ended = self.daemons.iter_mut().find_map(Daemon::ended);
            assert!(
                ended.is_none() && Instant::now() < end,
                "{what}: not so. {}",
                self.logs()
            );
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn command(&self, program: impl AsRef<OsStr>, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(program);
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command
            .args(arguments)
            .envs(environment)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// The child process, until it ends or patience does.
    fn play(&mut self, name: &str) {
        let body = env::current_exe().unwrap().into_os_string();
        let arguments = [name, "--exact", "--nocapture", "--test-threads=1"].map(OsString::from);
        let mut line = self.within.clone();
        line.extend([vec![body], arguments.into()].concat());
        let told = self.file("body");
        let log = File::create(&told).unwrap();
        let program = line.remove(0);
        let mut child = self.command(program, &line);
        child
            .env(CHILD, &self.folder)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = Daemon(child.spawn().unwrap());
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.0.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > end {
                break None;
            }
            thread::park_timeout(Duration::from_millis(5));
        };
        eprintln!("{}", fs::read_to_string(&told).unwrap());
        let logs = self.logs();
        match status {
            Some(status) => assert!(status.success(), "{name} ended with {status}\n{logs}"),
            None => panic!("{name} did not end within {PATIENCE:?}\n{logs}"),
        }
    }

    /// What the daemons said.
    fn logs(&self) -> String {
        let entries = fs::read_dir(&self.folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let logs = paths.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            format!("{}:\n{text}\n", path.display())
        };
        logs.map(read).collect()
    }
}

impl Place {
    /// Opens the token of this label of `module`.
    pub(crate) fn open(&self, module: &Path, label: &str) -> Result<Token, HsmError> {
        let label = TokenSelect::Label(label.to_owned());
        let mut settings = TokenSettings::new("test", module, label);
        settings.pin = Some(self.pin("pin"));
        settings.sessions = Sessions::Count(NonZeroUsize::new(2).unwrap());
        settings.deadline = Duration::from_secs(30);
        // RSA of NSS and of a TPM in software is slow.
        settings.hang_timeout = Duration::from_secs(30);
        Token::open(settings)
    }

    /// The PIN in the file of this name.
    pub(crate) fn pin(&self, file: &str) -> PinSource {
        PinSource::File(self.0.join(file))
    }
}

impl Daemon {
    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().ok().flatten()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first of `names` that is in a folder of libraries of a known system.
pub(crate) fn library(names: &[&str], packages: &'static str) -> Result<PathBuf, Skip> {
    let arch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    let folders = [&arch, "/usr/lib", "/usr/lib64", "/usr/local/lib"];
    let paths = folders
        .iter()
        .flat_map(|folder| names.iter().map(|name| Path::new(folder).join(name)));
    let found = paths.into_iter().find(|path| path.exists());
    found.ok_or_else(|| skip(format!("{} is not installed", names[0]), packages))
}

pub(crate) fn skip(reason: String, packages: &'static str) -> Skip {
    Skip { reason, packages }
}
