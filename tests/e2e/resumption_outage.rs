//! A token that is away costs those who return nothing; and those who return cost the token nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use rustls::HandshakeKind;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::harness::{
    Client, Gateway, assert_quick, client_ca, client_leaf, first_handshake, until,
};
use crate::hsm_faults::{Faults, behind};
use crate::hsm_recovery::cause::{Cause, Stage};
use crate::hsm_recovery::told_that_it_is_down;

/// How soon who is new must know that there is no token.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);

/// One client in twenty is new.
const OF: u64 = 20;

/// How long the token is away: far longer than keys are derived ahead.
const AWAY: Duration = Duration::from_secs(4);

/// Ticket keys of a second each, from the token `label`.
fn tickets(label: &str) -> String {
    format!(
        "[tickets]\nkeys = {{ hsm = 'pkcs11:token={label};object=ticket-root' }}\nrotate = '1s'\n\
         [resumption]\nlifetime = '20s'\n"
    )
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    resumed: AtomicU64,
    /// Full handshakes that succeeded.
    full: AtomicU64,
    refused: AtomicU64,
    /// Of those, told in time.
    soon: AtomicU64,
}

/// Clients that return, 95 of 100, and some that are new.
struct Load {
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    async fn begin(gateway: &Gateway) -> Self {
        let counts = Arc::new(Counts::default());
        let mut tasks = Vec::new();
        for client in [
            Client::new().tls12(),
            Client::new().tls13(),
            Client::new().tls12().h2(),
            Client::new().tls13().h2(),
        ] {
            let first = client.get(gateway, "/status/204").await.unwrap();
            assert_eq!(first.status, 204);
            let work = come_and_go(gateway.address(), client, Arc::clone(&counts));
            tasks.push(tokio::spawn(work));
        }
        Self { counts, tasks }
    }

    /// Waits for so many more that were new, either way.
    async fn more(&self, more: u64) {
        let new = || self.counts.full.load(SeqCst) + self.counts.refused.load(SeqCst);
        let enough = new() + more;
        until("new clients come", async || (new() >= enough).then_some(())).await;
    }

    /// Ends the test if one that returned was not resumed and served.
    async fn end(self) -> Arc<Counts> {
        self.counts.over.store(true, SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.counts
    }
}

async fn come_and_go(address: std::net::SocketAddr, client: Client, counts: Arc<Counts>) {
    let mut pace = interval(Duration::from_millis(3));
    let mut round = 0;
    while !counts.over.load(SeqCst) {
        pace.tick().await;
        round += 1;
        if round % OF == 0 {
            come_anew(address, &counts).await;
            continue;
        }
        let mut connection = client
            .connect(address)
            .await
            .expect("who returns, connects");
        assert_eq!(connection.tls.kind, HandshakeKind::Resumed);
        let answer = connection.get("/status/204").await;
        assert_eq!(answer.expect("who returns, is served").status, 204);
        counts.resumed.fetch_add(1, SeqCst);
    }
}

/// A client that was never here before.
async fn come_anew(address: std::net::SocketAddr, counts: &Counts) {
    let begun = Instant::now();
    match Client::new().connect(address).await {
        Ok(connection) => {
            assert_eq!(connection.tls.kind, HandshakeKind::Full);
            counts.full.fetch_add(1, SeqCst);
        }
        Err(_) => {
            let soon = u64::from(begun.elapsed() < REFUSED_WITHIN);
            counts.soon.fetch_add(soon, SeqCst);
            counts.refused.fetch_add(1, SeqCst);
        }
    }
}

/// Who returns is served as if nothing were; who is new is told at once.
async fn goes_and_returns(cause: Cause) {
    let Some(mut stage) = Stage::set(cause).await else {
        return;
    };
    let desk = stage.vault().desk();
    desk.done("keygen --token edge --kind secret --label ticket-root")
        .await;
    let echo = Echo::start().await.unwrap();
    let gateway = stage
        .gateway("main")
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(&tickets("edge"))
        .spawn()
        .await;
    let load = Load::begin(&gateway).await;
    load.more(8).await;
    let counts = Arc::clone(&load.counts);
    assert_eq!(counts.refused.load(SeqCst), 0);
    stage.begin().await;
    let begun = Instant::now();
    // Degraded, and 200: the balancer keeps the gateway.
    told_that_it_is_down(&gateway).await;
    let (refused, soon) = (counts.refused.load(SeqCst), counts.soon.load(SeqCst));
    let (resumed, full) = (counts.resumed.load(SeqCst), counts.full.load(SeqCst));
    until("the token was away for long", async || {
        (begun.elapsed() > AWAY).then_some(())
    })
    .await;
    load.more(8).await;
    let refused = counts.refused.load(SeqCst) - refused;
    let soon = counts.soon.load(SeqCst) - soon;
    let resumed = counts.resumed.load(SeqCst) - resumed;
    assert_eq!(counts.full.load(SeqCst), full, "nobody signs");
    assert!(
        resumed > 10 * refused,
        "{resumed} resumed, {refused} refused"
    );
    tell(&format!(
        "{cause:?}: {resumed} resumed, {soon} of {refused} refused within {REFUSED_WITHIN:?}"
    ));
    // The machine is shared: one in ten may have had to wait for its processor.
    assert!(soon * 10 >= refused * 9, "{soon} of {refused} in time");
    let reasons = gateway.refusals();
    let other = reasons
        .iter()
        .find(|line| line["reason"] != "HSM_UNAVAILABLE");
    assert_eq!(other, None);
    stage.end().await;
    assert_quick(
        &format!("{cause:?}, from its end to a full handshake"),
        first_handshake(&gateway).await,
    );
    until("it says that it is ready", async || {
        let (_, body) = gateway.probe("/readyz").await;
        body.contains("\"status\":\"ready\"").then_some(())
    })
    .await;
    let refused = counts.refused.load(SeqCst);
    load.more(8).await;
    let counts = load.end().await;
    assert_eq!(counts.refused.load(SeqCst), refused, "all are served again");
}

#[tokio::test]
async fn while_a_token_server_is_gone_who_returns_is_resumed_and_others_are_told_at_once() {
    goes_and_returns(Cause::ServerKilled).await;
}

#[tokio::test]
async fn while_a_token_folder_is_gone_who_returns_is_resumed_and_others_are_told_at_once() {
    goes_and_returns(Cause::FolderVanished).await;
}

#[tokio::test]
async fn while_a_signer_dies_again_and_again_who_returns_is_resumed() {
    goes_and_returns(Cause::ModuleAborts).await;
}

#[tokio::test]
async fn who_returns_costs_no_signature() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let gateway = behind(&faults)
        .client_cert("accept", client_ca())
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(&tickets("e2e").replace("'1s'", "'1h'"))
        .spawn()
        .await;
    let leaf = client_leaf("somebody");
    let clients = [
        Client::new().tls12(),
        Client::new().tls13(),
        Client::new().tls13().h2(),
        Client::new().tls12().certificate(&leaf),
        Client::new().tls13().certificate(&leaf),
    ];
    let signatures = || faults.count("C_Sign") + faults.count("C_SignInit");
    for client in &clients {
        let before = signatures();
        assert_eq!(client.get(&gateway, "/").await.unwrap().status, 200);
        assert!(signatures() > before, "who is new costs one");
    }
    let (before, looks) = (signatures(), faults.count("C_FindObjectsInit"));
    for _ in 0..40 {
        for client in &clients {
            let mut connection = client.connect(gateway.address()).await.unwrap();
            assert_eq!(connection.tls.kind, HandshakeKind::Resumed);
            assert_eq!(connection.get("/").await.unwrap().status, 200);
        }
    }
    assert_eq!(signatures(), before, "200 who returned");
    // The generation of the keys is looked at every ten seconds.
    assert!(faults.count("C_FindObjectsInit") - looks < 20);
}

#[expect(clippy::print_stderr, reason = "a measurement is told")]
fn tell(text: &str) {
    eprintln!("{text}");
}
