//! What is in a token and whether it can serve: for an operator who looks before serving.

use std::path::Path;

use cryptoki::slot::Slot;
use rustls::SignatureScheme;

use crate::error::HsmError;
use crate::key::certificate::{self, Fields};
use crate::key::{Key, KeyInfo, object, proof};
use crate::module::Module;
use crate::secret::{Generation, object as secret};
use crate::slots::TokenInfo;
use crate::token::Token;
use crate::uri::Pkcs11Uri;

/// Everything in a token that concerns us.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Private keys that can serve TLS.
    pub keys: Vec<KeyInfo>,
    /// Private keys that cannot.
    pub unusable: Vec<UnusableKey>,
    /// Certificates.
    pub certificates: Vec<StoredCertificate>,
    /// Secret keys that may wrap others.
    pub wrapping_keys: Vec<Pkcs11Uri>,
    /// Secret keys to derive from.
    pub secrets: Vec<StoredSecret>,
}

/// A private key that cannot serve TLS.
#[derive(Debug, Clone)]
pub struct UnusableKey {
    /// Its URI.
    pub uri: Pkcs11Uri,
    /// Why.
    pub reason: String,
}

/// A certificate object.
#[derive(Debug, Clone)]
pub struct StoredCertificate {
    /// Its URI.
    pub uri: Pkcs11Uri,
    /// `CKA_ID`; equal to that of its key, if the key is in the token.
    pub id: Vec<u8>,
    /// The common name of its subject.
    pub subject: Option<String>,
}

/// A secret key to derive from.
#[derive(Debug, Clone)]
pub struct StoredSecret {
    /// Its URI.
    pub uri: Pkcs11Uri,
    /// The generation that is kept beside it.
    pub generation: Generation,
    /// Why nothing can be derived from it, if it cannot.
    pub unfit: Option<String>,
}

/// The flags of the user PIN (`C_GetTokenInfo`). Reading them needs no login and costs no try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinState {
    /// `CKF_LOGIN_REQUIRED`.
    pub login_required: bool,
    /// `CKF_USER_PIN_INITIALIZED`.
    pub initialized: bool,
    /// `CKF_USER_PIN_COUNT_LOW`: a wrong PIN was tried since the last right one.
    pub count_low: bool,
    /// `CKF_USER_PIN_FINAL_TRY`: the next wrong PIN locks the token.
    pub final_try: bool,
    /// `CKF_USER_PIN_LOCKED`.
    pub locked: bool,
    /// `CKF_USER_PIN_TO_BE_CHANGED`.
    pub to_be_changed: bool,
    /// `CKF_PROTECTED_AUTHENTICATION_PATH`: the PIN is typed on the device.
    pub protected_authentication_path: bool,
}

/// Reads what the token holds (`C_FindObjects`, `C_GetAttributeValue`).
///
/// # Errors
/// When a PKCS#11 call fails.
pub fn inventory(token: &Token) -> Result<Inventory, HsmError> {
    let session = token.source()?.open()?;
    let info = token.info();
    let mut found = Inventory::default();
    for object in object::private_keys(&session, None)? {
        let uri = object.uri(info);
        let checked = object
            .info(&session, info)
            .and_then(|key| object.check_use(&key.uri).map(|()| key));
        match checked {
            Ok(key) => found.keys.push(key),
            Err(HsmError::KeyUnsupported { reason, .. }) => {
                found.unusable.push(UnusableKey { uri, reason });
            }
            Err(error) => return Err(error),
        }
    }
    for stored in certificate::stored(&session, None)? {
        found.certificates.push(StoredCertificate {
            uri: stored.uri(Some(&info.label)),
            subject: Fields::read(&stored.der).and_then(|fields| fields.common_name()),
            id: stored.id,
        });
    }
    for object in secret::secret_keys(&session, None)? {
        let uri = object.uri(info);
        if !object.derives() {
            found.wrapping_keys.push(uri);
            continue;
        }
        let kept = secret::generation_label(&session, &uri, info)
            .and_then(|label| secret::generations(&session, &label));
        let checked = object.info(info);
        let unfit = match (&checked, &kept) {
            (Err(HsmError::KeyUnsupported { reason, .. }), _)
            | (_, Err(HsmError::KeyUnsupported { reason, .. })) => Some(reason.clone()),
            _ => None,
        };
        found.secrets.push(StoredSecret {
            uri,
            generation: kept.map(|(generation, _)| generation).unwrap_or_default(),
            unfit,
        });
    }
    Ok(found)
}

/// The state of the user PIN of a token that [`crate::tokens`] told (`C_GetTokenInfo`).
///
/// # Errors
/// When the module cannot be loaded or the token is gone.
pub fn pin_state(module: &Path, token: &TokenInfo) -> Result<PinState, HsmError> {
    let module = Module::load(module)?;
    let slot = Slot::try_from(token.slot)
        .map_err(|_| HsmError::Generate(format!("{} is no slot id", token.slot)))?;
    let info = module.token_info(slot)?;
    Ok(PinState {
        login_required: info.login_required(),
        initialized: info.user_pin_initialized(),
        count_low: info.user_pin_count_low(),
        final_try: info.user_pin_final_try(),
        locked: info.user_pin_locked(),
        to_be_changed: info.user_pin_to_be_changed(),
        protected_authentication_path: info.protected_authentication_path(),
    })
}

/// How many slots of a module have a token that is not initialized (`C_GetSlotList`, `C_GetTokenInfo`):
/// where [`super::init_token`] can make one.
///
/// # Errors
/// When the module cannot be loaded or a PKCS#11 call fails.
pub fn free_slots(module: &Path) -> Result<usize, HsmError> {
    let module = Module::load(module)?;
    let mut free = 0;
    for slot in module.pkcs11().get_slots_with_token()? {
        let info = module.token_info(slot)?;
        free += usize::from(!info.token_initialized());
    }
    Ok(free)
}

/// Signs with each scheme that the key offers and verifies each signature (`C_Sign`); a scheme that is
/// missing is one that the token has no mechanism for.
pub fn sign_every_scheme(key: &Key) -> Vec<(SignatureScheme, Result<(), HsmError>)> {
    proof::prove_all(key)
}
