//! Whether a service is the one the operator named.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::identity::Identity;
use crate::revocation::Refused;
use crate::trust::Bundle;

/// Bundles as alternatives, and the names that count.
#[derive(Debug)]
pub(super) struct ServiceVerifier {
    pub(super) bundles: Vec<Arc<Bundle>>,
    pub(super) spiffe_ids: Vec<String>,
    pub(super) provider: Arc<CryptoProvider>,
}

/// Why a service's certificate is not believed.
struct Disbelieved(Refused);

impl std::fmt::Display for Disbelieved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The codes of these checks speak of clients, for that is whom they are usually about.
        let code = self.0.reason.code();
        let code = code.strip_prefix("CLIENT_CERT_").unwrap_or(code);
        write!(f, "{code} ({})", self.0.detail)
    }
}

/// What rustls writes into its own error.
impl std::fmt::Debug for Disbelieved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Disbelieved {}

impl ServiceVerifier {
    /// Everything but the proof of the key: the chain, then the name.
    pub(super) fn believe(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = chain.first().ok_or(Error::NoCertificatesPresented)?;
        let mut refused = None;
        let believed = self.bundles.iter().any(|bundle| {
            let verdict = bundle.verify_service(chain, now);
            verdict.map_err(|why| refused = Some(why)).is_ok()
        });
        if !believed {
            let error = refused.map_or(CertificateError::UnknownIssuer, |refused| {
                CertificateError::Other(OtherError(Arc::new(Disbelieved(refused))))
            });
            return Err(error.into());
        }
        if self.spiffe_ids.is_empty() {
            return verify_server_name(&ParsedCertificate::try_from(leaf)?, name);
        }
        let identity = Identity::read(leaf).map_err(|_| CertificateError::BadEncoding)?;
        match identity.spiffe {
            Some(id) if self.spiffe_ids.contains(&id) => Ok(()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }
}

impl ServerCertVerifier for ServiceVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .cloned()
            .collect();
        self.believe(&chain, server_name, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
