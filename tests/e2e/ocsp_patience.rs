//! OCSP responders that hang: they cost their own clients the deadline, and nobody else anything.

use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Answer, Leaf, Standing};
use tokio::task::JoinSet;

use crate::harness::judge::{assert_closed, assert_served};
use crate::harness::{Client, Connection, Gateway, GatewayBuilder, Web, client_ca, until};

/// Clients of the responder that hangs: more than the gateway asks about at once.
const HANGING: u64 = 80;

/// What is measured of the unrelated client.
const REQUESTS: usize = 1_000;
const P99_MAX: Duration = Duration::from_millis(100);

fn describe(echo: &Echo, mode: &str, ocsp: &str) -> GatewayBuilder {
    let ocsp = format!("[trust.clients.ocsp]\n{ocsp}");
    Gateway::builder()
        .trust("clients", client_ca(), &ocsp)
        .demand(mode, "clients")
        .upstream(echo)
        .allow("anyone")
}

fn leaf(serial: u64, responder: &str) -> Leaf {
    let client = pki::Client::new("client").serial(serial);
    let client = client.responder_at(responder);
    client.issued_by(client_ca()).unwrap()
}

/// A responder that says "good" at `/good`, and nothing at `/hangs`.
async fn responder() -> Web {
    let web = Web::start().await;
    web.answer("/good", |question| {
        let good = Answer::new(Standing::Good);
        good.signed_by(client_ca(), question).ok()
    });
    web.hang("/hangs");
    web
}

/// Clients that come all at once and wait for a responder that hangs.
async fn hang(gateway: &Gateway, web: &Web) -> JoinSet<Option<Connection>> {
    let mut waiting = JoinSet::new();
    for serial in 0..HANGING {
        let client = Client::new().certificate(&leaf(1_000 + serial, &web.url("/hangs")));
        let address = gateway.address();
        waiting.spawn(async move {
            let mut connection = client.connect(address).await.ok()?;
            connection.get("/").await.ok().map(|_| connection)
        });
    }
    until("the responder hangs", async || {
        (web.count("/hangs") >= 16).then_some(())
    })
    .await;
    waiting
}

#[expect(clippy::print_stderr, reason = "a measurement is told")]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_responder_hangs_others_do_not_notice() {
    let (echo, web) = (Echo::start().await.unwrap(), responder().await);
    let gateway = describe(&echo, "accept", "mode = 'hard'\ndeadline = '10s'")
        .spawn()
        .await;
    let standing = Client::new().certificate(&leaf(1, &web.url("/good")));
    let mut standing = standing.connect(gateway.address()).await.unwrap();
    assert_eq!(standing.get("/").await.unwrap().status, 200);
    let mut waiting = hang(&gateway, &web).await;
    let mut times = Vec::with_capacity(REQUESTS);
    for number in 0..REQUESTS {
        let begun = Instant::now();
        // Every tenth with a handshake of its own.
        let answer = match number % 10 {
            0 => Client::new().get(&gateway, "/status/204").await,
            _ => standing.get("/status/204").await,
        };
        assert_eq!(answer.unwrap().status, 204);
        times.push(begun.elapsed());
    }
    let hung = waiting.try_join_next().is_none();
    times.sort_unstable();
    let (p50, p99) = (times[REQUESTS / 2], times[REQUESTS * 99 / 100]);
    tell(&format!(
        "{HANGING} clients wait for a responder that hangs; another one's {REQUESTS} requests: p50 {p50:?}, p99 {p99:?}"
    ));
    assert!(hung, "nobody's wait was over meanwhile");
    assert!(p99 < P99_MAX, "{p99:?}");
}

#[tokio::test]
async fn a_responder_that_hangs_leaves_room_for_the_questions_of_others() {
    let (echo, web) = (Echo::start().await.unwrap(), responder().await);
    let gateway = describe(&echo, "require", "mode = 'hard'\ndeadline = '5s'")
        .spawn()
        .await;
    let waiting = hang(&gateway, &web).await;
    let begun = Instant::now();
    for serial in 0..10 {
        assert_served(&gateway, &leaf(serial + 1, &web.url("/good"))).await;
    }
    let took = begun.elapsed();
    tell(&format!(
        "ten certificates were asked about meanwhile in {took:?}"
    ));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(web.count("/hangs"), 16, "a quarter of the fetches");
    for outcome in waiting.join_all().await {
        assert!(
            outcome.is_none(),
            "hard: nobody without an answer is served"
        );
    }
}

#[tokio::test]
async fn the_deadline_is_kept_and_a_late_answer_is_of_use_to_the_next() {
    let (echo, web) = (Echo::start().await.unwrap(), responder().await);
    let gateway = describe(&echo, "require", "mode = 'hard'\ndeadline = '300ms'")
        .spawn()
        .await;
    let late = leaf(1, &web.url("/late"));
    web.answer("/late", |question| {
        // Blocks this server, which nobody else asks.
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        let good = Answer::new(Standing::Good);
        good.signed_by(client_ca(), question).ok()
    });
    let client = Client::new().certificate(&late);
    let detail = assert_closed(&gateway, &client, "CLIENT_CERT_OCSP_UNAVAILABLE").await;
    assert!(detail.contains("deadline"), "{detail}");
    until("the answer is there", async || {
        client.get(&gateway, "/").await.ok()
    })
    .await;
    assert_eq!(web.count("/late"), 1);
}

#[tokio::test]
async fn when_a_responder_goes_hard_ends_standing_connections_with_the_answer_and_soft_does_not() {
    let (echo, web) = (Echo::start().await.unwrap(), responder().await);
    let start = async |mode| {
        let toml = format!("mode = '{mode}'\nrefresh = '2s'\n[timeouts]\nrevoked = '100ms'");
        describe(&echo, "require", &toml).spawn().await
    };
    let (hard, soft) = (start("hard").await, start("soft").await);
    let client = Client::new().certificate(&leaf(1, &web.url("/good")));
    let mut on_hard = client.connect(hard.address()).await.unwrap();
    let mut on_soft = client.connect(soft.address()).await.unwrap();
    assert_eq!(on_hard.get("/").await.unwrap().status, 200);
    assert_eq!(on_soft.get("/").await.unwrap().status, 200);
    web.put("/good", b"nonsense".to_vec());
    let line = hard.wait_for_refusal("CLIENT_CERT_OCSP_UNAVAILABLE").await;
    assert_eq!(line["client.port"], on_hard.tls.port);
    until("the connection ends", async || {
        on_hard.has_ended().then_some(())
    })
    .await;
    let passes = "portcullis_ocsp_soft_passes_total{bundle=\"clients\"}";
    until("the other one passes, and is counted", async || {
        (soft.metric(passes).await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(on_soft.get("/").await.unwrap().status, 200);
}
