//! The long set: giant bodies, thousands of connections, a slow and hanging token under load.
//!
//! `make exams` builds it in release and runs it one after the other; each prints its figures and checks
//! the promise behind them.

mod bodies;
mod connections;
mod floods;
mod full_queue;
mod large_list;
mod scale;
mod slow_token;

use std::fs;

use crate::harness::Gateway;

/// One value of `/proc/PID/status`, in KiB.
fn memory(gateway: &Gateway, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let digits: String = line.unwrap().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[expect(clippy::print_stdout, reason = "an exam tells its figures")]
fn tell(text: &str) {
    println!("EXAM {text}");
}
