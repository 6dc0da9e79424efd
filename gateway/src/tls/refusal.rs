//! From rustls' errors to a reason, and the alerts that are written by hand.

use portcullis_hsm::HsmError;
use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, ProtocolVersion};

use super::client_cert;
use crate::reason::Reason;
use crate::trust::Refused;

/// The reason behind an error of the handshake step that has just run on this thread, and what the operator is told.
pub(super) fn refusal_of(error: &Error) -> Refused {
    match client_cert::take_refusal() {
        // The verifier knows more than rustls hands up.
        Some(refused) if !matches!(error, Error::AlertReceived(_)) => refused,
        _ => Refused {
            reason: reason_of(error),
            detail: error.to_string(),
        },
    }
}

fn reason_of(error: &Error) -> Reason {
    match error {
        Error::NoCertificatesPresented => Reason::ClientCertMissing,
        Error::InvalidCertificate(_) => Reason::ClientCertMalformed,
        Error::AlertReceived(_) => Reason::HandshakeAborted,
        Error::NoApplicationProtocol => Reason::AlpnMismatch,
        Error::PeerIncompatible(incompatible) => match incompatible {
            PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
                Reason::NoExtendedMasterSecret
            }
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            // Rustls misses the extension before it looks at the version; TLS 1.0 and 1.1 do not have it.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired => Reason::TlsVersion,
            _ => Reason::TlsParameters,
        },
        // A signer's own failure; of rustls' other errors none is of this kind.
        Error::Other(other) => match other.0.downcast_ref::<HsmError>() {
            Some(error) => reason_of_hsm(error),
            None => Reason::HandshakeProtocol,
        },
        Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
            Reason::HandshakeTooLarge
        }
        // rustls' word for "no certificate of the site fits the client".
        Error::General(_) => Reason::TlsParameters,
        _ => Reason::HandshakeProtocol,
    }
}

/// The reason behind an error of the token.
pub(super) fn reason_of_hsm(error: &HsmError) -> Reason {
    match error {
        HsmError::QueueFull { .. } => Reason::HsmBusy,
        _ => Reason::HsmUnavailable,
    }
}

/// A fatal alert as a plaintext record (RFC 8446, section 6), for refusals before rustls has a connection
/// that could send one.
pub(super) fn plaintext_alert(description: AlertDescription) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, u8::from(description)]
}

/// Where the RFCs ask for another alert than rustls sends. All of these are plaintext still.
///
/// TLS 1.2 knows no `certificate_required`: RFC 5246, section 7.4.6 asks for `handshake_failure`. A client from
/// before TLS 1.2, known by its lack of signature algorithms, is told `protocol_version` (RFC 8446, appendix
/// D.2).
pub(super) fn replaces_alert(error: &Error, version: Option<ProtocolVersion>) -> Option<[u8; 7]> {
    let tls12 = version == Some(ProtocolVersion::TLSv1_2);
    let description = match error {
        Error::NoCertificatesPresented if tls12 => AlertDescription::HandshakeFailure,
        Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => {
            AlertDescription::ProtocolVersion
        }
        _ => return None,
    };
    Some(plaintext_alert(description))
}
