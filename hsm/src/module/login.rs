//! `C_Login`, at most once, and never with a PIN that was refused before.
//!
//! Most tokens lock after a few wrong PINs, and a locked production token is an outage that only the
//! security officer can end. So a wrong PIN is tried once in the life of the process, and none is tried
//! when the token says that few tries are left.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use aws_lc_rs::{digest, rand};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::TokenInfo;

use crate::error::{HsmError, PinAsked};
use crate::pin::{Pin, PinSource};

/// PINs that a token refused.
static REFUSED: Mutex<Vec<Refused>> = Mutex::new(Vec::new());

/// A refused PIN, as a hash with a salt of this process: enough to know it again, useless elsewhere.
#[derive(PartialEq, Eq)]
struct Refused {
    module: PathBuf,
    serial: String,
    pin: [u8; digest::SHA256_OUTPUT_LEN],
}

/// Logs the user in on `session`, unless the token wants no login or somebody did it already.
pub(super) fn log_in(
    module: &Path,
    session: &Session,
    info: &TokenInfo,
    source: Option<&PinSource>,
) -> Result<(), HsmError> {
    if !info.login_required() || is_logged_in(session)? {
        return Ok(());
    }
    let token = info.label().to_owned();
    let pin = match source {
        Some(source) => Some(source.read()?),
        // The PIN is typed on the device itself; the module takes a null PIN then.
        None if info.protected_authentication_path() => None,
        None => return Err(HsmError::PinMissing { token }),
    };
    let refused = match &pin {
        Some(pin) => Some(Refused::new(module, info, pin)?),
        None => None,
    };
    if refused.as_ref().is_some_and(Refused::is_known) {
        return Err(HsmError::PinWrong {
            token,
            asked: PinAsked::Earlier,
        });
    }
    if info.user_pin_locked() {
        return Err(HsmError::PinUnusable { token });
    }
    if info.user_pin_count_low() || info.user_pin_final_try() {
        return Err(HsmError::PinTriesLow { token });
    }
    let auth = pin.as_ref().map(Pin::to_auth);
    match session.login(UserType::User, auth.as_ref()) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
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

impl Refused {
    fn new(module: &Path, info: &TokenInfo, pin: &Pin) -> Result<Self, HsmError> {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(salt()?);
        hash.update(pin.as_bytes());
        let mut digest = [0; digest::SHA256_OUTPUT_LEN];
        digest.copy_from_slice(hash.finish().as_ref());
        Ok(Refused {
            module: module.to_owned(),
            serial: info.serial_number().to_owned(),
            pin: digest,
        })
    }

    fn is_known(&self) -> bool {
        REFUSED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(self)
    }

    fn remember(self) {
        REFUSED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }
}

fn salt() -> Result<&'static [u8; 32], HsmError> {
    static SALT: OnceLock<[u8; 32]> = OnceLock::new();
    if let Some(salt) = SALT.get() {
        return Ok(salt);
    }
    let mut salt = [0; 32];
    let random = rand::fill(&mut salt);
    random.map_err(|_| HsmError::Generate("the system has no random numbers".to_owned()))?;
    // Whoever was first decides; all hashes of the process share one salt.
    Ok(SALT.get_or_init(|| salt))
}
