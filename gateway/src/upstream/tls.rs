//! TLS to services: whom the gateway believes there, who it is, and the handshake.
//!
//! Promises: the key of the gateway's certificate signs as it does for clients, and a network thread never waits for
//! its token. A session is resumed only after the certificate it rests on was looked at again. Connections and sessions
//! that were made before a change of what is believed are not used after it.

mod stream;
mod verifier;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_config::{UpstreamProtocol, UpstreamTls};
use portcullis_hsm::step;
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, HandshakeKind, SignatureScheme};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::net::TcpStream;

use self::stream::Socket;
pub(super) use self::stream::TlsStream;
use self::verifier::ServiceVerifier;
use crate::certificates::ProvenCertificate;
use crate::identity::Identity;
use crate::trust::Bundle;

/// How the gateway speaks TLS to an upstream. One snapshot's; what changes in it is a new one.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    verifier: Arc<ServiceVerifier>,
    certificate: Option<ProvenCertificate>,
    server_name: Option<String>,
    /// Tells it from those before.
    number: u64,
}

/// What a connection rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trusted {
    /// [`ClientTls::epoch`] when it was made.
    epoch: u64,
    /// Until when the service's certificate holds, seconds since the Unix epoch; `None` for plain TCP.
    not_after: Option<i64>,
}

impl Trusted {
    /// Nothing: plain TCP.
    pub(super) const PLAIN: Self = Self {
        epoch: 0,
        not_after: None,
    };

    /// Whether a new request may use the connection. `epoch` is that of now.
    pub(super) fn holds(self, epoch: u64) -> bool {
        let Some(end) = self.not_after else {
            return true;
        };
        let now = UnixTime::now().as_secs();
        self.epoch == epoch && u64::try_from(end).is_ok_and(|end| now <= end)
    }
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl ClientTls {
    /// What an upstream's settings, its bundles and its certificate come to.
    ///
    /// # Errors
    /// TLS 1.2 and 1.3 with the provider's suites are no usable combination: cannot be helped by the operator.
    pub fn new(
        settings: &UpstreamTls,
        protocol: UpstreamProtocol,
        bundles: Vec<Arc<Bundle>>,
        certificate: Option<ProvenCertificate>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(ServiceVerifier {
            bundles,
            spiffe_ids: settings.spiffe_ids.clone(),
            provider: Arc::clone(&provider),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
        let mut config = match &certificate {
            Some(proven) => {
                let shown = Shown(Arc::clone(&proven.certified));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        config.require_ems = true;
        config.alpn_protocols = match protocol {
            UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
            UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
            // What the bytes are nobody here knows.
            UpstreamProtocol::Tcp => Vec::new(),
        };
        Ok(Self {
            config: Arc::new(config),
            verifier,
            certificate,
            server_name: settings.server_name.clone(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Changes with everything that may make a service be believed no more.
    pub fn epoch(&self) -> u64 {
        let bundles = self.verifier.bundles.iter();
        bundles.fold(self.number << 32, |sum, bundle| {
            sum.wrapping_add(bundle.epoch())
        })
    }

    /// The certificate shown to services, for lists and metrics.
    pub fn certificate(&self) -> Option<&ProvenCertificate> {
        self.certificate.as_ref()
    }

    /// Performs the handshake with a service that was reached as `host`.
    ///
    /// # Errors
    /// The connection breaks off, the service is not believed, or it does not believe the gateway.
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
    ) -> io::Result<(TlsStream, Trusted)> {
        // Before anything is believed: what changes meanwhile makes it an old connection.
        let epoch = self.epoch();
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(invalid)?;
        let config = Arc::clone(&self.config);
        let connection = ClientConnection::new(config, name.clone()).map_err(invalid)?;
        let mut connection = Box::new(connection);
        let signs_remotely = self.certificate.as_ref().is_some_and(|it| it.remote);
        loop {
            write(&tcp, &mut connection).await?;
            if !connection.is_handshaking() {
                break;
            }
            read(&tcp, &mut connection).await?;
            let process = move || {
                let result = connection.process_new_packets().map(drop);
                (connection, result)
            };
            let (back, result) = if signs_remotely {
                step::run(process).await
            } else {
                process()
            };
            connection = back;
            if let Err(error) = result {
                // The alert says why; whether it gets there changes nothing.
                let _ = connection.write_tls(&mut Socket(&tcp));
                return Err(invalid(error));
            }
        }
        let not_after = self.conclude(&connection, &name).map_err(invalid)?;
        let trusted = Trusted {
            epoch,
            not_after: Some(not_after),
        };
        Ok((TlsStream::new(tcp, connection), trusted))
    }

    /// What remains after a handshake: until when it holds. A resumed session rests on a certificate that was
    /// believed before, and has to be now.
    fn conclude(
        &self,
        connection: &ClientConnection,
        name: &ServerName<'_>,
    ) -> Result<i64, rustls::Error> {
        let chain = connection.peer_certificates().unwrap_or_default();
        if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.verifier.believe(chain, name, UnixTime::now())?;
        }
        let wanted = self.config.alpn_protocols.first();
        let agreed = connection.alpn_protocol();
        // A service without ALPN speaks HTTP/1.1 (RFC 7301 is silent, practice is not).
        if agreed.is_none() && wanted.is_some_and(|wanted| wanted == b"h2") {
            return Err(rustls::Error::General(
                "the service did not agree to speak HTTP/2 (ALPN)".to_owned(),
            ));
        }
        let leaf = chain
            .first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let identity = Identity::read(leaf).map_err(|_| rustls::CertificateError::BadEncoding)?;
        Ok(identity.not_after)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

async fn write(tcp: &TcpStream, connection: &mut ClientConnection) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(&mut Socket(tcp)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.writable().await?,
            written => drop(written?),
        }
    }
    Ok(())
}

async fn read(tcp: &TcpStream, connection: &mut ClientConnection) -> io::Result<()> {
    loop {
        match connection.read_tls(&mut Socket(tcp)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.readable().await?,
            read => return read.map(drop),
        }
    }
}

/// The one certificate of an upstream's settings, for services that ask and know its kind of key.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = self.0.key.choose_scheme(schemes).is_some();
        fits.then(|| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
