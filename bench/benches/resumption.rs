//! What a resumed handshake costs beside TLS: opening the ticket, asking everything about the client again, sealing the
//! next one. And a million clients that return to a session cache which does not hold them all.
//!
//! Sizes of tickets and the figures of the cache are told on stderr before the benches run.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::snapshot::{Rules, Standing};
use portcullis::ticket_keys::{KeyRing, TicketKey, Versions};
use portcullis::tls::{SessionCache, Stored};
use portcullis::trust::{Demand, Proof};
use portcullis_bench::pki::{Ca, Client, write_file};
use portcullis_config::Config;
use rustls_pki_types::{CertificateDer, UnixTime};

use common::is_brief;

mod common;

/// As in the gateway: what is resident depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of a TLS 1.3 session with server name, SHA-256 secret and ALPN, beside the client.
const SESSION: usize = 84;
const THREADS: u64 = 2;

/// A site that demands certificates, with one intermediate that is configured, and a client of it.
fn world(folder: &Path) -> (Demand, Vec<CertificateDer<'static>>, Proof) {
    let root = Ca::root("root").expect("a CA");
    let middle = root.intermediate("issuing").expect("a CA");
    let client = Client::new("orders").uri("spiffe://example.com/ns/shop/sa/orders");
    let leaf = client.and_then(|client| client.issued_by(&middle));
    let chain = leaf.and_then(|leaf| leaf.chain_der()).expect("a chain");
    root.write_trust(&folder.join("root.pem")).expect("written");
    write_file(&folder.join("middle.pem"), middle.pem()).expect("written");
    let text = format!(
        "state_dir = {folder:?}\n[keys]\nsoftware = ['file:k.pem']\n[trust.clients]\nanchors = 'root.pem'\n\
         intermediates = 'middle.pem'\n[[listener]]\nbind = '127.0.0.1:0'\n\
         client_cert = {{ mode = 'require', trust = 'clients' }}\n[[site]]\nhosts = ['api.example.com']\n\
         certificate = {{ chain = 'c.pem', key = 'file:k.pem' }}\nupstream = 'http://127.0.0.1:1'\n"
    );
    let path = folder.join("portcullis.toml");
    write_file(&path, &text).expect("written");
    let (config, _) = Config::load(&path).expect("a configuration");
    let standing = Standing::open(&config).expect("a state folder");
    let rules = Rules::build(&config, &standing, None).expect("rules");
    let demand = rules.sites[0].handshake.clone();
    let proof = demand.verify(&chain, UnixTime::now()).expect("believed");
    (demand, chain, proof.expect("verified"))
}

#[expect(clippy::print_stderr, reason = "a figure criterion has no place for")]
fn tickets(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let (demand, chain, proof) = world(folder.path());
    let key = TicketKey::new(&[7; 32], Versions::All, "bench".to_owned(), (0, i64::MAX));
    let key = std::sync::Arc::new(key);
    let ring = KeyRing::new(Some(std::sync::Arc::clone(&key)), Vec::new());
    let binding = [3; 32];
    let ders: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
    let mut known = vec![0; SESSION];
    demand.write_client(&ders, Some(&proof), &mut known);
    let without = vec![0; SESSION];
    let seal = |state: &[u8]| key.seal(&binding, state).expect("randomness");
    eprintln!(
        "ticket: {} bytes without a certificate, {} with a P-256 leaf of {} bytes and one known intermediate of {}",
        seal(&without).len(),
        seal(&known).len(),
        ders[0].len(),
        ders[1].len()
    );
    criterion.bench_function("ticket/seal and open, no certificate", |bencher| {
        bencher.iter(|| {
            let ticket = seal(black_box(&without));
            black_box(ring.open(&binding, &ticket).is_ok())
        });
    });
    criterion.bench_function("ticket/open, recognize and seal, certificate", |bencher| {
        let ticket = seal(&known);
        bencher.iter(|| {
            let opened = ring.open(&binding, black_box(&ticket)).expect("opens");
            let shown = demand.read_client(&opened[SESSION..]).expect("recalled");
            assert!(demand.met_by(&shown, UnixTime::now()).is_ok());
            black_box(seal(&opened))
        });
    });
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Client numbers as callers come: a few often, most seldom (Zipf with exponent 1, by inversion).
fn visitor(random: &mut u64, clients: u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let uniform = (*random >> 11) as f64 / (1u64 << 53) as f64;
    ((clients as f64).powf(uniform) as u64).min(clients - 1)
}

fn id(client: u64, visit: u64) -> [u8; 32] {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&client.to_be_bytes());
    id[8..16].copy_from_slice(&visit.to_be_bytes());
    id
}

/// `clients` of them, each with the session of its last visit, of `state` bytes.
#[expect(clippy::print_stderr, reason = "a figure criterion has no place for")]
fn crowd(clients: u64, state: usize) {
    let again = 2 * clients;
    let visits: Vec<AtomicU64> = (0..clients).map(|_| AtomicU64::new(0)).collect();
    let before = resident_kib();
    let cache = SessionCache::new(200_000, 64 << 20);
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, visits) = (&cache, &visits);
            scope.spawn(move || {
                let mut random = 0x9e37_79b9_7f4a_7c15 ^ (thread + 1);
                // Everybody comes once, then most come by their habit.
                let all = (0..clients).filter(|client| client % THREADS == thread);
                let habits = (0..again / THREADS).map(|_| visitor(&mut random, clients));
                for client in all.chain(habits) {
                    let last = visits[client as usize].fetch_add(1, Ordering::Relaxed);
                    if last > 0 {
                        black_box(cache.get(&id(client, last)));
                    }
                    let stored = Stored::new(([1; 32], 0), i64::MAX, vec![0; state].into());
                    cache.put(&id(client, last + 1), stored);
                }
            });
        }
    });
    let took = start.elapsed();
    let stats = cache.stats();
    eprintln!(
        "{clients} clients, sessions of {state} bytes: {} kept in {} of {} bytes, resident {} KiB more; {:.1} % of {} \
         returning visits found theirs; {:.2} us a visit on {THREADS} threads",
        stats.entries,
        stats.bytes,
        stats.capacity,
        resident_kib().saturating_sub(before),
        100.0 * stats.hits as f64 / (stats.hits + stats.misses) as f64,
        stats.hits + stats.misses,
        took.as_secs_f64() * 1e6 * THREADS as f64 / (clients + again) as f64,
    );
}

fn cache(criterion: &mut Criterion) {
    // The large ones first: what they leave behind is not new to the others.
    for state in [900, 100] {
        crowd(if is_brief() { 1_000 } else { 1_000_000 }, state);
    }
    let cache = SessionCache::new(200_000, 64 << 20);
    let mut at = 0;
    criterion.bench_function("session cache/put and get", |bencher| {
        bencher.iter(|| {
            at += 1;
            let stored = Stored::new(([1; 32], 0), i64::MAX, vec![0; 900].into());
            cache.put(&id(at, 0), stored);
            black_box(cache.get(&id(at, 0)).is_some())
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3));
    targets = tickets, cache
}
criterion_main!(benches);
