//! A revocation list with 100,000 entries in a running gateway.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, List};

use super::{memory, tell};
use crate::harness::{Client, Gateway, client_ca, until};

const ENTRIES: u64 = 100_000;
const ROUNDS: usize = 7;

/// What the list may add to the gateway. Its DER alone is 5 MB.
const MEMORY_MAX_KIB: u64 = 24 * 1024;
/// What a reload may take.
const RELOAD_MAX: Duration = Duration::from_secs(2);

/// Serial numbers of 16 bytes, as CAs give them, and one of our own.
fn list(number: u64, entries: u64) -> Vec<u8> {
    let spread = |at: u64| u128::from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 63;
    let mut list = List::new(number).revoke_for(7_u64, 1);
    for at in 1..entries {
        list = list.revoke_for(spread(at) | u128::from(at), 4);
    }
    list.signed_by(client_ca()).unwrap()
}

async fn gateway(echo: &Echo, file: &std::path::Path) -> Gateway {
    let crl = format!("[trust.clients.crl]\nfiles = {file:?}\ncheck = '100ms'");
    Gateway::builder()
        .trust("clients", client_ca(), &crl)
        .demand("require", "clients")
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
}

/// The median, the least and the most.
fn spread(mut values: Vec<u64>) -> String {
    values.sort_unstable();
    let (least, most) = (values[0], values[values.len() - 1]);
    format!("{} ({least}–{most})", values[values.len() / 2])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_with_100_000_entries_is_cheap() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (folder.path().join("small"), folder.path().join("large"));
    fs::write(&small, list(1, 1)).unwrap();
    fs::write(&large, list(1, ENTRIES)).unwrap();
    let bytes = fs::metadata(&large).unwrap().len();
    let client = |serial| {
        let client = pki::Client::new("client").serial(serial);
        Client::new().certificate(&client.issued_by(client_ca()).unwrap())
    };
    let (good, bad) = (client(8), client(7));
    let (mut more, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut resident = Vec::new();
        for file in [&small, &large] {
            let begun = Instant::now();
            let gateway = gateway(&echo, file).await;
            starts.push(begun.elapsed());
            assert_eq!(good.get(&gateway, "/").await.unwrap().status, 200);
            assert!(bad.get(&gateway, "/").await.is_err());
            resident.push(memory(&gateway, "VmRSS"));
        }
        more.push(resident[1].saturating_sub(resident[0]));
    }
    let gateway = gateway(&echo, &large).await;
    let mut reloads = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        gateway.reload().await.unwrap();
        reloads.push(begun.elapsed());
    }
    let mut noticed = Vec::new();
    let origin = large.display();
    let name =
        format!("portcullis_crl_entries{{bundle=\"clients\",origin=\"{origin}\",delta=\"false\"}}");
    for round in 1..=ROUNDS as u64 {
        // One more entry each time tells them apart.
        let fresh = list(1 + round, ENTRIES + round);
        fs::write(folder.path().join("draft"), fresh).unwrap();
        fs::rename(folder.path().join("draft"), &large).unwrap();
        let begun = Instant::now();
        until("the new list is in use", async || {
            let entries = gateway.metric(&name).await;
            (entries == (ENTRIES + round) as f64).then_some(())
        })
        .await;
        noticed.push(begun.elapsed());
    }
    let peak = memory(&gateway, "VmHWM");
    let now = memory(&gateway, "VmRSS");
    let millis =
        |times: &[Duration]| spread(times.iter().map(|it| it.as_millis() as u64).collect());
    let starts_of =
        |from: usize| -> Vec<Duration> { starts.iter().skip(from).step_by(2).copied().collect() };
    tell(&format!(
        "a list of {ENTRIES} entries ({bytes} bytes): {} KiB resident more than with one entry; start {} ms against {} ms; reload {} ms; a new file in use after {} ms (looked at every 100 ms); after {ROUNDS} changes {now} KiB resident, peak {peak} KiB",
        spread(more.clone()),
        millis(&starts_of(1)),
        millis(&starts_of(0)),
        millis(&reloads),
        millis(&noticed),
    ));
    more.sort_unstable();
    assert!(more[ROUNDS / 2] < MEMORY_MAX_KIB, "{more:?}");
    assert!(reloads.iter().all(|time| *time < RELOAD_MAX), "{reloads:?}");
}
