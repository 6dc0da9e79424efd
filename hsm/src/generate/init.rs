//! A token on an empty slot: its label and both PINs. What is initialized is never erased.

use std::path::Path;

use cryptoki::session::UserType;
use cryptoki::slot::Slot;

use super::refuse;
use crate::error::HsmError;
use crate::module::Module;
use crate::pin::Pin;
use crate::slots::TokenInfo;

/// Length of `CK_TOKEN_INFO.label`.
const MAX_LABEL_BYTES: usize = 32;

/// Where a token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotChoice {
    /// The first slot whose token is not initialized.
    Free,
    /// This slot; its token must not be initialized.
    Id(u64),
}

/// Initializes a token and sets both PINs (`C_InitToken`, `C_InitPIN`). Its slot id may be another the
/// next time the module is loaded: use the label.
///
/// # Errors
/// When no such slot is free, when the label is taken or too long, or when a PKCS#11 call fails.
pub fn init_token(
    module: &Path,
    choice: SlotChoice,
    label: &str,
    so_pin: &Pin,
    user_pin: &Pin,
) -> Result<TokenInfo, HsmError> {
    if label.is_empty() || label.len() > MAX_LABEL_BYTES {
        return refuse(format!(
            "the label of a token has 1 to {MAX_LABEL_BYTES} bytes"
        ));
    }
    let module = Module::load(module)?;
    let slot = free_slot(&module, choice, label)?;
    let pkcs11 = module.pkcs11();
    pkcs11.init_token(slot, &so_pin.to_auth(), label)?;
    let session = pkcs11.open_rw_session(slot)?;
    session.login(UserType::So, Some(&so_pin.to_auth()))?;
    session.init_pin(&user_pin.to_auth())?;
    session.logout()?;
    Ok(TokenInfo::new(slot, &module.token_info(slot)?))
}

fn free_slot(module: &Module, choice: SlotChoice, label: &str) -> Result<Slot, HsmError> {
    let mut free = None;
    for slot in module.pkcs11().get_slots_with_token()? {
        let info = module.token_info(slot)?;
        if info.token_initialized() {
            if info.label() == label {
                return refuse(format!(
                    "there is a token `{label}` already; choose another label"
                ));
            }
            if choice == SlotChoice::Id(slot.id()) {
                return refuse(format!(
                    "slot {slot} holds the token `{}`; it is not erased",
                    info.label()
                ));
            }
        } else if free.is_none()
            && (choice == SlotChoice::Free || choice == SlotChoice::Id(slot.id()))
        {
            free = Some(slot);
        }
    }
    match free {
        Some(slot) => Ok(slot),
        None => {
            refuse("the module has no such slot with a token that is not initialized".to_owned())
        }
    }
}
