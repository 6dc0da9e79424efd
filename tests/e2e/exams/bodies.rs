//! A gibibyte each way, and a reader that does not read.

use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;

use super::{memory, tell};
use crate::harness::{Client, Gateway, RawTls};

const GIBIBYTE: u64 = 1 << 30;
const BOUND_KIB: u64 = 64 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_each_way_stays_under_64_mib() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let file = gateway.folder().join("gibibyte");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(GIBIBYTE)
        .unwrap();
    for http in ["--http1.1", "--http2"] {
        let begun = Instant::now();
        let said = gateway
            .curl(
                &[
                    http,
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code} %{size_download}",
                ],
                "/bytes/1073741824",
            )
            .await;
        assert_eq!(said.stdout, format!("200 {GIBIBYTE}"), "{said:?}");
        tell(&format!("{http} down 1 GiB in {:?}", begun.elapsed()));
        let begun = Instant::now();
        let path = file.display().to_string();
        let said = gateway.curl(&[http, "-T", &path], "/upload").await;
        assert!(said.stdout.contains("1073741824"), "{said:?}");
        tell(&format!("{http} up 1 GiB in {:?}", begun.elapsed()));
    }
    let peak = memory(&gateway, "VmHWM");
    tell(&format!("peak resident memory {peak} KiB after 4 GiB"));
    assert!(peak < BOUND_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read_do_not_grow_memory() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let before = memory(&gateway, "VmRSS");
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let mut client = RawTls::connect(&Client::new(), gateway.address())
            .await
            .unwrap();
        client
            .write("GET /bytes/1073741824 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        stalled.push(client);
    }
    // Long enough for a gateway without bounds to take gigabytes.
    let end = Instant::now() + Duration::from_secs(5);
    let mut peak = 0;
    while Instant::now() < end {
        peak = peak.max(memory(&gateway, "VmRSS"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tell(&format!(
        "50 stalled downloads: {} KiB each",
        peak.saturating_sub(before) / 50
    ));
    assert!(peak - before < BOUND_KIB, "{before} -> {peak} KiB");
    drop(stalled);
}
