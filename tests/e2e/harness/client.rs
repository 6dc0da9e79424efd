//! A TLS client that says exactly why it was turned away.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use portcullis_bench::pki::Leaf;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::sessions::Sessions;
use super::verifier::NameOf;
use super::{Connection, Gateway, Response, within};

/// A client to be, and its session cache: connections of one client may resume.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(super) host: String,
    pub(super) server_name: Option<String>,
    /// The name the server's certificate must be for.
    certificate_name: String,
    versions: Vec<&'static SupportedProtocolVersion>,
    groups: Option<Vec<&'static dyn SupportedKxGroup>>,
    suites: Option<Vec<SupportedCipherSuite>>,
    alpn: Vec<Vec<u8>>,
    chain: Vec<CertificateDer<'static>>,
    /// PKCS#8 PEM.
    key: Option<String>,
    config: OnceLock<Arc<ClientConfig>>,
    /// Sends what it writes first with its first flight, where its session allows that.
    early_data: bool,
    sessions: Option<Arc<Sessions>>,
}

/// Why there was no connection, or no answer.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The alert the gateway sent, if it did.
    pub(crate) alert: Option<AlertDescription>,
    /// Where the client came from, to find it in the refusal log.
    pub(crate) port: u16,
    /// In words.
    pub(crate) error: String,
}

impl Client {
    /// A client of `localhost` that offers HTTP/1.1 and shows no certificate.
    pub(crate) fn new() -> Self {
        Self::of("localhost")
    }

    /// A client of `host`, as server name and as authority.
    pub(crate) fn of(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            server_name: Some(host.to_owned()),
            certificate_name: host.to_owned(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            groups: None,
            suites: None,
            alpn: vec![b"http/1.1".to_vec()],
            chain: Vec::new(),
            key: None,
            config: OnceLock::new(),
            early_data: false,
            sessions: None,
        }
    }

    /// Sends early data (0-RTT) where it can.
    pub(crate) fn early_data(mut self) -> Self {
        self.early_data = true;
        self.changed()
    }

    /// Offers TLS 1.2 only.
    pub(crate) fn tls12(self) -> Self {
        self.version(&rustls::version::TLS12)
    }

    /// Offers TLS 1.3 only.
    pub(crate) fn tls13(self) -> Self {
        self.version(&rustls::version::TLS13)
    }

    /// Offers one version.
    pub(crate) fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self.changed()
    }

    /// Offers HTTP/2 only.
    pub(crate) fn h2(self) -> Self {
        self.alpn(&["h2"])
    }

    /// Offers these protocols.
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        self.changed()
    }

    /// Shows this certificate when asked.
    pub(crate) fn certificate(mut self, leaf: &Leaf) -> Self {
        self.chain = leaf.chain_der().unwrap();
        self.key_of(leaf)
    }

    /// Proves its certificate with the key of another.
    pub(crate) fn key_of(mut self, leaf: &Leaf) -> Self {
        self.key = Some(leaf.key_pem().to_owned());
        self.changed()
    }

    /// Shows this in the place of its certificate (DER, or not even that).
    pub(crate) fn chain_of(mut self, certificates: &[&[u8]]) -> Self {
        let owned = certificates.iter().map(|bytes| bytes.to_vec().into());
        self.chain = owned.collect();
        self.changed()
    }

    /// Keeps the intermediates of its chain to itself.
    pub(crate) fn without_intermediates(mut self) -> Self {
        self.chain.truncate(1);
        self.changed()
    }

    /// Sends another server name than its host; `None` sends none. The server's certificate must be for
    /// `certificate_name`.
    pub(crate) fn server_name(mut self, name: Option<&str>, certificate_name: &str) -> Self {
        self.server_name = name.map(str::to_owned);
        self.certificate_name = certificate_name.to_owned();
        self.changed()
    }

    /// Offers these groups, a key share for the first.
    pub(crate) fn groups(mut self, groups: &[&'static dyn SupportedKxGroup]) -> Self {
        self.groups = Some(groups.to_vec());
        self.changed()
    }

    /// Offers these suites.
    pub(crate) fn suites(mut self, suites: &[SupportedCipherSuite]) -> Self {
        self.suites = Some(suites.to_vec());
        self.changed()
    }

    /// Offers every session to every server, for ever.
    pub(crate) fn never_forgets(mut self) -> Self {
        self.sessions = Some(Arc::new(Sessions::new()));
        self.changed()
    }

    /// The sessions of a client that never forgets.
    pub(crate) fn sessions(&self) -> &Sessions {
        self.sessions.as_ref().unwrap()
    }

    /// The same client, its sessions included, under another server name and host.
    pub(crate) fn elsewhere(&self, server_name: Option<&str>, host: &str) -> Self {
        self.shared_config();
        Self {
            host: host.to_owned(),
            server_name: server_name.map(str::to_owned),
            ..self.clone()
        }
    }

    /// Connects to the first listener and asks once.
    pub(crate) async fn get(&self, gateway: &Gateway, path: &str) -> Result<Response, Refused> {
        self.connect(gateway.address()).await?.get(path).await
    }

    /// Connects, for several requests.
    pub(crate) async fn connect(&self, address: SocketAddr) -> Result<Connection, Refused> {
        Connection::new(self.handshake(address).await?, &self.host).await
    }

    /// The same over a connection that something was sent through already.
    pub(crate) async fn connect_over(&self, tcp: TcpStream) -> Result<Connection, Refused> {
        Connection::new(self.handshake_over(tcp).await?, &self.host).await
    }

    /// Performs the handshake. In TLS 1.3 a server that refuses the client's certificate says so afterwards.
    pub(super) async fn handshake(
        &self,
        address: SocketAddr,
    ) -> Result<TlsStream<TcpStream>, Refused> {
        let tcp = within("a connect", TcpStream::connect(address))
            .await
            .map_err(|error| Refused::new(&error, 0))?;
        self.handshake_over(tcp).await
    }

    /// Performs the handshake over a connection that something was sent through already.
    pub(crate) async fn handshake_over(
        &self,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Refused> {
        tcp.set_nodelay(true).unwrap();
        let port = tcp.local_addr().unwrap().port();
        // An address as name makes rustls send no server name.
        let name = match &self.server_name {
            Some(name) => ServerName::try_from(name.clone()).unwrap(),
            None => ServerName::from(std::net::IpAddr::from([127, 0, 0, 1])),
        };
        let config = self.shared_config();
        let connector = TlsConnector::from(Arc::clone(config)).early_data(self.early_data);
        within("a handshake", connector.connect(name, tcp))
            .await
            .map_err(|error| Refused::new(&error, port))
    }

    /// The bytes of its ClientHello, for handshakes that stop there.
    pub(crate) fn client_hello(&self) -> Vec<u8> {
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let config = Arc::new(self.configure());
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    pub(super) fn shared_config(&self) -> &Arc<ClientConfig> {
        self.config.get_or_init(|| Arc::new(self.configure()))
    }

    fn changed(mut self) -> Self {
        self.config = OnceLock::new();
        self
    }

    fn configure(&self) -> ClientConfig {
        let default = aws_lc_rs::default_provider();
        let provider = Arc::new(CryptoProvider {
            kx_groups: self.groups.clone().unwrap_or(default.kx_groups),
            cipher_suites: self.suites.clone().unwrap_or(default.cipher_suites),
            ..aws_lc_rs::default_provider()
        });
        let clock: Arc<dyn TimeProvider> = match &self.sessions {
            Some(sessions) => Arc::clone(sessions) as _,
            None => Arc::new(DefaultTimeProvider),
        };
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), clock)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NameOf::new(
                &self.certificate_name,
                provider,
            )));
        let mut config = match &self.key {
            Some(key) => {
                let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
                let key = aws_lc_rs::sign::any_supported_type(&key.into()).unwrap();
                // Not `with_client_auth_cert`, which looks whether the two belong together.
                let pair = CertifiedKey::new(self.chain.clone(), key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_early_data = self.early_data;
        if let Some(sessions) = &self.sessions {
            config.resumption = Resumption::store(Arc::clone(sessions) as _);
        }
        config
    }
}

impl Refused {
    /// Looks for the alert in an error and everything behind it.
    pub(super) fn new(error: &(dyn std::error::Error + 'static), port: u16) -> Self {
        Self {
            alert: alert_in(error),
            port,
            error: format!("{error} ({error:?})"),
        }
    }
}

fn alert_in(error: &(dyn std::error::Error + 'static)) -> Option<AlertDescription> {
    if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
        return Some(*alert);
    }
    // An io::Error does not tell what it holds as its source.
    let held = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let next = match held {
        Some(held) => Some(held as &(dyn std::error::Error + 'static)),
        None => error.source(),
    };
    match next {
        Some(next) => alert_in(next),
        // HTTP/2 keeps nothing but the text of an io::Error.
        None => alert_named_in(&error.to_string()),
    }
}

fn alert_named_in(text: &str) -> Option<AlertDescription> {
    let (_, name) = text.rsplit_once("received fatal alert: ")?;
    let mut alerts = (0..=u8::MAX).map(AlertDescription::from);
    alerts.find(|alert| format!("{alert:?}") == name)
}
