//! How often the functions that matter were called, in a file that is always up to date.
//!
//! What it promises: the file of `FAULT_COUNTS` is replaced as a whole by one write of fixed width, so a
//! reader never sees half of it; without the variable a count is one addition.

use std::env;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What is counted, in the order of the file. Readers may look a line up by the beginning of its name,
/// so `C_Sign` stands before what begins with it.
const NAMES: [&str; 8] = [
    "C_Login",
    "C_Sign",
    "C_Initialize",
    "C_Finalize",
    "C_OpenSession",
    "C_SignInit",
    "C_Sign_length",
    "C_FindObjectsInit",
];

/// A function that is counted; its number is its place in [`NAMES`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted {
    Login,
    /// `C_Sign` that asks for a signature.
    Sign,
    Initialize,
    Finalize,
    OpenSession,
    SignInit,
    /// `C_Sign` that asks for the length of a signature.
    SignLength,
    FindObjectsInit,
}

static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// The lock keeps the writes in the order of the counts.
static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();

/// Counts a call; its number in this process, from 1.
pub(crate) fn count(function: Counted) -> u64 {
    let number = COUNTS[function as usize].fetch_add(1, Ordering::SeqCst) + 1;
    let open = || env::var_os("FAULT_COUNTS").and_then(|path| File::create(path).ok());
    if let Some(file) = FILE.get_or_init(|| open().map(Mutex::new)) {
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not become a fault that nobody asked for.
        let _ = file.write_all_at(text(&COUNTS).as_bytes(), 0);
    }
    number
}

fn text(counts: &[AtomicU64; NAMES.len()]) -> String {
    let mut text = String::with_capacity(320);
    for (name, count) in NAMES.iter().zip(counts) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} = {:020}", count.load(Ordering::SeqCst));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{AtomicU64, Counted, NAMES, text};

    #[test]
    fn the_text_has_one_width_and_the_names_are_in_the_order_of_the_functions() {
        let none = [const { AtomicU64::new(0) }; NAMES.len()];
        let most = [const { AtomicU64::new(u64::MAX) }; NAMES.len()];
        assert_eq!(text(&none).len(), text(&most).len());
        assert_eq!(text(&none).lines().count(), NAMES.len());
        for (function, name) in [
            (Counted::Login, "C_Login"),
            (Counted::Sign, "C_Sign"),
            (Counted::Initialize, "C_Initialize"),
            (Counted::Finalize, "C_Finalize"),
            (Counted::OpenSession, "C_OpenSession"),
            (Counted::SignInit, "C_SignInit"),
            (Counted::SignLength, "C_Sign_length"),
            (Counted::FindObjectsInit, "C_FindObjectsInit"),
        ] {
            assert_eq!(NAMES[function as usize], name);
            let first = text(&none).lines().position(|line| line.contains(name));
            assert_eq!(first, Some(function as usize), "{name}");
        }
    }
}
