//! `C_Login`, at most once, and never with a PIN that was refused before.
//!
//! Most tokens lock after a few wrong PINs, and a locked production token is an outage that only the
//! security officer can end. So a wrong PIN is tried once, also over restarts ([`super::latch`]), and none
//! is tried when the token says that few tries are left: in a fleet every gateway would spend one.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::TokenInfo;

use super::latch::Refused;
use crate::error::{HsmError, PinAsked};
use crate::pin::{Pin, PinSource};

/// How a token is logged in to.
pub(crate) struct Credentials {
    pub(crate) source: Option<PinSource>,
    /// Whether a PIN is tried though the token says that few tries are left.
    pub(crate) at_count_low: bool,
    /// Where refused PINs are remembered over restarts.
    pub(crate) state_dir: Option<PathBuf>,
    /// The PIN of the last login, for sources that can be read only once.
    kept: Mutex<Option<Pin>>,
}

impl Credentials {
    pub(crate) fn new(
        source: Option<PinSource>,
        at_count_low: bool,
        state_dir: Option<PathBuf>,
    ) -> Self {
        Credentials {
            source,
            at_count_low,
            state_dir,
            kept: Mutex::new(None),
        }
    }

    /// The PIN as its source has it now. A terminal is asked, and a descriptor read, only once.
    fn pin(&self, info: &TokenInfo) -> Result<Option<Pin>, HsmError> {
        let Some(source) = &self.source else {
            // The PIN is typed on the device itself; the module takes a null PIN then.
            return match info.protected_authentication_path() {
                true => Ok(None),
                false => Err(HsmError::PinMissing {
                    token: info.label().to_owned(),
                }),
            };
        };
        let once = matches!(source, PinSource::Fd(_) | PinSource::Prompt);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(pin) if once => Ok(Some(pin.clone())),
            _ => {
                let pin = source.read()?;
                *kept = Some(pin.clone());
                Ok(Some(pin))
            }
        }
    }

    /// The PIN for `CKU_CONTEXT_SPECIFIC`: that of the last login.
    fn pin_of_login(&self, info: &TokenInfo) -> Result<Option<Pin>, HsmError> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match kept {
            Some(pin) => Ok(Some(pin)),
            None => self.pin(info),
        }
    }
}

/// Logs the user in on `session`, unless the token wants no login or somebody did it already.
pub(super) fn log_in(
    module: &Path,
    session: &Session,
    info: &TokenInfo,
    credentials: &Credentials,
) -> Result<(), HsmError> {
    if !info.login_required() || is_logged_in(session)? {
        return Ok(());
    }
    let pin = credentials.pin(info)?;
    attempt(module, info, credentials, pin, |pin| {
        session.login(UserType::User, pin)
    })
}

/// Logs the user in for the one operation that `C_SignInit` has begun (`CKA_ALWAYS_AUTHENTICATE`).
pub(super) fn log_in_for_operation(
    module: &Path,
    session: &Session,
    info: &TokenInfo,
    credentials: &Credentials,
) -> Result<(), HsmError> {
    let pin = credentials.pin_of_login(info)?;
    attempt(module, info, credentials, pin, |pin| {
        session.login(UserType::ContextSpecific, pin)
    })
}

type Auth<'a> = Option<&'a cryptoki::types::AuthPin>;

/// One `C_Login`, if the PIN was not refused earlier and the token does not say that tries are few.
fn attempt(
    module: &Path,
    info: &TokenInfo,
    credentials: &Credentials,
    pin: Option<Pin>,
    call: impl FnOnce(Auth<'_>) -> Result<(), Error>,
) -> Result<(), HsmError> {
    let token = info.label().to_owned();
    let refused = pin
        .as_ref()
        .map(|pin| Refused::new(module, info, pin, credentials.state_dir.as_deref()));
    let refused = refused.transpose()?;
    if refused.as_ref().is_some_and(Refused::is_known) {
        return Err(HsmError::PinWrong {
            token,
            asked: PinAsked::Earlier,
        });
    }
    if info.user_pin_locked() {
        return Err(HsmError::PinUnusable { token });
    }
    let low = info.user_pin_count_low() || info.user_pin_final_try();
    if low && !credentials.at_count_low {
        return Err(HsmError::PinTriesLow { token });
    }
    let auth = pin.as_ref().map(Pin::to_auth);
    match call(auth.as_ref()) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            refused.into_iter().for_each(Refused::forget);
            Ok(())
        }
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => {
            refused.into_iter().for_each(Refused::remember);
            Err(HsmError::PinWrong {
                token,
                asked: PinAsked::Now,
            })
        }
        Err(Error::Pkcs11(RvError::PinLocked | RvError::UserPinNotInitialized, _)) => {
            // Not over a restart: the security officer may set the same PIN again.
            refused.into_iter().for_each(Refused::remember_here);
            Err(HsmError::PinUnusable { token })
        }
        Err(error) => Err(error.into()),
    }
}

/// A login counts for the process, so any session of the token shows it.
fn is_logged_in(session: &Session) -> Result<bool, HsmError> {
    let state = session.get_session_info()?.session_state();
    Ok(matches!(state, SessionState::RoUser | SessionState::RwUser))
}
