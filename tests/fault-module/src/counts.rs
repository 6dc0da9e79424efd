//! How often `C_Login` and `C_Sign` were called, in a file that is always up to date.

use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The two counts; the lock keeps the file in their order.
static COUNTS: Mutex<(u64, u64)> = Mutex::new((0, 0));

static FILE: OnceLock<Option<File>> = OnceLock::new();

/// Counts a `C_Login`.
pub(crate) fn login() {
    count(|counts| counts.0 += 1);
}

/// Counts a `C_Sign` that asks for a signature; its number, from 1.
pub(crate) fn sign() -> u64 {
    count(|counts| counts.1 += 1).1
}

fn count(add: impl FnOnce(&mut (u64, u64))) -> (u64, u64) {
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    add(&mut counts);
    let open = || env::var_os("FAULT_COUNTS").and_then(|path| File::create(path).ok());
    if let Some(file) = FILE.get_or_init(open) {
        // Of fixed width, so that one write of one call replaces the whole of it.
        let text = format!("C_Login = {:020}\nC_Sign = {:020}\n", counts.0, counts.1);
        // A full disk must not become a fault that nobody asked for.
        let _ = file.write_all_at(text.as_bytes(), 0);
    }
    *counts
}
