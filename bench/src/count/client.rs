//! The client: one unit after the other, each over before the next begins.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;

use super::Scene;
use super::scene::Pki;

/// How long an answer may take, under valgrind.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one scene.
pub(super) struct Client {
    scene: Scene,
    config: Arc<ClientConfig>,
    address: SocketAddr,
    standing: Standing,
    /// Handshakes so far.
    visits: usize,
}

/// A connection that stays, where the scene is about requests.
enum Standing {
    None,
    Http1(Box<StreamOwned<ClientConnection, TcpStream>>),
    Http2(Runtime, SendRequest<Empty<Bytes>>),
}

impl Client {
    pub(super) fn new(scene: Scene, pki: &Pki, address: SocketAddr) -> anyhow::Result<Self> {
        let mut client = Self {
            scene,
            config: Arc::new(config(scene, pki)?),
            address,
            standing: Standing::None,
            visits: 0,
        };
        client.standing = match scene {
            Scene::Http1 => Standing::Http1(Box::new(client.connect()?)),
            Scene::Http2 => client.connect_http2()?,
            _ => Standing::None,
        };
        Ok(client)
    }

    /// So many units.
    pub(super) fn units(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            match &mut self.standing {
                Standing::None => self.handshake()?,
                Standing::Http1(stream) => get_http1(stream, self.scene.host())?,
                Standing::Http2(runtime, sender) => {
                    runtime.block_on(get_http2(sender, self.scene.host()))?;
                }
            }
        }
        Ok(())
    }

    /// From connect to the server's close, so that all that the server does for it is done.
    fn handshake(&mut self) -> anyhow::Result<()> {
        let mut stream = self.connect()?;
        let resumes = matches!(self.scene, Scene::Resumed | Scene::ResumedMutual);
        let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        stream.conn.send_close_notify();
        stream.flush()?;
        // Tickets come in here as well.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        ensure!(rest.is_empty(), "{} bytes came unasked", rest.len());
        // The first of all has nothing to resume.
        ensure!(
            resumed == (resumes && self.visits > 0),
            "resumed: {resumed}"
        );
        self.visits += 1;
        Ok(())
    }

    fn connect(&self) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from(self.scene.host())?;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut tcp = TcpStream::connect(self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).context("the handshake")?;
        }
        Ok(StreamOwned::new(tls, tcp))
    }

    fn connect_http2(&self) -> anyhow::Result<Standing> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (address, config) = (self.address, Arc::clone(&self.config));
        let name = ServerName::try_from(self.scene.host())?;
        let sender = runtime.block_on(async {
            let tcp = tokio::net::TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let tls = TlsConnector::from(config).connect(name, tcp).await?;
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
            tokio::spawn(connection);
            anyhow::Ok(sender)
        })?;
        Ok(Standing::Http2(runtime, sender))
    }
}

fn config(scene: Scene, pki: &Pki) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        pki.server_ca.pem().as_bytes(),
    )?)?;
    // As in the tables of docs/BENCHMARKS.md.
    let provider = CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match scene {
        Scene::FullMutual | Scene::ResumedMutual => {
            let key = PrivateKeyDer::from_pem_slice(pki.client.key_pem().as_bytes())?;
            builder.with_client_auth_cert(pki.client.chain_der()?, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.resumption = match scene {
        Scene::Resumed | Scene::ResumedMutual => Resumption::in_memory_sessions(8),
        _ => Resumption::disabled(),
    };
    if scene == Scene::Http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(config)
}

fn get_http1(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    host: &str,
) -> anyhow::Result<()> {
    let request =
        format!("GET /1k HTTP/1.1\r\nHost: {host}\r\nUser-Agent: count\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the gateway closed a standing connection");
        answer.extend_from_slice(&buffer[..read]);
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if head.is_some_and(|end| answer.len() >= end + 4 + 1024) {
            ensure!(answer.starts_with(b"HTTP/1.1 200 "), "not 200");
            return Ok(());
        }
    }
}

async fn get_http2(sender: &mut SendRequest<Empty<Bytes>>, host: &str) -> anyhow::Result<()> {
    let request = Request::get(format!("https://{host}/1k")).header("user-agent", "count");
    let answer = sender.send_request(request.body(Empty::new())?);
    let answer = tokio::time::timeout(PATIENCE, answer).await??;
    ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(body.len() == 1024, "{} bytes", body.len());
    Ok(())
}
