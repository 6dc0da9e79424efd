//! The errors in words: what failed, and what to do about it where there is something to do.

use std::fmt;

use cryptoki::error::RvError;

use super::{HsmError, PinAsked};
use crate::uri::Pkcs11Uri;

impl fmt::Display for HsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HsmError::Uri(error) => error.fmt(f),
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
                "key `{key}` is not in the token any more, or another is in its place"
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
            HsmError::QueueFull { .. }
            | HsmError::Deadline { .. }
            | HsmError::Hung { .. }
            | HsmError::Away { .. }
            | HsmError::GroupAway { .. }
            | HsmError::SignerLost { .. }
            | HsmError::Signer { .. }
            | HsmError::Closed { .. }
            | HsmError::SignatureMalformed => self.fmt_serving(f),
            HsmError::Thread(reason) => write!(f, "cannot start a session thread: {reason}"),
            HsmError::Generate(reason) => f.write_str(reason),
            HsmError::PinUnreadable { .. }
            | HsmError::PinMissing { .. }
            | HsmError::PinWrong { .. }
            | HsmError::PinTriesLow { .. }
            | HsmError::PinUnusable { .. } => self.fmt_pin(f),
            HsmError::KeyExtractable { .. }
            | HsmError::TokenSelection { .. }
            | HsmError::KeySelection { .. }
            | HsmError::ObjectSelection { .. }
            | HsmError::KeyStays { .. }
            | HsmError::MechanismMissing { .. } => self.fmt_life(f),
        }
    }
}

impl HsmError {
    /// Why there is no signature now.
    fn fmt_serving(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            _ => Ok(()),
        }
    }

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
            HsmError::KeyExtractable { key } => write!(
                f,
                "the key `{key}` can be extracted from its token (CKA_EXTRACTABLE): generate one \
                 that cannot, or allow this one by name"
            ),
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

    /// Why there is no login.
    fn fmt_pin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HsmError::PinUnreadable { source, reason } => {
                write!(f, "cannot read the PIN from `{source}`: {reason}")
            }
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
                "the user PIN of token `{token}` is locked or not set: the security officer must set it; then start again"
            ),
            _ => Ok(()),
        }
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
