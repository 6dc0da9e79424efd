//! Ten thousand clients that wait for a token that does not move, and those who come after them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{memory, tell};
use crate::harness::{Client, Gateway, until, within};
use crate::hsm_faults::{Faults, behind};

const WAITING: usize = 10_000;
const TURNED_AWAY: usize = 5_000;
/// A refusal is quicker than this.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);
/// What a client that waits for its signature may cost at most.
const BOUND_KIB: u64 = 64;
/// What thousands of refusals may leave behind: an allocator's slack.
const GROWTH_KIB: u64 = 4 * 1024;

/// A fatal `internal_error`, in the plain.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_wait_and_the_next_are_refused_within_50_ms() {
    raise_descriptor_limit();
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let hsm = "sessions = 1\ndeadline = '9m'\nhang_timeout = '9m'\nidle_check = 'off'";
    let gateway = behind(&faults)
        .hsm(&format!("{hsm}\nqueue = {WAITING}"))
        .extra_toml("[limits]\nhandshakes = 20000\n[timeouts]\nhandshake = '10m'")
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let mut standing = Client::new().connect(gateway.address()).await.unwrap();
    let before = memory(&gateway, "VmRSS");
    faults.set("hang_every = 1\nhang_ms = 3600000\n");
    let waiting = fill(&gateway).await;
    let full = memory(&gateway, "VmRSS");
    let each = full.saturating_sub(before) / WAITING as u64;
    tell(&format!("{WAITING} clients that wait: {each} KiB each"));
    assert!(each < BOUND_KIB, "{each} KiB");

    let hello = Client::new().client_hello();
    let mut refusals = Vec::new();
    for _ in 0..TURNED_AWAY {
        refusals.push(refusal(gateway.address(), &hello).await);
        if refusals.len() % 50 == 0 {
            assert_eq!(standing.get("/status/204").await.unwrap().status, 204);
        }
    }
    refusals.sort_unstable();
    let (p50, p99) = (refusals[TURNED_AWAY / 2], refusals[TURNED_AWAY * 99 / 100]);
    let last = refusals[TURNED_AWAY - 1];
    tell(&format!(
        "refused, connect to alert: p50 {p50:?}, p99 {p99:?}, last {last:?}"
    ));
    assert!(p99 < REFUSED_WITHIN, "p99 {p99:?}");
    let rejected = gateway
        .metric("portcullis_hsm_rejected_total{hsm=\"main\"}")
        .await;
    assert_eq!(rejected, TURNED_AWAY as f64);
    assert_eq!(
        gateway.wait_for_refusal("HSM_BUSY").await["reason"],
        "HSM_BUSY"
    );
    let grown = memory(&gateway, "VmRSS").saturating_sub(full);
    tell(&format!("{TURNED_AWAY} refusals: {grown} KiB more"));
    assert!(grown < GROWTH_KIB, "{grown} KiB");

    // Nobody who waited is forgotten.
    faults.set("");
    for mut client in waiting {
        let mut kind = [0];
        within("a ServerHello", client.read_exact(&mut kind))
            .await
            .unwrap();
        assert_eq!(kind[0], 22, "a handshake record");
    }
}

/// So many clients that the queue is full: one is being served.
async fn fill(gateway: &Gateway) -> Vec<TcpStream> {
    let hello = Client::new().client_hello();
    let mut waiting = Vec::with_capacity(WAITING + 1);
    for _ in 0..=WAITING {
        let mut tcp = TcpStream::connect(gateway.address()).await.unwrap();
        tcp.write_all(&hello).await.unwrap();
        waiting.push(tcp);
    }
    until("the queue is full", async || {
        let waiting = gateway.metric("portcullis_hsm_waiting{hsm=\"main\"}").await;
        (waiting == WAITING as f64).then_some(())
    })
    .await;
    waiting
}

/// From the connect to the alert.
async fn refusal(address: SocketAddr, hello: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(hello).await.unwrap();
    let mut alert = Vec::new();
    let read = within("the end of a refusal", tcp.read_to_end(&mut alert));
    read.await.unwrap();
    assert_eq!(alert, ALERT);
    begun.elapsed()
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
