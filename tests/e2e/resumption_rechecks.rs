//! Who is not believed any more does not come back by a session of better days, and nobody else loses one.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Ca, Leaf, List, Standing, Validity};
use rustls::HandshakeKind;

use crate::harness::{
    Client, Connection, Gateway, GatewayBuilder, Refused, Responder, client_ca, until,
};

/// Of the certificate that is not good any more; others count from 100.
const VICTIM: u64 = 7;

/// How often the victim tries, each way.
const TRIES: usize = 3;

/// Sessions are kept by the client or by the gateway, and a certificate is demanded or only taken.
const STYLES: [(&str, &str); 2] = [("tickets", "require"), ("stateful", "accept")];

fn describe(echo: &Echo, (mode, demand): (&str, &str), trust: &str) -> GatewayBuilder {
    Gateway::builder()
        .trust("clients", client_ca(), trust)
        .demand(demand, "clients")
        .upstream(echo)
        .allow("verified")
        .extra_toml(&format!("[resumption]\nmode = '{mode}'\ntickets = 8\n"))
}

fn described(serial: u64) -> pki::Client {
    let id = format!("spiffe://test.portcullis/{serial}");
    pki::Client::new("client").serial(serial).uri(&id).unwrap()
}

fn leaf(serial: u64) -> Leaf {
    described(serial).issued_by(client_ca()).unwrap()
}

/// Over each version and protocol, with names for them. They offer what they have, even if it is of no use any more.
fn ways(leaf: &Leaf) -> [(&'static str, Client); 4] {
    let client = || Client::new().never_forgets().certificate(leaf);
    [
        ("1.2", client().tls12()),
        ("1.3", client().tls13()),
        ("1.2/h2", client().tls12().h2()),
        ("1.3/h2", client().tls13().h2()),
    ]
}

/// Connects and asks: the kind of handshake as the client sees it, and whether it was served.
async fn come(client: &Client, gateway: &Gateway) -> (Option<HandshakeKind>, Result<(), Refused>) {
    let mut connection: Connection = match client.connect(gateway.address()).await {
        Ok(connection) => connection,
        Err(refused) => return (None, Err(refused)),
    };
    let kind = Some(connection.tls.kind);
    let answer = connection.get("/").await.map(|answer| {
        assert_eq!(answer.status, 200);
    });
    (kind, answer)
}

async fn assert_comes(client: &Client, gateway: &Gateway, kind: HandshakeKind, who: &str) {
    let (came, answer) = come(client, gateway).await;
    answer.unwrap_or_else(|refused| panic!("{who}: {refused:?}"));
    assert_eq!(came, Some(kind), "{who}");
}

/// The victim and bystanders: two others of its CA, and a client of another CA.
struct Cast {
    victim: [(&'static str, Client); 4],
    bystanders: Vec<(&'static str, Client)>,
}

impl Cast {
    /// All of them came twice, and were resumed.
    async fn come(gateway: &Gateway, victim: &Leaf, others: &[Leaf]) -> Self {
        let cast = Self {
            victim: ways(victim),
            bystanders: others.iter().flat_map(ways).collect(),
        };
        for (way, client) in cast.victim.iter().chain(&cast.bystanders) {
            assert_comes(client, gateway, HandshakeKind::Full, way).await;
        }
        // Not only in order: each has its own.
        for (way, client) in cast.bystanders.iter().chain(&cast.victim) {
            assert_comes(client, gateway, HandshakeKind::Resumed, way).await;
        }
        cast
    }

    /// The victim is refused every time for this reason, though it offers its sessions; the others are resumed.
    async fn part(self, gateway: &Gateway, reason: &str) {
        for (way, client) in &self.victim {
            client.sessions().close();
            for attempt in 1..=TRIES {
                let before = client.sessions().offered();
                let (kind, answer) = come(client, gateway).await;
                assert_eq!(client.sessions().offered(), before + 1, "{way} {attempt}");
                assert_ne!(kind, Some(HandshakeKind::Resumed), "{way} {attempt}");
                let refused = answer.expect_err(way);
                let line = gateway.refusal_of(refused.port).await;
                assert_eq!(line["reason"], reason, "{way} {attempt}: {line}");
            }
        }
        for (way, client) in &self.bystanders {
            for _ in 0..2 {
                assert_comes(client, gateway, HandshakeKind::Resumed, way).await;
            }
        }
    }
}

/// Another CA.
fn partners() -> Ca {
    Ca::root("Portcullis test partners").unwrap()
}

/// These are the CAs of `clients` from now on.
async fn believe(gateway: &Gateway, cas: &[&Ca]) {
    let pem: String = cas.iter().map(|ca| ca.pem()).collect();
    fs::write(gateway.folder().join("clients.pem"), pem).unwrap();
    gateway.reload().await.unwrap();
}

fn others(partners: &Ca) -> [Leaf; 3] {
    let partner = described(100).issued_by(partners).unwrap();
    [leaf(100), leaf(101), partner]
}

fn put(path: &Path, lists: &[(&Ca, List)]) {
    for (number, (ca, list)) in lists.iter().enumerate() {
        let draft = path.join("draft");
        fs::write(&draft, list.signed_by(ca).unwrap()).unwrap();
        fs::rename(&draft, path.join(format!("{number}.crl"))).unwrap();
    }
}

/// Waits until both lists have one entry.
async fn lists_in_force(gateway: &Gateway) {
    until("the lists are in force", async || {
        let (_, metrics) = gateway.probe("/metrics").await;
        let lists = metrics
            .lines()
            .filter(|line| line.starts_with("portcullis_crl_entries{") && line.ends_with(" 1"));
        (lists.count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_on_a_new_list_does_not_resume() {
    let echo = Echo::start().await.unwrap();
    for style in STYLES {
        let (folder, partners) = (tempfile::tempdir().unwrap(), partners());
        put(
            folder.path(),
            &[(client_ca(), List::new(1)), (&partners, List::new(1))],
        );
        let files = [folder.path().join("0.crl"), folder.path().join("1.crl")];
        let crl = format!("[trust.clients.crl]\nfiles = {files:?}\ncheck = '100ms'");
        let gateway = describe(&echo, style, &crl).spawn().await;
        believe(&gateway, &[client_ca(), &partners]).await;
        let cast = Cast::come(&gateway, &leaf(VICTIM), &others(&partners)).await;
        let revoked = List::new(2).revoke(VICTIM);
        let theirs = List::new(2).revoke(VICTIM);
        put(
            folder.path(),
            &[(client_ca(), revoked), (&partners, theirs)],
        );
        lists_in_force(&gateway).await;
        cast.part(&gateway, "CLIENT_CERT_REVOKED_CRL").await;
    }
}

#[tokio::test]
async fn whom_a_responder_calls_revoked_does_not_resume() {
    let echo = Echo::start().await.unwrap();
    for style in STYLES {
        let partners = partners();
        let good = |serial| (serial, Standing::Good);
        let mut responder = Responder::of(client_ca(), &[VICTIM, 100, 101].map(good));
        let theirs = Responder::of(&partners, &[good(100)]);
        let ocsp = "[trust.clients.ocsp]\nmode = 'hard'\nrefresh = '1s'";
        let gateway = describe(&echo, style, ocsp).spawn().await;
        believe(&gateway, &[client_ca(), &partners]).await;
        let told = |serial, ca: &Ca, at: &Responder| {
            described(serial)
                .responder_at(&at.url())
                .issued_by(ca)
                .unwrap()
        };
        let others = [
            told(100, client_ca(), &responder),
            told(101, client_ca(), &responder),
            told(100, &partners, &theirs),
        ];
        let victim = told(VICTIM, client_ca(), &responder);
        let cast = Cast::come(&gateway, &victim, &others).await;
        responder.set(VICTIM, Standing::Revoked);
        // A client that is there is asked about again and again, until the answer is another.
        let standing = Client::new().certificate(&victim);
        let standing = standing.connect(gateway.address()).await.unwrap();
        until("the new answer is known", async || {
            standing.has_ended().then_some(())
        })
        .await;
        cast.part(&gateway, "CLIENT_CERT_REVOKED_OCSP").await;
    }
}

#[tokio::test]
async fn whose_ca_was_removed_does_not_resume() {
    let echo = Echo::start().await.unwrap();
    for style in STYLES {
        let (partners, removed) = (partners(), Ca::root("Portcullis test removed").unwrap());
        let gateway = describe(&echo, style, "").spawn().await;
        believe(&gateway, &[client_ca(), &partners, &removed]).await;
        let victim = described(VICTIM).issued_by(&removed).unwrap();
        let cast = Cast::come(&gateway, &victim, &others(&partners)).await;
        believe(&gateway, &[client_ca(), &partners]).await;
        cast.part(&gateway, "CLIENT_CERT_UNKNOWN_CA").await;
    }
}

#[tokio::test]
async fn who_is_denied_does_not_resume() {
    let echo = Echo::start().await.unwrap();
    for style in STYLES {
        let partners = partners();
        let gateway = describe(&echo, style, "").spawn().await;
        believe(&gateway, &[client_ca(), &partners]).await;
        let cast = Cast::come(&gateway, &leaf(VICTIM), &others(&partners)).await;
        let id = format!("spiffe://test.portcullis/{VICTIM}");
        gateway.ask(&["deny", "add", &id]).await;
        cast.part(&gateway, "CLIENT_CERT_DENIED").await;
    }
}

#[tokio::test]
async fn whose_certificate_ended_does_not_resume() {
    let echo = Echo::start().await.unwrap();
    for style in STYLES {
        let partners = partners();
        let gateway = describe(&echo, style, "").spawn().await;
        believe(&gateway, &[client_ca(), &partners]).await;
        let short = Validity::For(Duration::from_secs(4));
        let end = SystemTime::now() + Duration::from_secs(4);
        let short = described(VICTIM).validity(short);
        let victim = short.issued_by(client_ca()).unwrap();
        let cast = Cast::come(&gateway, &victim, &others(&partners)).await;
        assert!(SystemTime::now() < end, "they came in time");
        until("the certificate has ended", async || {
            // In whole seconds, the one of its end included.
            (SystemTime::now() > end + Duration::from_secs(1)).then_some(())
        })
        .await;
        cast.part(&gateway, "CLIENT_CERT_EXPIRED").await;
    }
}
