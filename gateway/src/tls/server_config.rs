//! A site's rustls configuration, made once per snapshot.

use std::fmt;
use std::sync::Arc;

use portcullis_config::{Group, Resumption, Suite, TlsPolicy, TlsVersion};
use portcullis_hsm::{HsmError, Key};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ServerConfig, SignatureAlgorithm, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::client_cert::ClientVerifier;
use super::client_hello::Offer;
use super::resumption::{Fetched, Fleet, Prepared, Resources, SiteResumption};
use crate::trust::Demand;

/// What the acceptor needs to know about a site.
#[derive(Debug, Clone)]
pub struct SiteTls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// Whether a key of the site lives in a token, so that signing must leave the network thread.
    pub remote_key: bool,
    /// The keys of the site.
    signers: Vec<Key>,
    /// `None` where every handshake is a full one.
    resumption: Option<Arc<SiteResumption>>,
    tls13: bool,
    asks_for_certificate: bool,
}

/// A site's wish to resume, and what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Resuming<'a> {
    /// Name of the site.
    pub site: &'a str,
    /// What the operator wrote.
    pub settings: &'a Resumption,
    /// What the fleet agrees on.
    pub fleet: Fleet<'a>,
    /// Keys and store.
    pub resources: &'a Resources,
}

/// rustls found the combination of versions, suites and groups unusable.
#[derive(Debug)]
pub struct SiteTlsError(rustls::Error);

impl fmt::Display for SiteTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "versions, suites and groups do not make a usable TLS policy: {}",
            self.0
        )
    }
}

impl std::error::Error for SiteTlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl SiteTls {
    /// Builds the configuration of a site.
    pub fn new(
        policy: &TlsPolicy,
        certificates: Vec<Arc<CertifiedKey>>,
        (demand, resuming): (Demand, Resuming<'_>),
        alpn: &[&str],
        (remote_key, signers): (bool, Vec<Key>),
    ) -> Result<Self, SiteTlsError> {
        let provider = Arc::new(provider(policy));
        let versions: Vec<&SupportedProtocolVersion> = policy
            .versions
            .iter()
            .map(|version| match version {
                TlsVersion::Tls12 => &rustls::version::TLS12,
                TlsVersion::Tls13 => &rustls::version::TLS13,
            })
            .collect();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(SiteTlsError)?;
        let Resuming {
            site,
            settings,
            fleet,
            resources,
        } = resuming;
        let resumption = SiteResumption::new((site, settings), &demand, fleet, resources);
        let verifier = ClientVerifier::new(demand, provider);
        let asks_for_certificate = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SiteCertificates(certificates)));
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = alpn.collect();
        config.require_ems = true;
        // `suites` is in the operator's order. Of the groups rustls always takes the client's first.
        config.ignore_client_order = true;
        // Stock tickets and sessions would let expired and revoked clients back in: what is resumed is decided for
        // each handshake (`Self::prepare`).
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            remote_key,
            signers,
            resumption,
            tls13: policy.versions.contains(&TlsVersion::Tls13),
            asks_for_certificate,
        })
    }

    /// Whether any session is resumed, so that it matters what a client offers.
    pub(super) fn resumes(&self) -> bool {
        self.resumption.is_some()
    }

    /// Whether clients are asked for a certificate, so that their flight may hold one to verify.
    pub(super) fn asks_for_certificate(&self) -> bool {
        self.asks_for_certificate
    }

    /// What other gateways know of the session a client offers.
    pub(super) async fn fetch(&self, offer: Option<&Offer>) -> Fetched {
        match (&self.resumption, offer) {
            (Some(resumption), Some(offer)) if self.tls13 && offer.tls13 => {
                resumption.fetch(offer).await
            }
            _ => Fetched::Nothing,
        }
    }

    /// Decides which session, if any, a client resumes that offers these.
    pub(super) fn prepare(
        &self,
        (offer, fetched): (Option<&Offer>, Fetched),
        server_name: Option<&str>,
    ) -> Prepared {
        let Some(resumption) = &self.resumption else {
            return Prepared::without(&self.config);
        };
        let tls13 = self.tls13 && offer.is_some_and(|offer| offer.tls13);
        resumption.prepare(&self.config, (offer, fetched), (server_name, tls13))
    }

    /// Whether a full handshake that begins now has a chance: a key whose token takes work. Asked before the
    /// step that signs, so that what a token cannot do costs nobody a handshake's worth of computing.
    pub fn admit(&self) -> Result<(), HsmError> {
        let mut refused = Ok(());
        for signer in &self.signers {
            match signer.admit() {
                Ok(()) => return Ok(()),
                Err(error) => refused = Err(error),
            }
        }
        refused
    }
}

fn provider(policy: &TlsPolicy) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: policy.suites.iter().copied().map(suite).collect(),
        kx_groups: policy.groups.iter().copied().map(group).collect(),
        ..aws_lc_rs::default_provider()
    }
}

fn suite(suite: Suite) -> SupportedCipherSuite {
    match suite {
        Suite::Tls13Aes128GcmSha256 => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Tls13Aes256GcmSha384 => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::Tls13Chacha20Poly1305Sha256 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        Suite::Tls12EcdheEcdsaAes128GcmSha256 => {
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        }
        Suite::Tls12EcdheEcdsaAes256GcmSha384 => {
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        }
        Suite::Tls12EcdheEcdsaChacha20Poly1305 => {
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        Suite::Tls12EcdheRsaAes128GcmSha256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Suite::Tls12EcdheRsaAes256GcmSha384 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Suite::Tls12EcdheRsaChacha20Poly1305 => {
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
    }
}

fn group(group: Group) -> &'static dyn SupportedKxGroup {
    match group {
        Group::X25519MlKem768 => kx_group::X25519MLKEM768,
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
        Group::Secp384r1 => kx_group::SECP384R1,
    }
}

/// The certificates of a site, in the operator's order of preference.
#[derive(Debug)]
struct SiteCertificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for SiteCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0
            .iter()
            .find(|certificate| fits(certificate, &hello))
            .cloned()
    }
}

/// Whether a client can use a certificate: by signature scheme, and for TLS 1.2, where the suite names the
/// kind of key, also by suite.
fn fits(certificate: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
    if certificate
        .key
        .choose_scheme(hello.signature_schemes())
        .is_none()
    {
        return false;
    }
    let rsa = certificate.key.algorithm() == SignatureAlgorithm::RSA;
    hello.cipher_suites().iter().any(|suite| match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => true,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => rsa,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => !rsa,
        _ => false,
    })
}
