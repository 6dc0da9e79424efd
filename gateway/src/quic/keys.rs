//! What all connections of a process have in common: keys of tokens and resets, versions, the keys of Initials.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{ConnectionIdGenerator, EndpointConfig, ServerConfig};
use rustls::server::ResolvesServerCertUsingSni;

/// QUIC version 1 (RFC 9000), and nothing else.
const VERSIONS: [u32; 1] = [1];
const SECRET: usize = 32;

/// Keys of address validation tokens and stateless resets. Tokens of one worker are good at every other.
#[derive(Clone)]
pub struct Keys {
    pub(super) common: Arc<QuicServerConfig>,
    /// For a look at what arrives, before there is anything of its own.
    pub(super) arrivals: Arc<ServerConfig>,
    token: Arc<Prk>,
    reset: Arc<hmac::Key>,
}

/// The length of a secret, for HKDF.
struct SecretLength;

impl KeyType for SecretLength {
    fn len(&self) -> usize {
        SECRET
    }
}

impl Keys {
    /// From randomness of the process: what a client holds is worth nothing after a restart. `None` where there is
    /// no randomness.
    pub fn random() -> Option<Self> {
        let mut secret = [0; SECRET];
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Self::derive(&secret)
    }

    /// From a secret that others may share. `None` where the crypto library refuses.
    pub fn derive(secret: &[u8; SECRET]) -> Option<Self> {
        let root = Salt::new(HKDF_SHA256, b"portcullis quic").extract(secret);
        let derive = |label: &[u8]| {
            let mut derived = [0; SECRET];
            let okm = root
                .expand(&[label], SecretLength)
                .ok()
                .map(|okm| okm.fill(&mut derived));
            okm.and_then(Result::ok).map(|()| derived)
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let common = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .ok()?
            .with_no_client_auth()
            // Never asked: each handshake has a configuration of its own.
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        let common = Arc::new(QuicServerConfig::try_from(common).ok()?);
        let token = Arc::new(Prk::new_less_safe(HKDF_SHA256, &derive(b"token")?));
        Some(Self {
            arrivals: Arc::new(server(Arc::clone(&common) as _, &token)),
            common,
            token,
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &derive(b"reset")?)),
        })
    }

    /// The settings of an endpoint whose connection ids come from `ids`.
    pub(super) fn endpoint(
        &self,
        ids: impl Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync + 'static,
    ) -> Arc<EndpointConfig> {
        let reset: Arc<hmac::Key> = Arc::clone(&self.reset);
        let mut config = EndpointConfig::new(reset);
        config
            .supported_versions(VERSIONS.to_vec())
            .cid_generator(ids);
        Arc::new(config)
    }

    /// The settings of a server whose cryptography is this.
    pub(super) fn server(
        &self,
        crypto: Arc<dyn quinn_proto::crypto::ServerConfig>,
    ) -> ServerConfig {
        server(crypto, &self.token)
    }
}

fn server(crypto: Arc<dyn quinn_proto::crypto::ServerConfig>, token: &Arc<Prk>) -> ServerConfig {
    let token: Arc<Prk> = Arc::clone(token);
    let mut config = ServerConfig::new(crypto, token);
    // No tokens for later connections: a Retry costs a round trip, and only in a crowd.
    config.validation_token.sent(0);
    config
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}
