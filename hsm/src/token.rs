//! A token: chosen by label, serial or slot, driven by its session threads, and brought back when it was away.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cryptoki::mechanism::MechanismType;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::error::HsmError;
use crate::holder::Holder;
use crate::key::{Extractable, Key, KeyInfo};
use crate::link::local::Local;
use crate::link::{FoundKey, Link};
use crate::module::{Credentials, Module};
use crate::pin::PinSource;
use crate::sessions::{Pool, TokenHealth};
use crate::sign::Family;
use crate::signer::remote::Remote;
use crate::stats::TokenStats;
use crate::uri::Pkcs11Uri;

/// Which token, and how hard it may be driven. Equal settings mean the same token handle: the gateway
/// keeps it over a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Name in the configuration, for errors and metrics.
    pub name: String,
    /// The PKCS#11 library. Not looked at where [`Isolation::Socket`] says who has it.
    pub module: PathBuf,
    /// Which token of the library.
    pub select: TokenSelect,
    /// Where the user PIN comes from; `None` when the token needs none or has a keypad.
    pub pin: Option<PinSource>,
    /// Session threads.
    pub sessions: Sessions,
    /// Signatures that may wait for a session.
    pub queue: QueueBound,
    /// How long a signature may take, waiting and asking again included.
    pub deadline: Duration,
    /// How long one call of the module may take before its session is written off and replaced.
    pub hang_timeout: Duration,
    /// Calls that may hang at once; with more the token is given up until they return.
    pub max_hung: NonZeroUsize,
    /// How long a token may be idle before it is asked for its state and a signature; `None`: for ever.
    pub idle_check: Option<Duration>,
    /// The longest pause between two tries to bring an absent token back.
    pub recovery: Duration,
    /// Whether the PIN is tried though the token says that few tries are left.
    pub login_at_count_low: bool,
    /// Where refused PINs are remembered over restarts; `None`: in this process only.
    pub state_dir: Option<PathBuf>,
    /// Which process has the module loaded.
    pub isolation: Isolation,
}

/// How many session threads a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// As many as [`Token::tune`] finds the token to work in parallel; two before.
    Auto,
    /// This many.
    Count(NonZeroUsize),
}

/// How many signatures may wait for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBound {
    /// As many as the token makes within the deadline: its measured rate times the deadline.
    Auto,
    /// This many.
    Count(NonZeroUsize),
}

/// Which process has the PKCS#11 library loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// This one.
    None,
    /// A signer process that is started, and started again when it ends: this program with these
    /// arguments, followed by those that name module, token and PIN source.
    Process {
        /// The program, [`std::env::current_exe`] for example.
        program: PathBuf,
        /// Its first arguments.
        arguments: Vec<String>,
    },
    /// A signer process that somebody else runs, behind this unix socket.
    Socket(PathBuf),
}

impl TokenSettings {
    /// Settings with the defaults: measured sessions and queue, two seconds for a signature, one for a call,
    /// a check after ten idle seconds, half a second between tries to recover.
    pub fn new(name: &str, module: &Path, select: TokenSelect) -> Self {
        TokenSettings {
            name: name.to_owned(),
            module: module.to_owned(),
            select,
            pin: None,
            sessions: Sessions::Auto,
            queue: QueueBound::Auto,
            deadline: Duration::from_secs(2),
            hang_timeout: Duration::from_secs(1),
            max_hung: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            idle_check: Some(Duration::from_secs(10)),
            recovery: Duration::from_millis(500),
            login_at_count_low: false,
            state_dir: None,
            isolation: Isolation::None,
        }
    }
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

/// An open token. Clones share it; the last one that is dropped ends its session threads.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    settings: TokenSettings,
    /// What is told of a token that was never seen.
    unseen: OnceLock<TokenInfo>,
    pool: Pool,
}

impl Token {
    /// Opens a token: loads the module (once per process) or starts its signer process, finds the token, logs
    /// in (at most one `C_Login`, and none if somebody in this process did) and starts the session threads.
    /// Blocks while the module does, at most a minute.
    ///
    /// # Errors
    /// When the module cannot be loaded, when not exactly one token fits, when the PIN is missing, wrong
    /// or dangerous to try, or when a PKCS#11 call fails.
    pub fn open(settings: TokenSettings) -> Result<Token, HsmError> {
        let token = Token::start(settings)?;
        token.pool().settled()?;
        Ok(token)
    }

    /// Opens a token that may be away: it is then brought back as soon as it can be. For members of a group.
    ///
    /// # Errors
    /// As [`Token::open`], but only for what an operator must mend: a module that cannot be loaded, a wrong PIN.
    pub fn open_or_away(settings: TokenSettings) -> Result<Token, HsmError> {
        use crate::error::ErrorClass as E;
        let token = Token::start(settings)?;
        match token.pool().settled() {
            Err(error) if error.class() == E::Configuration => Err(error),
            _ => Ok(token),
        }
    }

    fn start(settings: TokenSettings) -> Result<Token, HsmError> {
        let link = match &settings.isolation {
            Isolation::None => Link::Local(local(&settings)),
            Isolation::Process { program, arguments } => {
                Link::Signer(Remote::spawned(program, arguments, &settings))
            }
            Isolation::Socket(path) => Link::Signer(Remote::at(path)),
        };
        Ok(Token(Arc::new(Inner {
            pool: Pool::start(link, &settings)?,
            settings,
            unseen: OnceLock::new(),
        })))
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &TokenSettings {
        &self.0.settings
    }

    /// What it told about itself when it was first seen; of one that was always away only what was asked for.
    pub fn info(&self) -> &TokenInfo {
        let unseen = || TokenInfo::unseen(&self.0.settings.select);
        match self.pool().description() {
            Some(description) => &description.info,
            None => self.0.unseen.get_or_init(unseen),
        }
    }

    /// The private key that `uri` names (RFC 7512); it must be exactly one. Blocks until the deadline of
    /// the token at most.
    ///
    /// # Errors
    /// [`HsmError::KeySelection`] lists the candidates as URIs; a key that can be extracted is refused
    /// unless `extractable` allows it.
    pub fn key(&self, uri: &Pkcs11Uri, extractable: Extractable) -> Result<Key, HsmError> {
        Key::held(&Holder::Token(self.clone()), uri, extractable)
    }

    /// The private keys of the token that could serve TLS.
    ///
    /// # Errors
    /// When a PKCS#11 call fails or the deadline passes.
    pub fn list(&self) -> Result<Vec<KeyInfo>, HsmError> {
        self.pool().call(|session| session.list())
    }

    /// The certificate chain that `uri` names, from the certificate objects of the token, leaf first.
    ///
    /// # Errors
    /// When there is no such certificate, or more than one; when a call fails or the deadline passes.
    pub fn chain(&self, uri: &Pkcs11Uri) -> Result<Vec<CertificateDer<'static>>, HsmError> {
        let uri = uri.clone();
        self.pool().call(move |session| session.chain(&uri))
    }

    /// Finds out how many sessions the token works in parallel and keeps as many. Takes up to two seconds, and
    /// a key must have been found before. For [`Sessions::Auto`].
    ///
    /// # Errors
    /// When no key is known, or the token did not sign.
    pub fn tune(&self) -> Result<NonZeroUsize, HsmError> {
        self.pool().tune()
    }

    /// Counts and gauges of its queue.
    pub fn stats(&self) -> TokenStats {
        self.pool().stats()
    }

    /// Whether it works; if not, since when and why.
    pub fn health(&self) -> TokenHealth {
        self.pool().health()
    }

    /// Whether [`Token::tune`] has found the number of sessions.
    pub fn is_tuned(&self) -> bool {
        self.pool().is_tuned()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn find(&self, uri: &Pkcs11Uri) -> Result<FoundKey, HsmError> {
        let uri = uri.clone();
        self.pool().call(move |session| session.find(&uri))
    }

    /// Whether the token has the mechanism; `None` while it was not seen.
    pub(crate) fn has(&self, family: Family) -> Option<bool> {
        let description = self.pool().description()?;
        Some(description.families.contains(&family))
    }

    /// The module and the slot, for commands that make and change objects.
    pub(crate) fn source(&self) -> Result<Source, HsmError> {
        let local = self.pool().link().local().ok_or_else(|| {
            HsmError::Generate("objects are made with the module in this process".to_owned())
        })?;
        let (module, slot) = local.source()?;
        Ok(Source { module, slot })
    }
}

/// A slot of a loaded module.
pub(crate) struct Source {
    pub(crate) module: Arc<Module>,
    pub(crate) slot: Slot,
}

impl Source {
    /// `C_OpenSession`.
    pub(crate) fn open(&self) -> Result<Session, HsmError> {
        self.module.open_session(self.slot)
    }

    /// Whether the token has the mechanism (`C_GetMechanismList`).
    pub(crate) fn has(&self, mechanism: MechanismType) -> Result<bool, HsmError> {
        let mechanisms = self.module.pkcs11().get_mechanism_list(self.slot)?;
        Ok(mechanisms.contains(&mechanism))
    }
}

/// The token as this process finds it.
pub(crate) fn local(settings: &TokenSettings) -> Local {
    let credentials = Credentials::new(
        settings.pin.clone(),
        settings.login_at_count_low,
        settings.state_dir.clone(),
    );
    Local::new(
        settings.module.clone(),
        settings.select.clone(),
        credentials,
    )
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.0.settings.name)
            .field("info", self.info())
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

    fn unseen(select: &TokenSelect) -> Self {
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
