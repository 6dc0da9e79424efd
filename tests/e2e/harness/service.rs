//! A service behind the gateway that speaks TLS: HTTP/1.1 and HTTP/2, as ALPN says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_bench::pki::{Ca, Leaf};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A running service. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

/// What a service noticed.
#[derive(Debug, Default)]
struct Seen {
    full: AtomicUsize,
    resumed: AtomicUsize,
    /// Leaf certificates of clients, one for each handshake that had one.
    clients: Mutex<Vec<CertificateDer<'static>>>,
}

/// What a service shows, and whom it asks for a certificate.
pub(crate) struct Serving<'a> {
    pub(crate) leaf: &'a Leaf,
    /// Whose clients it lets in; everybody without.
    pub(crate) clients: Option<&'a Ca>,
    pub(crate) alpn: &'a [&'a str],
}

impl Service {
    /// Starts a service.
    pub(crate) async fn start(serving: &Serving<'_>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(serving.config()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    // A gateway that hangs up is no failure here.
                    let Ok(stream) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let tls = stream.get_ref().1;
                    seen.note(tls);
                    let h2 = tls.alpn_protocol() == Some(b"h2");
                    let (io, answer) = (TokioIo::new(stream), service_fn(answer));
                    if h2 {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(server.serve_connection(io, answer).await);
                    } else {
                        let server = hyper::server::conn::http1::Builder::new();
                        drop(server.serve_connection(io, answer).await);
                    }
                });
            }
        });
        Self {
            address,
            seen,
            accepting,
        }
    }

    /// `https://localhost:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Full handshakes, and resumed ones.
    pub(crate) fn handshakes(&self) -> (usize, usize) {
        let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        (count(&self.seen.full), count(&self.seen.resumed))
    }

    /// The certificates it was shown.
    pub(crate) fn clients(&self) -> Vec<CertificateDer<'static>> {
        self.seen.clients.lock().unwrap().clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Seen {
    fn note(&self, tls: &rustls::ServerConnection) {
        let kind = match tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => &self.resumed,
            _ => &self.full,
        };
        kind.fetch_add(1, Ordering::SeqCst);
        let leaf = tls.peer_certificates().and_then(<[_]>::first);
        self.clients.lock().unwrap().extend(leaf.cloned());
    }
}

impl Serving<'_> {
    fn config(&self) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(ca.root_pem().as_bytes());
                roots.add(root.unwrap()).unwrap();
                let provider = Arc::new(default_provider());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.leaf.key_pem().as_bytes()).unwrap();
        let chain = self.leaf.chain_der().unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = self
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config
    }
}

/// The request's body comes back, with its version in a field.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = format!("{:?}", request.version());
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let response = Response::builder().header("x-version", version);
    Ok(response.body(Full::new(body)).unwrap())
}
