//! What clients offer in their hello, and whom they trust.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::sync::Arc;

use super::Identity;

/// The one crypto library.
pub(super) fn provider() -> &'static CryptoProvider {
    static PROVIDER: OnceLock<CryptoProvider> = OnceLock::new();
    PROVIDER.get_or_init(aws_lc_rs::default_provider)
}

/// What every hello offers.
#[derive(Debug, Clone)]
pub struct TlsPlan {
    /// The only version offered.
    pub version: Version,
    /// The group of the key share, and the only one offered unless a hello is to be retried.
    pub group: Group,
    /// The only cipher suite offered.
    pub suite: Suite,
    /// Whether the server is made to ask for another hello.
    pub hello_retry: HelloRetry,
    /// Share of the handshakes, 0 to 1, that offer a session once each client has one.
    pub resume: f64,
    /// Whom to trust as server.
    pub trust: Trust,
    /// Client certificates, used in turn; none shows none.
    pub identities: Vec<Identity>,
    /// Server names, used in turn; none names the target's host.
    pub names: Vec<String>,
}

impl TlsPlan {
    /// TLS 1.3 with X25519 and AES-128-GCM, full handshakes, no client certificate.
    pub fn new(trust: Trust) -> Self {
        Self {
            version: Version::Tls13,
            group: Group::X25519,
            suite: Suite::Aes128,
            hello_retry: HelloRetry::Avoided,
            resume: 0.0,
            trust,
            identities: Vec::new(),
            names: Vec::new(),
        }
    }
}

/// A TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    pub(super) fn rustls(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// A group of the key exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// X25519.
    X25519,
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// X25519MLKEM768, the hybrid with a post-quantum half.
    Mlkem,
}

impl Group {
    pub(super) fn rustls(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519 => aws_lc_rs::kx_group::X25519,
            Self::P256 => aws_lc_rs::kx_group::SECP256R1,
            Self::P384 => aws_lc_rs::kx_group::SECP384R1,
            Self::Mlkem => aws_lc_rs::kx_group::X25519MLKEM768,
        }
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519 => "x25519",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Mlkem => "mlkem",
        }
    }
}

/// A cipher suite, in the form each version has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// AES-128-GCM.
    Aes128,
    /// AES-256-GCM.
    Aes256,
    /// ChaCha20-Poly1305.
    ChaCha20,
}

impl Suite {
    pub(super) fn covers(self, suite: &SupportedCipherSuite) -> bool {
        let name = format!("{:?}", suite.suite());
        match self {
            Self::Aes128 => name.contains("AES_128"),
            Self::Aes256 => name.contains("AES_256"),
            Self::ChaCha20 => name.contains("CHACHA20"),
        }
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128 => "aes128",
            Self::Aes256 => "aes256",
            Self::ChaCha20 => "chacha20",
        }
    }
}

/// Whether the first hello holds a key share the server is content with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloRetry {
    /// The key share is of the only group that is offered.
    Avoided,
    /// The key share is of this other group, offered last. A server that takes any share it knows, such as
    /// OpenSSL, asks again only where it does not have this group.
    Forced(Group),
}

/// Whom to trust as server.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Whoever these roots certify for the server name.
    Roots(Arc<RootCertStore>),
    /// Everybody: nothing of the server's certificate is looked at, its signature neither. Cheaper for the
    /// client, so that it is not the bottleneck.
    Everybody,
}

impl Trust {
    /// Trusts the certificates of a PEM file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("read the roots in {}", path.display()))?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            bail!("{} holds no certificate to trust", path.display());
        }
        Ok(Self::Roots(Arc::new(roots)))
    }
}
