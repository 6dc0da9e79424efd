//! Whole TLS handshakes whose signatures come from a token while one thread serves them all.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use portcullis_hsm::generate::selfsign;
use portcullis_hsm::step::{self, Step};
use portcullis_hsm::{Key, KeyKind};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{Accepted, Acceptor};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use crate::harness::with_softhsm;
use crate::keys::make;

/// Both ends of one site.
struct Site {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Site {
    fn new(key: &Key, version: &'static SupportedProtocolVersion) -> Site {
        let pem = selfsign(key, &["site.example".to_owned()], 30).unwrap();
        let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let certified = key.certify(vec![leaf.clone()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(leaf).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Site {
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    /// A client that has written its hello, and the server step that must answer it.
    fn begin(
        &self,
    ) -> (
        ClientConnection,
        Step<Result<ServerConnection, rustls::Error>>,
    ) {
        let name = "site.example".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let accepted = accept(&hello);
        let server = Arc::clone(&self.server);
        (
            client,
            step::run(move || accepted.into_connection(server).map_err(|(error, _)| error)),
        )
    }
}

fn accept(mut hello: &[u8]) -> Accepted {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut hello).unwrap();
    acceptor
        .accept()
        .map_err(|(error, _)| error)
        .unwrap()
        .unwrap()
}

/// Runs the handshake to its end after the server has signed.
fn finish(client: &mut ClientConnection, server: &mut ServerConnection) {
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut unread = &bytes[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets().unwrap();
        }
        bytes.clear();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut unread = &bytes[..];
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
            server.process_new_packets().unwrap();
        }
    }
}

/// Wakes the thread that serves the steps, and counts.
struct Waking {
    thread: Thread,
    wakes: AtomicUsize,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Drives steps on this thread until all have ended. The server side of each.
fn drive(
    steps: impl IntoIterator<Item = Step<Result<ServerConnection, rustls::Error>>>,
) -> Vec<ServerConnection> {
    let waking = Arc::new(Waking {
        thread: thread::current(),
        wakes: AtomicUsize::new(0),
    });
    let waker = Waker::from(Arc::clone(&waking));
    let mut cx = Context::from_waker(&waker);
    let mut steps: Vec<_> = steps.into_iter().map(Ok).collect();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        for slot in &mut steps {
            let Ok(step) = slot else { continue };
            if let Poll::Ready(done) = Pin::new(step).poll(&mut cx) {
                *slot = Err(done.unwrap());
            }
        }
        if steps.iter().all(Result::is_err) {
            return steps.into_iter().filter_map(Result::err).collect();
        }
        assert!(Instant::now() < end, "the steps did not end");
        thread::park_timeout(Duration::from_secs(1));
    }
}

#[test]
fn handshakes_of_every_kind_of_key_fit_on_the_stack_of_a_step() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        for (kind, label) in [
            (KeyKind::EcdsaP256, "p256"),
            (KeyKind::EcdsaP384, "p384"),
            (KeyKind::EcdsaP521, "p521"),
            (KeyKind::Rsa { bits: 4096 }, "rsa"),
            (KeyKind::Ed25519, "ed25519"),
        ] {
            let key = make(&token, kind, label);
            for version in [&TLS13, &TLS12] {
                let site = Site::new(&key, version);
                let (mut client, step) = site.begin();
                let mut server = drive([step]).remove(0);
                // All that remains, client and server, with ML-KEM and the verification of the signature.
                let rest = step::run(move || {
                    finish(&mut client, &mut server);
                    Ok(server)
                });
                let server = drive([rest]).remove(0);
                assert_eq!(server.protocol_version(), Some(version.version));
            }
        }
    });
}

#[test]
fn one_thread_serves_many_handshakes_while_the_token_is_slow() {
    with_softhsm(|hsm| {
        let token = hsm.token(&hsm.faulty());
        let key = make(&token, KeyKind::EcdsaP256, "site");
        let site = Site::new(&key, &TLS13);
        hsm.faults("delay_us = 50000");
        let (mut clients, steps): (Vec<_>, Vec<_>) = (0..20).map(|_| site.begin()).unzip();
        let start = Instant::now();
        let mut servers = drive(steps);
        // Two sessions of 50 ms: ten rounds, not twenty.
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(500) && took < Duration::from_millis(900),
            "{took:?}"
        );
        for (client, server) in clients.iter_mut().zip(&mut servers) {
            finish(client, server);
        }
    });
}

#[test]
fn a_handshake_that_is_given_up_is_not_signed() {
    with_softhsm(|hsm| {
        let token = hsm.token(&hsm.faulty());
        let key = make(&token, KeyKind::EcdsaP256, "site");
        let site = Site::new(&key, &TLS13);
        hsm.faults("delay_us = 100000");
        let before = hsm.calls("C_Sign");
        let mut steps: Vec<_> = (0..10).map(|_| site.begin().1).collect();
        for step in &mut steps {
            assert!(
                Pin::new(step)
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
        drop(steps);
        hsm.faults("");
        let (mut client, step) = site.begin();
        finish(&mut client, &mut drive([step])[0]);
        // Two were in flight when they were given up.
        assert!(hsm.calls("C_Sign") - before <= 3);
    });
}

/// Not a benchmark: what the hop to a session thread adds, told for the record.
#[test]
fn the_hop_to_a_session_thread_is_measured() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let key = make(&token, KeyKind::EcdsaP256, "site");
        let scheme = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
        let signer = key.signing_key().choose_scheme(&[scheme]).unwrap();
        let queued = measure(|| drop(signer.sign(b"message").unwrap()));
        let pkcs11 = cryptoki::context::Pkcs11::new(hsm.softhsm()).unwrap();
        let slot = token.info().slot.try_into().unwrap();
        let session = pkcs11.open_ro_session(slot).unwrap();
        let private =
            cryptoki::object::Attribute::Class(cryptoki::object::ObjectClass::PRIVATE_KEY);
        let handle = session.find_objects(&[private]).unwrap()[0];
        let ecdsa = cryptoki::mechanism::Mechanism::Ecdsa;
        let bare = measure(|| drop(session.sign(&ecdsa, handle, &[7; 32]).unwrap()));
        eprintln!("a signature: {queued:?} through the queue, {bare:?} bare (time, CPU)");
        assert!(queued.0 < bare.0 + Duration::from_millis(5));
    });
}

/// Time and CPU time of the whole process per call.
fn measure(mut call: impl FnMut()) -> (Duration, Duration) {
    const ROUNDS: u32 = 5000;
    (0..100).for_each(|_| call());
    let (start, cpu) = (Instant::now(), cpu());
    (0..ROUNDS).for_each(|_| call());
    (start.elapsed() / ROUNDS, (self::cpu() - cpu) / ROUNDS)
}

/// User and system time of this process, fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms.
pub(crate) fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks = after_name.split(' ').skip(11).take(2);
    Duration::from_millis(
        10 * ticks
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum::<u64>(),
    )
}
