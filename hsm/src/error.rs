//! What can go wrong between a PKCS#11 URI and a signature.
//!
//! An error names the call of PKCS#11 that failed and says what to do about it. It never holds a PIN,
//! a key or a signature, so it may be logged as it is.

mod class;

use std::fmt;
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
    /// The private key may leave the token and that was not allowed by name.
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

impl fmt::Display for HsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HsmError::Uri(error) => error.fmt(f),
            HsmError::PinUnreadable { source, reason } => {
                write!(f, "cannot read the PIN from `{source}`: {reason}")
            }
            HsmError::ModuleUnloadable { module, reason } => {
                write!(
                    f,
                    "cannot load the PKCS#11 module {}: {reason}",
                    module.display()
                )
            }
            HsmError::Call { function, code } => {
                write!(f, "{function} failed: {}", code_name(code))
            }
            HsmError::Interface(what) => write!(f, "the PKCS#11 module misbehaves: {what}"),
            HsmError::KeyExtractable { key } => write!(
                f,
                "the private key `{key}` can be extracted from its token (CKA_EXTRACTABLE): generate one \
                 that cannot, or allow this one by name"
            ),
            HsmError::GroupKeysDiffer { group, key } => write!(
                f,
                "the members of hsm group `{group}` hold different keys as `{key}`: all must hold the same \
                 key pair"
            ),
            HsmError::KeyUnsupported { key, reason } => {
                write!(f, "key `{key}` cannot be used: {reason}")
            }
            HsmError::SoftwareKey { path, reason } => {
                write!(
                    f,
                    "software key {} cannot be used: {reason}",
                    path.display()
                )
            }
            HsmError::KeyGone { key } => write!(
                f,
                "key `{key}` is not in the token any more, or its public key is another"
            ),
            HsmError::CertificateUnreadable(reason) => {
                write!(f, "the certificate cannot be read: {reason}")
            }
            HsmError::CertificateMismatch { key } => write!(
                f,
                "the certificate was not issued for key `{key}`: their public keys differ"
            ),
            HsmError::ProofFailed { key } => write!(
                f,
                "a signature by key `{key}` does not verify: its public and private halves do not belong \
                 together"
            ),
            HsmError::QueueFull { token } => write!(
                f,
                "the signature queue of hsm `{token}` is full: raise `queue` or `sessions`, or add a token"
            ),
            HsmError::Deadline { token } => {
                write!(f, "hsm `{token}` did not sign before the deadline")
            }
            HsmError::Hung { token } => {
                write!(f, "a call to hsm `{token}` hung and was written off")
            }
            HsmError::Away { token, cause } => write!(f, "hsm `{token}` is away: {cause}"),
            HsmError::GroupAway { group } => {
                write!(f, "no member of hsm group `{group}` is there")
            }
            HsmError::SignerLost { reason } => write!(f, "the signer process is lost: {reason}"),
            HsmError::Signer { message, .. } => f.write_str(message),
            HsmError::Closed { token } => write!(f, "hsm `{token}` was closed"),
            HsmError::SignatureMalformed => {
                f.write_str("the token returned a signature of a wrong length")
            }
            HsmError::Thread(reason) => write!(f, "cannot start a session thread: {reason}"),
            HsmError::Generate(reason) => f.write_str(reason),
            HsmError::PinMissing { .. }
            | HsmError::PinWrong { .. }
            | HsmError::PinTriesLow { .. }
            | HsmError::PinUnusable { .. } => self.fmt_pin(f),
            HsmError::TokenSelection { .. }
            | HsmError::KeySelection { .. }
            | HsmError::ObjectSelection { .. }
            | HsmError::KeyStays { .. }
            | HsmError::MechanismMissing { .. } => self.fmt_life(f),
        }
    }
}

impl HsmError {
    /// What is named so, and what cannot be done with it.
    fn fmt_life(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HsmError::TokenSelection { wanted, candidates } => {
                write!(f, "exactly one token must have {wanted}; ")?;
                list(f, "tokens", candidates)
            }
            HsmError::KeySelection { wanted, candidates } => {
                write!(f, "exactly one private key must fit `{wanted}`; ")?;
                list(f, "keys", candidates)
            }
            HsmError::ObjectSelection {
                what,
                wanted,
                candidates,
            } => {
                write!(f, "exactly one {what} must fit `{wanted}`; ")?;
                list(f, &format!("{what}s"), candidates)
            }
            HsmError::KeyStays { key } => write!(
                f,
                "the private key `{key}` cannot leave its token (CKA_EXTRACTABLE is false), so it cannot \
                 be wrapped: only a key that was made with `keygen --extractable` can"
            ),
            HsmError::MechanismMissing { token, mechanism } => {
                write!(f, "token `{token}` has no {mechanism}")
            }
            _ => Ok(()),
        }
    }

    fn fmt_pin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HsmError::PinMissing { token } => {
                write!(f, "token `{token}` needs a PIN: name a PIN source for it")
            }
            HsmError::PinWrong {
                token,
                asked: PinAsked::Now,
            } => write!(
                f,
                "C_Login: token `{token}` refused the PIN; it will not be tried again until its source changes"
            ),
            HsmError::PinWrong {
                token,
                asked: PinAsked::Earlier,
            } => write!(
                f,
                "token `{token}` refused this PIN earlier and was not asked again: correct the PIN source"
            ),
            HsmError::PinTriesLow { token } => write!(
                f,
                "token `{token}` says that few PIN tries are left, so none is spent here: log in once by \
                 hand with the right PIN (`pkcs11-tool --module MODULE --login --list-objects`), which \
                 resets the counter, or set `login_at_count_low = true`"
            ),
            HsmError::PinUnusable { token } => write!(
                f,
                "the user PIN of token `{token}` is locked or not set: the security officer must set it"
            ),
            _ => Ok(()),
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

fn list(f: &mut fmt::Formatter<'_>, what: &str, candidates: &[Pkcs11Uri]) -> fmt::Result {
    if candidates.is_empty() {
        return write!(f, "there are no {what}");
    }
    write!(f, "candidate {what}:")?;
    candidates.iter().try_for_each(|uri| write!(f, "\n  {uri}"))
}

/// `RvError` prints paragraphs of the standard; operators search for the name, so `CKR_…` is rebuilt.
fn code_name(code: &RvError) -> String {
    if let RvError::VendorDefined(value) | RvError::UnknownErrorCode(value) = code {
        return format!("return value {value:#x}");
    }
    let mut name = String::from("CKR");
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
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
