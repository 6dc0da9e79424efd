//! The settings of now: the file is read again while the process runs.
//!
//! What it promises: the file is looked at no more often than every [`LOOK_EVERY`], so that a module
//! without faults costs a signature next to nothing; a change takes effect that much later at most.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io, io::Write};

use crate::settings::Settings;
use crate::token;

/// How old what is known of the file may be.
const LOOK_EVERY: Duration = Duration::from_millis(2);

static WATCH: LazyLock<Option<Watch>> = LazyLock::new(|| {
    let file = env::var_os("FAULT_SETTINGS")?;
    Some(Watch {
        file: file.into(),
        current: Mutex::default(),
    })
});

static NONE: LazyLock<Arc<Settings>> = LazyLock::new(Arc::default);

/// A settings file.
struct Watch {
    file: PathBuf,
    current: Mutex<Current>,
}

/// The settings, and the file they were read from as it was then; none before the file is there.
#[derive(Default)]
struct Current {
    looked: Option<Instant>,
    version: Option<Version>,
    settings: Arc<Settings>,
}

/// Tells one content of the settings file from the next.
#[derive(PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    len: u64,
    /// Clocks of file systems are coarse; a file that was moved into place is another one.
    inode: u64,
}

/// The settings now. What a new content does to the token has happened when this returns.
pub(crate) fn settings() -> Arc<Settings> {
    WATCH
        .as_ref()
        .map_or_else(|| Arc::clone(&NONE), Watch::settings)
}

impl Watch {
    fn settings(&self) -> Arc<Settings> {
        // Held while the file is read, so that no call overtakes a change.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = current
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= LOOK_EVERY);
        if due {
            current.looked = Some(now);
            let version = Version::of(&self.file);
            if current.version != version {
                current.settings = Arc::new(self.read(version.is_some()));
                current.version = version;
                token::settings_changed(&current.settings);
            }
        }
        Arc::clone(&current.settings)
    }

    /// A file that is not there, or is not understood, asks for nothing.
    fn read(&self, exists: bool) -> Settings {
        if !exists {
            return Settings::default();
        }
        let text = fs::read_to_string(&self.file).map_err(|error| error.to_string());
        let settings = text.and_then(|text| Settings::parse(&text));
        settings.unwrap_or_else(|error| {
            let _ = writeln!(
                io::stderr(),
                "fault-module: {}: {error}",
                self.file.display()
            );
            Settings::default()
        })
    }
}

impl Version {
    fn of(file: &Path) -> Option<Self> {
        let meta = fs::metadata(file).ok()?;
        Some(Version {
            modified: meta.modified().ok()?,
            len: meta.len(),
            inode: meta.ino(),
        })
    }
}
