//! Whoever is not believed any more is cut off where they stand, idle or busy, over HTTP/1.1 and HTTP/2; fifty
//! others lose nothing.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Ca, Leaf, List, Standing, Validity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{
    Client, Connection, Download, Gateway, GatewayBuilder, RawTls, Responder, client_ca, until,
    within,
};

/// What requests in progress have, by the configuration.
const REVOKED: &str = "[timeouts]\nrevoked = '1s'";

/// That, and a busy machine.
const CUT: Duration = Duration::from_millis(2500);

/// More than comes in a test.
const ENDLESS: u64 = 100 << 30;

/// What a bystander downloads meanwhile.
const SOME: u64 = 4 << 20;

/// How many others there are.
const OTHERS: u64 = 50;

/// The number of the certificate that is revoked; others count from 100.
const VICTIM: u64 = 7;

fn describe(echo: &Echo, ca: &Ca, toml: &str) -> GatewayBuilder {
    Gateway::builder()
        .trust("clients", ca, toml)
        .demand("require", "clients")
        .upstream(echo)
        .allow("verified")
        .extra_toml(REVOKED)
}

fn leaf(serial: u64) -> Leaf {
    let id = format!("spiffe://test.portcullis/{serial}");
    let client = pki::Client::new("client").serial(serial).uri(&id);
    client.unwrap().issued_by(client_ca()).unwrap()
}

/// Everything one client can have open.
struct Victim {
    idle: [Connection; 2],
    busy: [(Connection, Download); 2],
    raw: RawTls,
}

impl Victim {
    async fn come(gateway: &Gateway, leaf: &Leaf) -> Self {
        let (http1, http2) = both(leaf);
        let mut raw = RawTls::connect(&http2, gateway.address()).await.unwrap();
        // Preface and SETTINGS: a connection that asks for nothing.
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        Self {
            idle: [idle(gateway, &http1).await, idle(gateway, &http2).await],
            busy: [busy(gateway, &http1).await, busy(gateway, &http2).await],
            raw,
        }
    }

    fn stands(&self) -> bool {
        let idle = self.idle.iter().all(|idle| !idle.has_ended());
        idle && self.busy.iter().all(|(_, download)| download.goes_on())
    }

    /// Waits until nothing of it is left. The downloads are cut, not ended; HTTP/2 gets a GOAWAY.
    async fn ends_cut(self) {
        for (_, download) in self.busy {
            let end = download.end().await;
            assert!(end.is_err(), "cut, and not as if it were whole: {end:?}");
        }
        until("idle connections end", async || {
            self.idle.iter().all(Connection::has_ended).then_some(())
        })
        .await;
        let mut bytes = Vec::new();
        let mut stream = self.raw.into_stream();
        let read = stream.read_to_end(&mut bytes);
        let _ = within("the end of the raw connection", read).await;
        assert!(frame_types(&bytes).contains(&7), "GOAWAY: {bytes:?}");
        let _ = stream.shutdown().await;
    }
}

fn both(leaf: &Leaf) -> (Client, Client) {
    let client = || Client::new().certificate(leaf);
    (client(), client().h2())
}

async fn idle(gateway: &Gateway, client: &Client) -> Connection {
    let mut connection = client.connect(gateway.address()).await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    connection
}

async fn busy(gateway: &Gateway, client: &Client) -> (Connection, Download) {
    let mut connection = idle(gateway, client).await;
    let download = connection.download(ENDLESS).await;
    (connection, download)
}

/// The types of HTTP/2 frames.
fn frame_types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, ..] = *bytes {
        types.push(kind);
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    types
}

/// Fifty clients of the same CA, half of them over HTTP/2, each with a connection that was used; every fifth is in
/// the middle of a download.
struct Others {
    standing: Vec<Connection>,
    downloads: Vec<(Connection, Download)>,
}

impl Others {
    async fn come(gateway: &Gateway) -> Self {
        let (mut standing, mut downloads) = (Vec::new(), Vec::new());
        for number in 0..OTHERS {
            let (http1, http2) = both(&leaf(100 + number));
            let client = if number % 2 == 0 { http1 } else { http2 };
            let mut connection = idle(gateway, &client).await;
            if number % 5 == 0 {
                let download = connection.download(SOME).await;
                downloads.push((connection, download));
            } else {
                standing.push(connection);
            }
        }
        Self {
            standing,
            downloads,
        }
    }

    async fn lose_nothing(self) {
        for (mut connection, download) in self.downloads {
            assert_eq!(download.end().await, Ok(SOME as usize));
            assert_eq!(connection.get("/").await.unwrap().status, 200);
        }
        for mut connection in self.standing {
            assert_eq!(connection.get("/").await.unwrap().status, 200);
        }
    }
}

/// Does `cause`, which tells when it happened, and asserts that the victim, and nobody else, is cut in time, for this reason.
async fn assert_reached(
    gateway: &Gateway,
    leaf: &Leaf,
    reason: &str,
    cause: impl AsyncFnOnce() -> Instant,
) {
    let others = Others::come(gateway).await;
    let victim = Victim::come(gateway, leaf).await;
    assert!(victim.stands());
    let begun = cause().await;
    let line = gateway.wait_for_refusal(reason).await;
    let told = begun.elapsed();
    // Counted by the gateway: to the client the last bytes come out of the kernel for a while.
    until("only the others are connected", async || {
        let open = gateway.metric("portcullis_connections_open").await;
        (open == OTHERS as f64).then_some(())
    })
    .await;
    let took = begun.elapsed();
    tell(&format!(
        "{reason}: noticed after {told:?}, all cut after {took:?}"
    ));
    assert!(took - told < CUT, "{reason}: {took:?}");
    victim.ends_cut().await;
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains("the connection ends"), "{line}");
    others.lose_nothing().await;
    let dismissed = gateway
        .metric("portcullis_connections_dismissed_total")
        .await;
    assert_eq!(dismissed, 5.0, "five connections of one client");
    let again = Client::new().certificate(leaf).get(gateway, "/").await;
    assert!(again.is_err(), "nor is it let in again");
}

#[expect(clippy::print_stderr, reason = "a measurement is told")]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[tokio::test]
async fn a_new_list_reaches_standing_connections() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, draft) = (folder.path().join("a.crl"), folder.path().join("draft"));
    let signed = |list: &List| list.signed_by(client_ca()).unwrap();
    fs::write(&file, signed(&List::new(1))).unwrap();
    let crl = format!("[trust.clients.crl]\nfiles = {file:?}\ncheck = '100ms'");
    let gateway = describe(&echo, client_ca(), &crl).spawn().await;
    assert_reached(
        &gateway,
        &leaf(VICTIM),
        "CLIENT_CERT_REVOKED_CRL",
        async || {
            fs::write(&draft, signed(&List::new(2).revoke(VICTIM))).unwrap();
            fs::rename(&draft, &file).unwrap();
            Instant::now()
        },
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_turns_to_revoked_reaches_standing_connections() {
    let echo = Echo::start().await.unwrap();
    let known = (100..100 + OTHERS).chain([VICTIM]);
    let known: Vec<_> = known.map(|serial| (serial, Standing::Good)).collect();
    let mut responder = Responder::of(client_ca(), &known);
    let address = responder.url();
    let ocsp =
        format!("[trust.clients.ocsp]\nmode = 'hard'\nresponder = '{address}'\nrefresh = '2s'");
    let gateway = describe(&echo, client_ca(), &ocsp).spawn().await;
    let reason = "CLIENT_CERT_REVOKED_OCSP";
    assert_reached(&gateway, &leaf(VICTIM), reason, async || {
        // Also who asks for nothing is asked about for as long as it is there.
        let name = "portcullis_ocsp_questions_total{bundle=\"clients\"}";
        let often = 4.0 * (OTHERS + 1) as f64;
        until("everybody was asked about four times", async || {
            (gateway.metric(name).await >= often).then_some(())
        })
        .await;
        responder.set(VICTIM, Standing::Revoked);
        Instant::now()
    })
    .await;
}

#[tokio::test]
async fn the_deny_list_reaches_standing_connections() {
    let echo = Echo::start().await.unwrap();
    let gateway = describe(&echo, client_ca(), "").spawn().await;
    assert_reached(&gateway, &leaf(VICTIM), "CLIENT_CERT_DENIED", async || {
        let id = format!("spiffe://test.portcullis/{VICTIM}");
        let begun = Instant::now();
        gateway.ask(&["deny", "add", &id]).await;
        begun
    })
    .await;
}

#[tokio::test]
async fn a_reload_without_their_ca_reaches_standing_connections() {
    let echo = Echo::start().await.unwrap();
    let gateway = describe(&echo, client_ca(), "").spawn().await;
    let partners = Ca::root("Portcullis test partners").unwrap();
    let bundle = gateway.folder().join("clients.pem");
    fs::write(&bundle, format!("{}{}", client_ca().pem(), partners.pem())).unwrap();
    gateway.reload().await.unwrap();
    let partner = pki::Client::new("partner").issued_by(&partners).unwrap();
    assert_reached(&gateway, &partner, "CLIENT_CERT_UNKNOWN_CA", async || {
        fs::write(&bundle, client_ca().pem()).unwrap();
        let begun = Instant::now();
        gateway.reload().await.unwrap();
        begun
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_certificate_reaches_its_standing_connections() {
    let echo = Echo::start().await.unwrap();
    let gateway = describe(&echo, client_ca(), "").spawn().await;
    let short = Validity::For(Duration::from_secs(8));
    let client = pki::Client::new("short").serial(VICTIM).validity(short);
    let short = client.issued_by(client_ca()).unwrap();
    assert_reached(&gateway, &short, "CLIENT_CERT_EXPIRED", async || {
        Instant::now()
    })
    .await;
}
