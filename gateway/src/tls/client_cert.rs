//! Client certificates: verified with webpki against the site's own trust anchors.
//!
//! webpki is called directly, not through rustls' stock verifier, to keep two things apart: the alert, which
//! follows the RFC, and the reason, which says more and is for the operator alone.

use std::cell::Cell;
use std::sync::Arc;

use aws_lc_rs::digest;
use portcullis_config::ClientCertMode;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::reason::Reason;

/// RSA keys below this are refused (NIST SP 800-57: 2048 bits until 2030).
const MIN_RSA_BITS: usize = 2048;

thread_local! {
    /// Why the verifier said no, for the driver of the handshake step that is running on this thread: rustls
    /// hands up only the alert. The driver runs the step and takes the reason without a suspension point in
    /// between (a client's flight is verified in a step that signs nothing).
    static REFUSAL: Cell<Option<Reason>> = const { Cell::new(None) };
}

/// Takes the reason of the verification that failed last on this thread.
pub(super) fn take_refusal() -> Option<Reason> {
    REFUSAL.take()
}

/// Verifies client chains for one site.
#[derive(Debug)]
pub struct ClientVerifier {
    mandatory: bool,
    digest: [u8; 32],
    anchors: Vec<TrustAnchor<'static>>,
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    /// A verifier for `accept` or `require`; `None` for `ignore`. The configuration promises at least one
    /// anchor for the other two; without one nothing would verify.
    pub fn new(
        mode: ClientCertMode,
        anchors: Vec<TrustAnchor<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Option<Arc<Self>> {
        let mandatory = match mode {
            ClientCertMode::Ignore => return None,
            ClientCertMode::Accept => false,
            ClientCertMode::Require => true,
        };
        let hints = anchors
            .iter()
            .map(|anchor| DistinguishedName::in_sequence(&anchor.subject))
            .collect();
        Some(Arc::new(Self {
            mandatory,
            digest: digest_of(&anchors),
            anchors,
            hints,
            provider,
        }))
    }

    /// Tells sets of trust anchors apart.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Verifies a chain, the leaf first.
    pub fn verify_chain(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Reason> {
        let (leaf, intermediates) = chain.split_first().ok_or(Reason::ClientCertMissing)?;
        self.verify(leaf, intermediates, now)
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Reason> {
        check_leaf_key(leaf)?;
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| reason_of(&error, leaf))?;
        end_entity
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &self.anchors,
                chain,
                now,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(|error| reason_of(&error, leaf))?;
        Ok(())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
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
        match self.verify(end_entity, intermediates, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(reason) => {
                REFUSAL.set(Some(reason));
                Err(Error::InvalidCertificate(alert_for(reason)))
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
        .inspect_err(|_| REFUSAL.set(Some(Reason::ClientCertNotProven)))
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
        .inspect_err(|_| REFUSAL.set(Some(Reason::ClientCertNotProven)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
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
        // unsupported_certificate: "of an unsupported type".
        Reason::ClientCertWrongEku => CertificateError::InvalidPurpose,
        // bad_certificate: "corrupt, contained signatures that did not verify correctly, etc."; section
        // 4.4.2.4 asks for it where MD5 or SHA-1 would be needed.
        _ => CertificateError::BadEncoding,
    }
}

fn reason_of(error: &webpki::Error, leaf: &CertificateDer<'_>) -> Reason {
    match error {
        webpki::Error::CertExpired { .. } => Reason::ClientCertExpired,
        webpki::Error::CertNotValidYet { .. } => Reason::ClientCertNotYetValid,
        webpki::Error::UnknownIssuer if is_self_issued(leaf) => Reason::ClientCertSelfSigned,
        webpki::Error::UnknownIssuer => Reason::ClientCertUnknownCa,
        webpki::Error::CaUsedAsEndEntity => Reason::ClientCertIsCa,
        webpki::Error::EndEntityUsedAsCa => Reason::ClientCertIssuerNotCa,
        webpki::Error::PathLenConstraintViolated => Reason::ClientCertPathLength,
        webpki::Error::MaximumPathDepthExceeded
        | webpki::Error::MaximumPathBuildCallsExceeded
        | webpki::Error::MaximumSignatureChecksExceeded => Reason::ClientCertTooDeep,
        webpki::Error::NameConstraintViolation
        | webpki::Error::MaximumNameConstraintComparisonsExceeded
        | webpki::Error::MalformedNameConstraint
        | webpki::Error::InvalidNetworkMaskConstraint => Reason::ClientCertNameConstraint,
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => {
            Reason::ClientCertWrongEku
        }
        webpki::Error::UnsupportedSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | webpki::Error::SignatureAlgorithmMismatch => Reason::ClientCertWeakSignature,
        webpki::Error::InvalidSignatureForPublicKey => Reason::ClientCertBadSignature,
        _ => Reason::ClientCertMalformed,
    }
}

fn digest_of(anchors: &[TrustAnchor<'_>]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for anchor in anchors {
        for part in [
            Some(&anchor.subject),
            Some(&anchor.subject_public_key_info),
            anchor.name_constraints.as_ref(),
        ] {
            let bytes = part.map_or(&[][..], |der| der.as_ref());
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

fn is_self_issued(leaf: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(leaf)
        .is_ok_and(|(_, leaf)| leaf.subject().as_raw() == leaf.issuer().as_raw())
}

/// webpki bounds the keys that sign certificates; the leaf's own key is bounded here, before its signature
/// is looked at, so that a small key has its own reason and the alert that fits.
fn check_leaf_key(leaf: &CertificateDer<'_>) -> Result<(), Reason> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| Reason::ClientCertMalformed)?;
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA_BITS => Err(Reason::ClientCertWeakKey),
        Ok(PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_)) => {
            Err(Reason::ClientCertWeakKey)
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Reason::ClientCertMalformed),
    }
}
