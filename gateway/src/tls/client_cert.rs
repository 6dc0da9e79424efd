//! Client certificates in the handshake: asked for and verified as the site demands.
//!
//! Two things are kept apart: the alert, which follows the RFC, and the reason, which says more and is for the
//! operator alone.

use std::cell::RefCell;
use std::sync::Arc;

use portcullis_config::{CaNames, ClientCertMode};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::reason::Reason;
use crate::trust::{Demand, Proof, Refused};

thread_local! {
    /// What the verifier said, for the driver of the handshake step that is running on this thread: rustls hands up
    /// neither the reason nor the path. The driver runs the step and takes the verdict without a suspension point
    /// in between (a client's flight is verified in a step that signs nothing).
    static VERDICT: RefCell<Option<Result<Proof, Refused>>> = const { RefCell::new(None) };
}

/// Takes the refusal of the verification that failed last on this thread.
pub(super) fn take_refusal() -> Option<Refused> {
    VERDICT.take().and_then(Result::err)
}

/// Takes the proof of the verification that succeeded last on this thread.
pub(super) fn take_proof() -> Option<Proof> {
    VERDICT.take().and_then(Result::ok)
}

/// Forgets the verdict of whoever was verified before on this thread.
pub(super) fn clear_verdict() {
    VERDICT.set(None);
}

/// The proof of the verification in the step that is running, for the ticket that rustls makes in the same step.
pub(super) fn peek_proof() -> Option<Proof> {
    VERDICT.with_borrow(|verdict| verdict.as_ref()?.as_ref().ok().cloned())
}

/// Verifies client chains for one site.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    demand: Demand,
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    /// A verifier of what the handshake demands; `None` where no certificate is asked for.
    pub(super) fn new(demand: Demand, provider: Arc<CryptoProvider>) -> Option<Arc<Self>> {
        if demand.mode() == ClientCertMode::Ignore {
            return None;
        }
        let telling = |ca_names| ca_names == CaNames::Send;
        let bundles = demand.bundles().iter();
        let hints = match demand.mode().verifies() {
            // One bundle that hides its names, or takes everybody, must not be missed for the names of another.
            true if demand
                .bundles()
                .iter()
                .all(|bundle| telling(bundle.settings().ca_names)) =>
            {
                bundles
                    .flat_map(|bundle| bundle.anchor_names().map(DistinguishedName::in_sequence))
                    .collect()
            }
            _ => Vec::new(),
        };
        Some(Arc::new(Self {
            demand,
            hints,
            provider,
        }))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.demand.mode() == ClientCertMode::Require
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        match self.demand.verify(&chain, now) {
            Ok(proof) => {
                VERDICT.set(proof.map(Ok));
                Ok(ClientCertVerified::assertion())
            }
            Err(refused) => {
                let alert = alert_for(refused.reason);
                VERDICT.set(Some(Err(refused)));
                Err(Error::InvalidCertificate(alert))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
        .inspect_err(not_proven)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
        .inspect_err(not_proven)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The signature in CertificateVerify does not fit the certificate.
fn not_proven(error: &Error) {
    VERDICT.set(Some(Err(Refused {
        reason: Reason::ClientCertNotProven,
        detail: error.to_string(),
    })));
}

/// The alert a refused handshake ends with. For [`Reason::ClientCertMissing`] that of TLS 1.3: TLS 1.2 has none of
/// its own.
pub fn alert_of(reason: Reason) -> AlertDescription {
    match reason {
        Reason::UnknownServerName => AlertDescription::UnrecognisedName,
        Reason::ClientCertMissing => AlertDescription::CertificateRequired,
        Reason::ClientCertNotProven => AlertDescription::DecryptError,
        reason => alert_for(reason).into(),
    }
}

/// The error whose alert RFC 8446, section 6.2 asks for. rustls derives the alert from the error's kind.
fn alert_for(reason: Reason) -> CertificateError {
    match reason {
        Reason::ClientCertExpired => CertificateError::Expired,
        // certificate_expired: "has expired or is not currently valid".
        Reason::ClientCertNotYetValid => CertificateError::NotValidYet,
        Reason::ClientCertUnknownCa
        | Reason::ClientCertSelfSigned
        | Reason::ClientCertIssuerNotCa => CertificateError::UnknownIssuer,
        // certificate_revoked: "revoked by its signer".
        Reason::ClientCertRevokedCrl | Reason::ClientCertRevokedOcsp => CertificateError::Revoked,
        // unsupported_certificate: "of an unsupported type".
        Reason::ClientCertWrongEku => CertificateError::InvalidPurpose,
        // access_denied: "valid, but when access control was applied, the sender decided not to proceed".
        Reason::ClientCertDenied
        | Reason::ClientCertLifetime
        | Reason::ClientCertNotPinned
        | Reason::ClientCertTrustDomain => CertificateError::ApplicationVerificationFailure,
        // certificate_unknown: "some other (unspecified) issue".
        Reason::ClientCertCrlStale
        | Reason::ClientCertCrlMissing
        | Reason::ClientCertOcspUnknown
        | Reason::ClientCertOcspUnavailable => other(),
        // bad_certificate: "corrupt, contained signatures that did not verify correctly, etc."; section
        // 4.4.2.4 asks for it where MD5 or SHA-1 would be needed.
        _ => CertificateError::BadEncoding,
    }
}

/// rustls answers it with certificate_unknown.
fn other() -> CertificateError {
    #[derive(Debug)]
    struct Unknown;
    impl std::fmt::Display for Unknown {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the revocation status is not known")
        }
    }
    impl std::error::Error for Unknown {}
    CertificateError::Other(rustls::OtherError(Arc::new(Unknown)))
}
