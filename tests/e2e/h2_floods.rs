//! Floods over HTTP/2: each is ended by the gateway, costs it no memory, and keeps nobody else waiting.

mod kinds;

use std::fs;
use std::time::Duration;

use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use self::kinds::{Flood, Reads};
use crate::harness::frames::{Frames, PRIORITY, frame};
use crate::harness::{Client, Connection, Gateway, tell, until};

/// Frames after which a flood has to be over.
const MOST: usize = 20_000;
/// Frames between two looks whether it is.
const BATCH: usize = 50;
/// More memory than this is not flat, KiB.
const GROWTH: u64 = 16 * 1024;
/// Requests of the bystander while nothing else goes on.
const QUIET: usize = 300;
/// And at least while something does.
const BESIDE: usize = 30;
/// How long a connection may take to end.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a client that is not read to is borne.
const WRITE: &str = "[timeouts]\nwrite = '1s'\nidle = '5s'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flood_is_ended_and_costs_others_nothing() {
    // Tests side by side make waits of their own; the exam has the machine to itself.
    examine(Duration::from_millis(60)).await;
}

/// Runs all floods. A bystander may wait twice as long as without them, or as long as `floor`.
pub(crate) async fn examine(floor: Duration) {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(WRITE)
        .spawn()
        .await;
    let mut bystander = Client::new().connect(gateway.address()).await.unwrap();
    let mut idle = waits(&mut bystander, QUIET).await;
    let idle = p99(&mut idle);
    let mut wrong = Vec::new();
    for flood in kinds::all() {
        let before = resident(&gateway);
        let counter = format!("portcullis_refusals_total{{reason=\"{}\"}}", flood.reason);
        let counted = gateway.metric(&counter).await;
        let client = Frames::open(&gateway, &[]).await;
        let port = client.port;
        let running: JoinHandle<Ended> = tokio::spawn(run(client, flood.clone()));
        let mut waits = waits_while(&mut bystander, &running).await;
        let ended = running.await.unwrap();
        let p99 = p99(&mut waits);
        let grown = resident(&gateway).saturating_sub(before);
        tell(&format!(
            "{}: ended after {} frames, {grown} KiB more, bystander p99 {p99:?} (idle {idle:?}, {} requests)",
            flood.name,
            ended.frames,
            waits.len()
        ));
        if !ended.by_gateway || ended.frames > MOST {
            wrong.push(format!(
                "{}: {} frames and not ended",
                flood.name, ended.frames
            ));
            continue;
        }
        if grown > GROWTH {
            wrong.push(format!("{}: {grown} KiB more", flood.name));
        }
        if p99 > (2 * idle).max(floor) {
            wrong.push(format!("{}: bystander {p99:?}, idle {idle:?}", flood.name));
        }
        let reason = reason(&gateway, port).await;
        if reason != flood.reason {
            wrong.push(format!("{}: {reason}", flood.name));
            continue;
        }
        until("the counter", async || {
            (gateway.metric(&counter).await > counted).then_some(())
        })
        .await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let lines = gateway.process_log().lines().count();
    assert!(
        lines < 20,
        "the process log grows with floods: {lines} lines"
    );
}

/// Why the connection from this port was ended, as the refusal log says.
async fn reason(gateway: &Gateway, port: u16) -> String {
    let reasons = ["HTTP2_FLOOD", "HTTP2_PROTOCOL", "ANSWER_UNREAD"];
    until("a line about the connection", async || {
        let lines = gateway.refusals();
        let mut own = lines.iter().filter(|line| line["client.port"] == port);
        own.find_map(|line| {
            let reason = line["reason"].as_str()?;
            reasons.contains(&reason).then(|| reason.to_owned())
        })
    })
    .await
}

struct Ended {
    frames: usize,
    by_gateway: bool,
}

/// Sends a flood until the gateway ends the connection, or it was too much.
async fn run(client: Frames, flood: Flood) -> Ended {
    let (read, mut write) = tokio::io::split(client.into_stream());
    let reader = match flood.reads {
        Reads::Everything => Some(tokio::spawn(drain(read))),
        Reads::Nothing => None,
    };
    let gone =
        |reader: &Option<JoinHandle<()>>| reader.as_ref().is_some_and(JoinHandle::is_finished);
    let mut frames = 0;
    let mut bytes = (flood.begin)();
    for number in 0.. {
        let next = (flood.next)(number);
        if next.is_empty() || frames > MOST || gone(&reader) {
            break;
        }
        bytes.extend(next);
        frames += flood.frames_each;
        if frames.is_multiple_of(BATCH) {
            if !send(&mut write, &bytes).await {
                return Ended {
                    frames,
                    by_gateway: true,
                };
            }
            bytes.clear();
            tokio::task::yield_now().await;
        }
    }
    let by_gateway = match reader {
        Some(reader) => timeout(PATIENCE, reader).await.is_ok(),
        None => fails(&mut write).await,
    };
    Ended { frames, by_gateway }
}

/// Whether what is sent fails some time: who reads nothing does not see the end.
async fn fails(write: &mut WriteHalf<TlsStream<TcpStream>>) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if !send(write, &frame(PRIORITY, 0, 1, [0, 0, 0, 0, 9])).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Sends; false when the connection has ended. A gateway that does not read any more either ends it soon or never.
async fn send(write: &mut WriteHalf<TlsStream<TcpStream>>, bytes: &[u8]) -> bool {
    let written = async {
        write.write_all(bytes).await?;
        write.flush().await
    };
    match timeout(PATIENCE, written).await {
        Ok(written) => written.is_ok(),
        Err(_) => panic!("the gateway neither reads nor ends the connection"),
    }
}

async fn drain(mut read: ReadHalf<TlsStream<TcpStream>>) {
    let mut room = vec![0; 64 * 1024];
    while read.read(&mut room).await.is_ok_and(|read| read > 0) {}
}

async fn wait(bystander: &mut Connection) -> Duration {
    let start = Instant::now();
    assert_eq!(bystander.get("/").await.unwrap().status, 200);
    start.elapsed()
}

async fn waits(bystander: &mut Connection, count: usize) -> Vec<Duration> {
    let mut waits = Vec::new();
    for _ in 0..count {
        waits.push(wait(bystander).await);
    }
    waits
}

async fn waits_while<T>(bystander: &mut Connection, running: &JoinHandle<T>) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !running.is_finished() || waits.len() < BESIDE {
        waits.push(wait(bystander).await);
    }
    waits
}

fn p99(waits: &mut [Duration]) -> Duration {
    waits.sort();
    waits[(waits.len() - 1) * 99 / 100]
}

/// Resident memory in KiB.
fn resident(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let digits = line.unwrap().trim().trim_end_matches(" kB");
    digits.parse().unwrap()
}
