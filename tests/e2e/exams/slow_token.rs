//! A token of 5 ms that hangs 1.5 s on one signature in sixty.

use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;

use super::tell;
use crate::harness::Client;
use crate::hsm_faults::{Faults, behind};

const SECONDS: u64 = 15;
const FLOOD: usize = 8;
const DEADLINE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bystanders_do_not_notice_a_slow_and_hanging_token() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let hsm = format!("sessions = 8\ndeadline = '{}ms'", DEADLINE.as_millis());
    let gateway = behind(&faults)
        .hsm(&hsm)
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let mut standing = Client::new().connect(gateway.address()).await.unwrap();
    faults.set("delay_us = 5000\nengines = 8\nhang_every = 60\nhang_ms = 1500\n");
    let address = gateway.address();
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let flood: Vec<_> = (0..FLOOD)
        .map(|_| {
            tokio::spawn(async move {
                let mut took = Vec::new();
                let mut refused = 0;
                while Instant::now() < end {
                    let begun = Instant::now();
                    match Client::new().connect(address).await {
                        Ok(_) => took.push(begun.elapsed()),
                        Err(_) => refused += 1,
                    }
                    assert!(
                        begun.elapsed() < DEADLINE + Duration::from_millis(500),
                        "{:?}",
                        begun.elapsed()
                    );
                }
                (took, refused)
            })
        })
        .collect();
    let mut bystander = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        assert_eq!(standing.get("/status/204").await.unwrap().status, 204);
        bystander.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (mut handshakes, mut refused) = (Vec::new(), 0);
    for task in flood {
        let (took, no) = task.await.unwrap();
        handshakes.extend(took);
        refused += no;
    }
    let (p50, p99) = percentiles(&mut bystander);
    tell(&format!(
        "bystander over {} requests: p50 {p50:?}, p99 {p99:?}",
        bystander.len()
    ));
    let rate = handshakes.len() as u64 / SECONDS;
    let (hs50, hs99) = percentiles(&mut handshakes);
    tell(&format!(
        "{rate} handshakes/s, p50 {hs50:?}, p99 {hs99:?}; {refused} ended at their deadline"
    ));
    assert!(p99 < Duration::from_millis(5), "p99 {p99:?}");
    assert!(refused > 0, "nothing hung: the exam examined nothing");
}

fn percentiles(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
