//! What can go wrong between a PKCS#11 URI and a signature.
//!
//! An error names the call of PKCS#11 that failed and says what to do about it. It never holds a PIN,
//! a key or a signature, so it may be logged as it is.

mod class;
mod text;

use std::path::PathBuf;

use cryptoki::error::RvError;

use crate::uri::{Pkcs11Uri, UriError};
pub use class::ErrorClass;

/// The one error of this crate.
#[derive(Debug, Clone)]
pub enum HsmError {
    /// A text is not a PKCS#11 URI.
    Uri(UriError),
    /// A PIN could not be read from its source.
    PinUnreadable {
        /// The source, as it is written in the configuration.
        source: String,
        /// What the operating system said.
        reason: String,
    },
    /// The PKCS#11 library could not be loaded.
    ModuleUnloadable {
        /// The library.
        module: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// A PKCS#11 call returned something other than `CKR_OK`.
    Call {
        /// The function, `C_Sign` for example.
        function: String,
        /// What it returned.
        code: RvError,
    },
    /// The PKCS#11 library lacks a function, or answered with something that is no answer.
    Interface(String),
    /// No token, or more than one, fits the selection.
    TokenSelection {
        /// What was asked for.
        wanted: String,
        /// The tokens that were seen (none fits) or that fit (too many).
        candidates: Vec<Pkcs11Uri>,
    },
    /// The token asks for a PIN and none is configured.
    PinMissing {
        /// Label of the token.
        token: String,
    },
    /// `C_Login` refused the PIN, now or earlier in this process. It is not tried again.
    PinWrong {
        /// Label of the token.
        token: String,
        /// Whether the token was asked just now.
        asked: PinAsked,
    },
    /// The token says that few tries are left (`CKF_USER_PIN_COUNT_LOW`, `CKF_USER_PIN_FINAL_TRY`).
    PinTriesLow {
        /// Label of the token.
        token: String,
    },
    /// The user PIN is locked or not set (`CKF_USER_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`).
    PinUnusable {
        /// Label of the token.
        token: String,
    },
    /// No private key, or more than one, fits the URI.
    KeySelection {
        /// What was asked for.
        wanted: Box<Pkcs11Uri>,
        /// The private keys of the token (none fits) or those that fit (too many).
        candidates: Vec<Pkcs11Uri>,
    },
    /// No object of another class, or more than one, fits the URI.
    ObjectSelection {
        /// What kind of object: `certificate`, `wrapping key`.
        what: &'static str,
        /// What was asked for.
        wanted: Box<Pkcs11Uri>,
        /// The objects of the kind in the token (none fits) or those that fit (too many).
        candidates: Vec<Pkcs11Uri>,
    },
    /// The key is not `CKA_EXTRACTABLE`, so that it cannot be wrapped.
    KeyStays {
        /// The key.
        key: Box<Pkcs11Uri>,
    },
    /// The token has not the mechanism that the operation needs.
    MechanismMissing {
        /// Label of the token.
        token: String,
        /// The names of what would do, `CKM_AES_KEY_WRAP_PAD` for example.
        mechanism: &'static str,
    },
    /// The key may leave the token and that was not allowed by name.
    KeyExtractable {
        /// The key.
        key: String,
    },
    /// The members of a group hold different keys under one URI.
    GroupKeysDiffer {
        /// Name of the group in the configuration.
        group: String,
        /// The key.
        key: String,
    },
    /// The key is of a kind, or has attributes, that cannot serve TLS.
    KeyUnsupported {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// A software key file could not be used.
    SoftwareKey {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The token does not have the key any more, or another one in its place.
    KeyGone {
        /// The key.
        key: String,
    },
    /// The certificate cannot be read.
    CertificateUnreadable(String),
    /// The public key of the certificate is not that of the key.
    CertificateMismatch {
        /// The key.
        key: String,
    },
    /// The key made a signature that its public key does not verify.
    ProofFailed {
        /// The key.
        key: String,
    },
    /// As many signatures wait as the queue holds; nothing was asked of the token.
    QueueFull {
        /// Name of the token in the configuration.
        token: String,
    },
    /// The signature was not there at its deadline.
    Deadline {
        /// Name of the token in the configuration.
        token: String,
    },
    /// The call of the module took longer than `hang_timeout`; its session was written off.
    Hung {
        /// Name of the token in the configuration.
        token: String,
    },
    /// The token does not work now, and nothing is asked of it until it is back.
    Away {
        /// Name of the token in the configuration.
        token: String,
        /// What it failed with.
        cause: String,
    },
    /// No member of the group could sign.
    GroupAway {
        /// Name of the group in the configuration.
        group: String,
    },
    /// The signer process, or the way to it, failed.
    SignerLost {
        /// What happened.
        reason: String,
    },
    /// The signer process answered with an error of its token.
    Signer {
        /// What one may do about it.
        class: ErrorClass,
        /// The error, in the words of the signer.
        message: String,
    },
    /// The token handle was dropped while the signature waited.
    Closed {
        /// Name of the token in the configuration.
        token: String,
    },
    /// The token returned a signature of a wrong shape.
    SignatureMalformed,
    /// The operating system refused a thread.
    Thread(String),
    /// A key, token or certificate could not be made for a reason of ours, not of the token.
    Generate(String),
}

/// Whether a wrong PIN was found out by asking the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinAsked {
    /// `C_Login` was called and refused it.
    Now,
    /// It was refused earlier; the token was not asked again.
    Earlier,
}

impl HsmError {
    /// The PKCS#11 function that failed, if one did.
    pub fn function(&self) -> Option<&str> {
        match self {
            HsmError::Call { function, .. } => Some(function),
            HsmError::PinWrong {
                asked: PinAsked::Now,
                ..
            } => Some("C_Login"),
            _ => None,
        }
    }
}

impl std::error::Error for HsmError {}

impl From<UriError> for HsmError {
    fn from(error: UriError) -> Self {
        HsmError::Uri(error)
    }
}

impl From<cryptoki::error::Error> for HsmError {
    fn from(error: cryptoki::error::Error) -> Self {
        match error {
            cryptoki::error::Error::Pkcs11(code, function) => HsmError::Call {
                function: format!("C_{function:?}"),
                code,
            },
            other => HsmError::Interface(other.to_string()),
        }
    }
}

impl From<HsmError> for rustls::Error {
    /// Keeps the error whole, so that whoever sees the failed handshake can downcast to it.
    fn from(error: HsmError) -> Self {
        rustls::Error::Other(rustls::OtherError(std::sync::Arc::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::{Error, RvError};

    use super::HsmError;

    #[test]
    fn a_failed_call_is_named_as_in_the_standard() {
        let error = HsmError::from(Error::Pkcs11(RvError::SessionHandleInvalid, Function::Sign));
        assert_eq!(
            error.to_string(),
            "C_Sign failed: CKR_SESSION_HANDLE_INVALID"
        );
        assert_eq!(error.function(), Some("C_Sign"));
        let error = HsmError::from(Error::Pkcs11(
            RvError::VendorDefined(0x8000_0001),
            Function::Login,
        ));
        assert_eq!(error.to_string(), "C_Login failed: return value 0x80000001");
    }
}
