//! An outage as clients see it: standing connections that ask without a pause, and clients that keep coming.
//!
//! A standing connection that fails ends the test; handshakes that fail are counted, for the test to judge.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::interval;

use super::{Client, Connection, Gateway, until};

/// What a token may take to be of use again, once what ailed it is gone.
const QUICK: Duration = Duration::from_secs(1);

/// Between two requests of a connection, and two handshakes of a client: the machine is shared.
const PACE: Duration = Duration::from_millis(3);

/// Clients that come at once; more than the sessions of the tokens under test.
const COMING: usize = 3;

/// Clients of a gateway, from [`Clients::come`] to [`Clients::leave`].
pub(crate) struct Clients {
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the clients saw.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Requests on standing connections. All were answered, or the test would have ended.
    pub(crate) answers: u64,
    pub(crate) handshakes: u64,
    pub(crate) refused: u64,
    /// Of the last refusal.
    pub(crate) why: Option<String>,
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    answers: AtomicU64,
    handshakes: AtomicU64,
    refused: AtomicU64,
    why: Mutex<Option<String>>,
}

impl Clients {
    /// Two connections stand, one of HTTP/1.1 and one of HTTP/2; clients come.
    pub(crate) async fn come(gateway: &Gateway) -> Self {
        let counts = Arc::new(Counts::default());
        let mut tasks = Vec::new();
        for client in [Client::new(), Client::new().h2()] {
            let standing = client.connect(gateway.address()).await.unwrap();
            tasks.push(tokio::spawn(ask(standing, Arc::clone(&counts))));
        }
        for _ in 0..COMING {
            let counts = Arc::clone(&counts);
            tasks.push(tokio::spawn(shake_hands(gateway.address(), counts)));
        }
        let clients = Self { counts, tasks };
        clients.more_handshakes(10).await;
        clients
    }

    /// Waits until so many more have ended, either way.
    pub(crate) async fn more_handshakes(&self, more: u64) {
        let enough = self.handshakes() + more;
        until("clients come", async || {
            (self.handshakes() >= enough).then_some(())
        })
        .await;
    }

    /// Handshakes that were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.counts.refused.load(SeqCst)
    }

    /// Ends the test if a standing connection failed.
    pub(crate) async fn leave(self) -> Outcome {
        self.counts.over.store(true, SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        let counts = &self.counts;
        Outcome {
            answers: counts.answers.load(SeqCst),
            handshakes: counts.handshakes.load(SeqCst),
            refused: counts.refused.load(SeqCst),
            why: counts.why.lock().unwrap().take(),
        }
    }

    fn handshakes(&self) -> u64 {
        self.counts.handshakes.load(SeqCst)
    }
}

async fn ask(mut standing: Connection, counts: Arc<Counts>) {
    let mut pace = interval(PACE);
    while !counts.over.load(SeqCst) {
        let answer = standing.get("/status/204").await;
        assert_eq!(answer.expect("a standing connection goes on").status, 204);
        counts.answers.fetch_add(1, SeqCst);
        pace.tick().await;
    }
}

async fn shake_hands(address: SocketAddr, counts: Arc<Counts>) {
    let mut pace = interval(PACE);
    while !counts.over.load(SeqCst) {
        // A client of its own each time: nothing to resume.
        if let Err(refused) = Client::new().connect(address).await {
            *counts.why.lock().unwrap() = Some(format!("{refused:?}"));
            counts.refused.fetch_add(1, SeqCst);
        }
        counts.handshakes.fetch_add(1, SeqCst);
        pace.tick().await;
    }
}

/// How long from now to the end of the first full handshake that succeeds.
pub(crate) async fn first_handshake(gateway: &Gateway) -> Duration {
    let begun = Instant::now();
    until("a handshake succeeds", async || {
        let connection = Client::new().connect(gateway.address()).await.ok()?;
        assert_eq!(connection.tls.kind, rustls::HandshakeKind::Full);
        Some(())
    })
    .await;
    begun.elapsed()
}

/// Tells the time that something took, and that it was not too long.
pub(crate) fn assert_quick(what: &str, took: Duration) {
    tell(&format!("{what}: {took:?}"));
    assert!(took < QUICK, "{what}: {took:?}");
}

#[expect(clippy::print_stderr, reason = "a measurement is told")]
fn tell(text: &str) {
    eprintln!("{text}");
}
