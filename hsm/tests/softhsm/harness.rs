//! A SoftHSM of its own for each test.
//!
//! A PKCS#11 module reads its environment when it is loaded and keeps its state for the life of the
//! process, so each test runs its body in a child process: the same binary, asked for the same test.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use portcullis_hsm::generate::{SlotChoice, init_token};
use portcullis_hsm::{PinSource, QueueBound, Sessions, Token, TokenSelect, TokenSettings};

/// Set in the child; names its folder.
const CHILD: &str = "PORTCULLIS_TEST_SOFTHSM";

const SOFTHSM: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The label of the token that [`Hsm::token`] opens.
pub(crate) const LABEL: &str = "edge";

/// A folder with a token store, PIN files and the settings of the fault module.
pub(crate) struct Hsm {
    folder: PathBuf,
    softhsm: PathBuf,
}

/// Runs the body of the calling test against an empty SoftHSM in a process of its own.
pub(crate) fn with_softhsm(body: impl FnOnce(&Hsm)) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    let Some(softhsm) = SOFTHSM.iter().map(PathBuf::from).find(|path| path.exists()) else {
        // Straight to the terminal: the test harness would keep it to itself.
        let _ = writeln!(
            io::stderr(),
            "\nSKIPPED {name}: SoftHSM is not installed (apt install softhsm2)"
        );
        return;
    };
    if let Some(folder) = env::var_os(CHILD) {
        body(&Hsm {
            folder: folder.into(),
            softhsm,
        });
        return portcullis_hsm::join_closed_tokens();
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("tokens")).unwrap();
    let conf = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        at("tokens").display()
    );
    fs::write(at("softhsm2.conf"), conf).unwrap();
    fs::write(at("pin"), "471147\n").unwrap();
    fs::write(at("so-pin"), "08154711\n").unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder.path())
        .env("SOFTHSM2_CONF", at("softhsm2.conf"))
        .env("FAULT_REAL_MODULE", &softhsm)
        .env("FAULT_SETTINGS", at("faults"))
        .env("FAULT_COUNTS", at("counts"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stderr);
    eprintln!("{told}{}", String::from_utf8_lossy(&child.stdout));
    assert!(
        child.status.success(),
        "{name} ended with {}:\n{told}",
        child.status
    );
}

impl Hsm {
    pub(crate) fn softhsm(&self) -> &Path {
        &self.softhsm
    }

    /// The fault module, built beside this test as its dependency.
    pub(crate) fn faulty(&self) -> PathBuf {
        let module = env::current_exe()
            .unwrap()
            .with_file_name("libfault_module.so");
        assert!(module.exists(), "{} was not built", module.display());
        module
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn pin(&self) -> PinSource {
        PinSource::File(self.file("pin"))
    }

    /// Settings for the token [`LABEL`] of `module`: two sessions, a queue of 64, ten seconds.
    pub(crate) fn settings(&self, module: &Path) -> TokenSettings {
        let label = TokenSelect::Label(LABEL.to_owned());
        let mut settings = TokenSettings::new("test", module, label);
        settings.pin = Some(self.pin());
        settings.sessions = Sessions::Count(count(2));
        settings.queue = QueueBound::Count(count(64));
        settings.deadline = Duration::from_secs(10);
        settings.hang_timeout = Duration::from_secs(10);
        settings.state_dir = Some(self.file("state"));
        settings
    }

    /// Makes a token.
    pub(crate) fn init(&self, module: &Path, label: &str) {
        let so_pin = PinSource::File(self.file("so-pin")).read().unwrap();
        let info = init_token(
            module,
            SlotChoice::Free,
            label,
            &so_pin,
            &self.pin().read().unwrap(),
        )
        .unwrap();
        assert_eq!(info.label, label);
    }

    /// Makes the token [`LABEL`] of `module` and opens it.
    pub(crate) fn token(&self, module: &Path) -> Token {
        self.init(module, LABEL);
        Token::open(self.settings(module)).unwrap()
    }

    /// Replaces the settings of the fault module; they hold for the next call of it.
    pub(crate) fn faults(&self, settings: &str) {
        // Renamed into place, so that the module never reads half of it.
        fs::write(self.file("faults.new"), settings).unwrap();
        fs::rename(self.file("faults.new"), self.file("faults")).unwrap();
        // The module looks at the file every two milliseconds at most.
        let end = Instant::now() + Duration::from_millis(3);
        until("the module looks again", || Instant::now() >= end);
    }

    /// How often the fault module saw `function`.
    pub(crate) fn calls(&self, function: &str) -> u64 {
        let text = fs::read_to_string(self.file("counts")).unwrap_or_default();
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix(function)?.strip_prefix(" = "));
        count.map_or(0, |count| count.parse().unwrap())
    }
}

/// A number that is not zero.
pub(crate) fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Waits until `condition` holds, at most ten seconds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "not within ten seconds: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}
