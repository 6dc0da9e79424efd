//! Handshakes in memory: a client and the gateway's own site configuration step over a byte pipe, resumption and
//! certificate checks included. Beside each the same with bare rustls.
//!
//! Client and server are computed in the same iteration; what differs between two rows is what counts. Without sockets,
//! so that the kernel's share is not in it: that is measured by `portcullis-bench`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use portcullis::tls::{Outcome, SiteTls, benching};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::world::{MUTUAL, OPEN, World, x25519};

/// Whether a client comes for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    First,
    Again,
}

/// One row.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    version: &'static SupportedProtocolVersion,
    server_name: &'static str,
    visit: Visit,
}

const ROWS: [Row; 7] = [
    row("full 1.3", &rustls::version::TLS13, OPEN, Visit::First),
    row(
        "full 1.3 mTLS",
        &rustls::version::TLS13,
        MUTUAL,
        Visit::First,
    ),
    row("resumed 1.3", &rustls::version::TLS13, OPEN, Visit::Again),
    row(
        "resumed 1.3 mTLS",
        &rustls::version::TLS13,
        MUTUAL,
        Visit::Again,
    ),
    row("full 1.2", &rustls::version::TLS12, OPEN, Visit::First),
    row("resumed 1.2", &rustls::version::TLS12, OPEN, Visit::Again),
    row(
        "resumed 1.2 mTLS",
        &rustls::version::TLS12,
        MUTUAL,
        Visit::Again,
    ),
];

const fn row(
    name: &'static str,
    version: &'static SupportedProtocolVersion,
    server_name: &'static str,
    visit: Visit,
) -> Row {
    Row {
        name,
        version,
        server_name,
        visit,
    }
}

impl Row {
    /// A client of this row. It keeps what the last handshake gave it.
    fn client(&self, world: &World, provider: CryptoProvider) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[self.version])
            .expect("a version")
            .with_root_certificates(world.roots.clone());
        let mut config = match self.server_name {
            MUTUAL => {
                let chain = world.client.chain_der().expect("a chain");
                let key = key(world.client.key_pem());
                builder.with_client_auth_cert(chain, key).expect("a key")
            }
            _ => builder.with_no_client_auth(),
        };
        config.resumption = match self.visit {
            Visit::First => Resumption::disabled(),
            Visit::Again => Resumption::in_memory_sessions(8),
        };
        Arc::new(config)
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> ClientConnection {
        let name = ServerName::try_from(self.server_name).expect("a name");
        ClientConnection::new(Arc::clone(config), name).expect("a client")
    }
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key")
}

/// What the client does with what it gets, and what it says.
fn step(client: &mut ClientConnection, mut received: &[u8], send: &mut Vec<u8>) {
    while !received.is_empty() {
        client.read_tls(&mut received).expect("read from memory");
        client.process_new_packets().expect("a good server");
    }
    while client.wants_write() {
        client.write_tls(send).expect("a Vec takes everything");
    }
}

fn gateway(site: &SiteTls, row: &Row, config: &Arc<ClientConfig>) -> Outcome {
    let mut client = row.connect(config);
    let done = benching::handshake(site, |received, send| step(&mut client, received, send));
    done.expect("a handshake")
}

fn bare(server: &Arc<ServerConfig>, row: &Row, config: &Arc<ClientConfig>) -> HandshakeKind {
    let mut client = row.connect(config);
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    loop {
        received.clear();
        step(&mut client, &sent, &mut received);
        if !server.is_handshaking() {
            return server.handshake_kind().expect("a handshake");
        }
        let mut rest = &received[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("read from memory");
            server.process_new_packets().expect("a good client");
        }
        sent.clear();
        while server.wants_write() {
            server.write_tls(&mut sent).expect("a Vec takes everything");
        }
    }
}

/// rustls as its documentation has it, with its own ticketer.
fn bare_server(world: &World, row: &Row) -> Arc<ServerConfig> {
    let provider = Arc::new(x25519());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[row.version])
        .expect("a version");
    let builder = match row.server_name {
        MUTUAL => {
            let mut roots = rustls::RootCertStore::empty();
            let pem = std::fs::read(world.file("clients.pem")).expect("the CA");
            let root = CertificateDer::from_pem_slice(&pem).expect("a certificate");
            roots.add(root).expect("an anchor");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
        _ => builder.with_no_client_auth(),
    };
    let (chain, pem) = &world.server;
    let mut config = builder
        .with_single_cert(chain.clone(), key(pem))
        .expect("a certificate");
    config.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
    // As many as the gateway gives by default.
    config.send_tls13_tickets = 2;
    Arc::new(config)
}

pub(crate) fn handshakes(criterion: &mut Criterion) {
    let world = World::new().expect("a gateway's configuration");
    let mut group = criterion.benchmark_group("handshake");
    for row in ROWS {
        let site = match row.server_name {
            MUTUAL => &world.snapshot.sites[1].tls,
            _ => &world.snapshot.sites[0].tls,
        };
        let client = row.client(&world, x25519());
        gateway(site, &row, &client); // Where it comes again, it was there.
        let wanted = match row.visit {
            Visit::First => Outcome::Fresh,
            Visit::Again => Outcome::Resumed,
        };
        assert_eq!(gateway(site, &row, &client), wanted, "{}", row.name);
        group.bench_function(format!("{}/gateway", row.name), |bencher| {
            bencher.iter(|| black_box(gateway(site, &row, &client)));
        });

        let server = bare_server(&world, &row);
        let client = row.client(&world, x25519());
        bare(&server, &row, &client);
        let wanted = match row.visit {
            Visit::First => HandshakeKind::Full,
            Visit::Again => HandshakeKind::Resumed,
        };
        assert_eq!(bare(&server, &row, &client), wanted, "{}", row.name);
        group.bench_function(format!("{}/bare rustls", row.name), |bencher| {
            bencher.iter(|| black_box(bare(&server, &row, &client)));
        });
    }
    let hybrid = Row {
        name: "full 1.3 X25519MLKEM768",
        ..ROWS[0]
    };
    let site = &world.snapshot.sites[0].tls;
    let client = hybrid.client(&world, aws_lc_rs::default_provider());
    group.bench_function(format!("{}/gateway", hybrid.name), |bencher| {
        bencher.iter(|| black_box(gateway(site, &hybrid, &client)));
    });
    group.finish();
}
