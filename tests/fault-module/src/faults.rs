//! What happens to one signature: it waits for an engine, takes longer, hangs, or fails.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io, io::Write, thread};

use cryptoki_sys::CK_RV;

use crate::settings::Settings;

/// How often a hanging signature looks whether it may go on.
const HANG_CHECK: Duration = Duration::from_millis(5);

/// The faults of this process.
pub(crate) static FAULTS: Faults = Faults {
    file: OnceLock::new(),
    current: Mutex::new(None),
    busy: Mutex::new(0),
    free: Condvar::new(),
};

pub(crate) struct Faults {
    file: OnceLock<Option<PathBuf>>,
    /// The settings, and the file they were read from as it was then.
    current: Mutex<Option<(Version, Settings)>>,
    /// Engines that sign.
    busy: Mutex<usize>,
    free: Condvar,
}

/// Tells one content of the settings file from the next.
type Version = (SystemTime, u64);

/// What is to be done with a signature.
pub(crate) enum Verdict {
    /// Ask the real module, and free the engine after it.
    Forward(Option<Engine>),
    /// Return this.
    Fail(CK_RV),
}

/// An engine that signs; free again when dropped.
pub(crate) struct Engine;

impl Faults {
    /// Lets the faults happen to the signature of this number, counted from 1.
    pub(crate) fn strike(&self, number: u64) -> Verdict {
        let settings = self.settings();
        if every(settings.hang_every, number) {
            // Before an engine is taken: what hangs in a real HSM is mostly its connection.
            self.hang(settings.hang);
        }
        let engine = (settings.engines > 0).then(|| self.take_engine(settings.engines));
        pass(settings.delay);
        if every(settings.error_every, number) {
            return Verdict::Fail(settings.error_code);
        }
        Verdict::Forward(engine)
    }

    /// Hangs for `time`, or until the settings ask for no hanging signature any more.
    fn hang(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && self.settings().hang_every > 0 {
            pass(HANG_CHECK.min(time));
        }
    }

    fn take_engine(&self, engines: usize) -> Engine {
        let busy = lock(&self.busy);
        let wait = self.free.wait_while(busy, |busy| *busy >= engines);
        *wait.unwrap_or_else(PoisonError::into_inner) += 1;
        Engine
    }

    /// The settings now: the file is read again when its time or size changed.
    fn settings(&self) -> Settings {
        let file = self
            .file
            .get_or_init(|| env::var_os("FAULT_SETTINGS").map(PathBuf::from));
        let Some(file) = file else {
            return Settings::default();
        };
        let version = fs::metadata(file).and_then(|meta| Ok((meta.modified()?, meta.len())));
        // A file that is not there yet asks for nothing.
        let Ok(version) = version else {
            return Settings::default();
        };
        let mut current = lock(&self.current);
        match &*current {
            Some((read, settings)) if *read == version => settings.clone(),
            _ => {
                let text = fs::read_to_string(file).map_err(|error| error.to_string());
                let settings =
                    text.and_then(|text| Settings::parse(&text))
                        .unwrap_or_else(|error| {
                            let _ =
                                writeln!(io::stderr(), "fault-module: {}: {error}", file.display());
                            Settings::default()
                        });
                *current = Some((version, settings.clone()));
                settings
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        *lock(&FAULTS.busy) -= 1;
        FAULTS.free.notify_one();
    }
}

fn every(n: u64, number: u64) -> bool {
    n > 0 && number.is_multiple_of(n)
}

#[expect(
    clippy::disallowed_methods,
    reason = "time that passes inside C_Sign is the fault"
)]
fn pass(time: Duration) {
    if !time.is_zero() {
        thread::sleep(time);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
