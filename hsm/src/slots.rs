//! The tokens of a module: what each tells about itself, and finding the one that is meant.

use std::fmt;
use std::path::Path;

use cryptoki::slot::Slot;
use serde::{Deserialize, Serialize};

use crate::error::HsmError;
use crate::module::Module;
use crate::uri::Pkcs11Uri;

/// How a token is found among those of its module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSelect {
    /// By slot id (`CK_SLOT_ID`). Slot ids move; prefer the label.
    Slot(u64),
    /// By label (`CK_TOKEN_INFO.label`).
    Label(String),
    /// By serial number (`CK_TOKEN_INFO.serialNumber`).
    Serial(String),
}

/// What a token tells about itself (`C_GetTokenInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// The slot it is in now.
    pub slot: u64,
}

impl TokenInfo {
    pub(crate) fn new(slot: Slot, info: &cryptoki::slot::TokenInfo) -> Self {
        TokenInfo {
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            slot: slot.id(),
        }
    }

    pub(crate) fn unseen(select: &TokenSelect) -> Self {
        let mut info = TokenInfo {
            label: String::new(),
            serial: String::new(),
            manufacturer: String::new(),
            model: String::new(),
            slot: 0,
        };
        match select {
            TokenSelect::Slot(slot) => info.slot = *slot,
            TokenSelect::Label(label) => info.label.clone_from(label),
            TokenSelect::Serial(serial) => info.serial.clone_from(serial),
        }
        info
    }

    /// The URI of the token (RFC 7512).
    pub fn uri(&self) -> Pkcs11Uri {
        Pkcs11Uri::default()
            .with_token_label(&self.label)
            .with_serial(&self.serial)
    }

    /// Whether the token attributes of `uri` are those of this token.
    pub(crate) fn fits(&self, uri: &Pkcs11Uri) -> bool {
        let same =
            |wanted: Option<&str>, actual: &str| wanted.is_none_or(|wanted| wanted == actual);
        same(uri.token(), &self.label)
            && same(uri.serial(), &self.serial)
            && same(uri.manufacturer(), &self.manufacturer)
            && same(uri.model(), &self.model)
            && uri.slot_id().is_none_or(|slot| slot == self.slot)
    }
}

impl fmt::Display for TokenSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSelect::Slot(slot) => write!(f, "slot {slot}"),
            TokenSelect::Label(label) => write!(f, "the label `{label}`"),
            TokenSelect::Serial(serial) => write!(f, "the serial `{serial}`"),
        }
    }
}

/// The initialized tokens of a module (`C_GetSlotList`, `C_GetTokenInfo`). Needs no login.
///
/// # Errors
/// When the module cannot be loaded or a PKCS#11 call fails.
pub fn tokens(module: &Path) -> Result<Vec<TokenInfo>, HsmError> {
    let module = Module::load(module)?;
    let seen = seen(&module)?;
    Ok(seen.into_iter().map(|(_, info)| info).collect())
}

fn seen(module: &Module) -> Result<Vec<(Slot, TokenInfo)>, HsmError> {
    let mut seen = Vec::new();
    for slot in module.pkcs11().get_slots_with_token()? {
        let info = module.token_info(slot)?;
        if info.token_initialized() {
            seen.push((slot, TokenInfo::new(slot, &info)));
        }
    }
    Ok(seen)
}

/// The slot of the only token that fits.
pub(crate) fn select(module: &Module, wanted: &TokenSelect) -> Result<Slot, HsmError> {
    let seen = seen(module)?;
    let fits = |info: &TokenInfo| match wanted {
        TokenSelect::Slot(slot) => info.slot == *slot,
        TokenSelect::Label(label) => info.label == *label,
        TokenSelect::Serial(serial) => info.serial == *serial,
    };
    let fitting: Vec<_> = seen.iter().filter(|(_, info)| fits(info)).collect();
    if let [(slot, _)] = fitting[..] {
        return Ok(*slot);
    }
    let uri = |info: &TokenInfo| info.uri().with_slot_id(info.slot);
    let candidates = if fitting.is_empty() {
        seen.iter().map(|(_, info)| uri(info)).collect()
    } else {
        fitting.iter().map(|(_, info)| uri(info)).collect()
    };
    Err(HsmError::TokenSelection {
        wanted: wanted.to_string(),
        candidates,
    })
}
