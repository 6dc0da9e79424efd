//! The fuzz targets, briefly and the same in every run: seeds, and seeds with something changed.
//!
//! `make fuzz` runs the same checks for longer, guided by coverage.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it relies on does not hold"
)]

#[expect(unreachable_pub, reason = "a library for the targets, a module here")]
#[path = "src/lib.rs"]
mod checks;

use std::fs;
use std::path::Path;

use checks::{client_cert, crl, hello, identity, ocsp, path, proxy_protocol, session, xfcc};

/// Changed inputs for each target: two seconds at most without optimisation.
const ROUNDS: usize = 8_000;

/// xorshift64: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % end.max(1)
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort_unstable();
    assert!(!paths.is_empty(), "{target} has no seeds");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes a few bytes, or takes some out, or puts some of another seed in.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(input.len());
        match numbers.below(4) {
            0 if !input.is_empty() => input[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
            2 => {
                let end = (at + numbers.below(8)).min(input.len());
                input.drain(at..end);
            }
            _ => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len());
                let to = (from + numbers.below(16)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}

fn run(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    seeds.iter().for_each(|seed| check(seed));
    for round in 0..ROUNDS {
        let mut input = seeds[round % seeds.len()].clone();
        change(&mut input, &seeds, &mut numbers);
        check(&input);
    }
}

#[test]
fn xfcc_reads_back() {
    run("xfcc", xfcc::check);
}

#[test]
fn client_cert_reads_back() {
    run("client_cert", client_cert::check);
}

#[test]
fn an_accepted_path_has_one_reading() {
    run("path", path::check);
}

#[test]
fn a_list_is_read_whole_or_not_at_all() {
    run("crl", crl::check);
}

#[test]
fn an_answer_is_believed_with_the_issuers_signature_alone() {
    run("ocsp", ocsp::check);
}

#[test]
fn any_certificate_is_read_or_refused() {
    run("identity", identity::check);
}

#[test]
fn a_hello_offers_no_more_than_its_bytes_hold() {
    run("hello", hello::check);
}

#[test]
fn a_session_that_is_read_comes_back_as_it_was_written() {
    run("session", session::check);
}

#[test]
fn a_proxy_header_that_is_read_reads_back() {
    run("proxy_protocol", proxy_protocol::check);
}
