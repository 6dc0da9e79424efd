//! Record throughput: plaintext through the gateway's TLS stream into a client that throws the ciphertext away.
//!
//! The socket is a real one on the loopback interface, for the stream writes to nothing else: a write is encryption,
//! one copy by the kernel, and now and then a wait for the client's thread. AES-128-GCM.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use portcullis::reason::Reason;
use portcullis::tls::{self, AcceptSettings, Arrived, Resolve, SiteTls, TlsStream};
use portcullis::turns::Turns;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::world::{OPEN, World, x25519};

/// Writes in an iteration, so that entering the runtime does not count.
const WRITES: usize = 64;
const SIZES: [usize; 2] = [1024, 16 * 1024];

struct OneSite<'a>(&'a Arc<SiteTls>);

impl Resolve for OneSite<'_> {
    type Site = ();

    fn resolve(&self, _: Option<&str>) -> Result<((), Arc<SiteTls>), Reason> {
        Ok(((), Arc::clone(self.0)))
    }

    fn hands_on(&self, _: &str) -> bool {
        false
    }
}

/// Shakes hands, then reads to the end and decrypts nothing.
fn sink(address: SocketAddr, roots: RootCertStore) -> JoinHandle<anyhow::Result<u64>> {
    std::thread::spawn(move || {
        let provider = CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
            ..x25519()
        };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tls = ClientConnection::new(Arc::new(config), ServerName::try_from(OPEN)?)?;
        let mut tcp = TcpStream::connect(address)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
        loop {
            match tcp.read(&mut buffer)? {
                0 => return Ok(total),
                read => total += read as u64,
            }
        }
    })
}

async fn accept(listener: TcpListener, site: &Arc<SiteTls>) -> anyhow::Result<TlsStream> {
    let (tcp, _) = listener.accept()?;
    tcp.set_nonblocking(true)?;
    tcp.set_nodelay(true)?;
    let by = Instant::now() + Duration::from_secs(10);
    let settings = AcceptSettings {
        client_hello_by: by,
        handshake_by: by,
        client_hello_bytes: 16 * 1024,
    };
    let tcp = tokio::net::TcpStream::from_std(tcp)?;
    let turns = Turns::default();
    let accepted = tls::accept(tcp, &OneSite(site), (settings, &turns)).await;
    match accepted.map_err(|refused| anyhow::anyhow!("{refused:?}"))? {
        Arrived::Accepted(accepted) => Ok(accepted.stream),
        Arrived::HandedOn(_) => anyhow::bail!("the site hands nothing on"),
    }
}

async fn write_many(stream: &mut TlsStream, chunk: &[u8]) {
    for _ in 0..WRITES {
        // One call of the stream, as the proxy makes it; `write_all` where the socket was full.
        let written = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, chunk)).await;
        let written = written.expect("the client reads");
        if written < chunk.len() {
            let rest = stream.write_all(&chunk[written..]).await;
            rest.expect("the client reads");
        }
    }
}

pub(crate) fn records(criterion: &mut Criterion) {
    let world = World::new().expect("a gateway's configuration");
    let site = &world.snapshot.sites[0].tls;
    let mut group = criterion.benchmark_group("stream");
    for size in SIZES {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = sink(address, world.roots.clone());
        let accepted = world.runtime.block_on(accept(listener, site));
        let mut stream = accepted.expect("a handshake");
        let chunk = vec![b'x'; size];
        group.throughput(Throughput::Bytes((size * WRITES) as u64));
        group.bench_function(BenchmarkId::new("write", size), |bencher| {
            bencher.iter(|| world.runtime.block_on(write_many(&mut stream, &chunk)));
        });
        let closed = world.runtime.block_on(stream.shutdown());
        closed.expect("the client reads");
        drop(stream);
        let read = client.join().expect("the client").expect("its bytes");
        assert!(read > (size * WRITES) as u64, "{read} bytes arrived");
    }
    group.finish();
}
