//! A token: chosen by label, serial or slot, logged in once, driven by its session threads.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, iter};

use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;

use crate::error::HsmError;
use crate::key::{Extractable, Key, KeyInfo, object};
use crate::module::Module;
use crate::pin::PinSource;
use crate::sessions::{Pending, Pool, SignRequest, Source};
use crate::stats::TokenStats;
use crate::uri::Pkcs11Uri;

/// Which token, and how hard it may be driven. Equal settings mean the same token handle: the gateway
/// keeps it over a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Name in the configuration, for errors and metrics.
    pub name: String,
    /// The PKCS#11 library.
    pub module: PathBuf,
    /// Which token of the library.
    pub select: TokenSelect,
    /// Where the user PIN comes from; `None` when the token needs none or has a keypad.
    pub pin: Option<PinSource>,
    /// Session threads: as many as the token works in parallel.
    pub sessions: NonZeroUsize,
    /// Signatures that may wait for a session.
    pub queue: NonZeroUsize,
    /// How long a signature may take, waiting included.
    pub deadline: Duration,
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// An open token. Clones share it; the last one that is dropped ends its session threads.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    settings: TokenSettings,
    info: TokenInfo,
    mechanisms: Vec<MechanismType>,
    source: Source,
    pool: Pool,
}

impl Token {
    /// Loads the module (once per process), finds the token, logs in (at most one `C_Login`, and none
    /// if somebody in this process did) and starts the session threads. Blocks while the module does.
    ///
    /// # Errors
    /// When the module cannot be loaded, when not exactly one token fits, when the PIN is missing, wrong
    /// or dangerous to try, or when a PKCS#11 call fails.
    pub fn open(settings: TokenSettings) -> Result<Token, HsmError> {
        let module = Module::load(&settings.module)?;
        let slot = select(&module, &settings.select)?;
        let token_info = module.pkcs11().get_token_info(slot)?;
        module.log_in(slot, &token_info, settings.pin.as_ref())?;
        let mechanisms = module.pkcs11().get_mechanism_list(slot)?;
        let source = Source { module, slot };
        let pool = Pool::start(&source, &settings)?;
        let info = TokenInfo::new(slot, &token_info);
        Ok(Token(Arc::new(Inner {
            settings,
            info,
            mechanisms,
            source,
            pool,
        })))
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &TokenSettings {
        &self.0.settings
    }

    /// What it tells about itself.
    pub fn info(&self) -> &TokenInfo {
        &self.0.info
    }

    /// The private key that `uri` names (RFC 7512); it must be exactly one. Blocks until the deadline of
    /// the token at most.
    ///
    /// # Errors
    /// [`HsmError::KeySelection`] lists the candidates as URIs; a key that can be extracted is refused
    /// unless `extractable` allows it.
    pub fn key(&self, uri: &Pkcs11Uri, extractable: Extractable) -> Result<Key, HsmError> {
        Key::in_token(self, uri, extractable)
    }

    /// The private keys of the token that could serve TLS.
    ///
    /// # Errors
    /// When a PKCS#11 call fails or the deadline passes.
    pub fn list(&self) -> Result<Vec<KeyInfo>, HsmError> {
        let info = self.0.info.clone();
        self.pool().call(move |session| {
            let objects = object::private_keys(session, iter::empty())?;
            let known = objects
                .iter()
                .filter_map(|object| object.info(session, &info).ok());
            Ok(known.collect())
        })
    }

    /// Counts and gauges of its queue.
    pub fn stats(&self) -> TokenStats {
        self.pool().stats()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn sign(&self, request: SignRequest) -> Result<Pending, HsmError> {
        self.pool().sign(request)
    }

    /// Whether the token has the mechanism (`C_GetMechanismList`).
    pub(crate) fn has(&self, mechanism: MechanismType) -> bool {
        self.0.mechanisms.contains(&mechanism)
    }

    pub(crate) fn source(&self) -> &Source {
        &self.0.source
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.0.settings.name)
            .field("info", &self.0.info)
            .finish()
    }
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
    for slot in module.pkcs11().get_slots_with_initialized_token()? {
        seen.push((
            slot,
            TokenInfo::new(slot, &module.pkcs11().get_token_info(slot)?),
        ));
    }
    Ok(seen)
}

/// The slot of the only token that fits.
fn select(module: &Module, wanted: &TokenSelect) -> Result<Slot, HsmError> {
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
