//! A token: chosen by label, serial or slot, driven by its session threads, and brought back when it was away.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use cryptoki::mechanism::MechanismType;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use rustls::pki_types::CertificateDer;

use crate::error::HsmError;
use crate::holder::Holder;
use crate::key::{Extractable, Key, KeyInfo};
use crate::link::local::Local;
use crate::link::{FoundKey, FoundSecret, Link};
use crate::module::{Credentials, Module};
use crate::secret::{Generation, Secret};
use crate::sessions::{Pool, TokenHealth};
use crate::settings::{Isolation, TokenSettings};
use crate::sign::Family;
use crate::signer::remote::Remote;
use crate::slots::TokenInfo;
use crate::stats::TokenStats;
use crate::uri::Pkcs11Uri;

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

    /// The secret key that `uri` names, to derive from: exactly one, a generic secret or of HMAC, at least 32
    /// bytes. Blocks until the deadline of the token at most.
    ///
    /// # Errors
    /// [`HsmError::ObjectSelection`] lists the candidates as URIs; [`HsmError::KeyUnsupported`] and
    /// [`HsmError::MechanismMissing`] where nothing can be derived from it; one that can be extracted is
    /// refused unless `extractable` allows it.
    pub fn secret(&self, uri: &Pkcs11Uri, extractable: Extractable) -> Result<Secret, HsmError> {
        Secret::held(&Holder::Token(self.clone()), uri, extractable)
    }

    /// The generation that is kept in the token beside the secret `uri` names; zero if there is none.
    ///
    /// # Errors
    /// When the secret has no label that the generation could be named after, when its object is of another
    /// form, or a PKCS#11 call fails.
    pub fn generation(&self, uri: &Pkcs11Uri) -> Result<Generation, HsmError> {
        let uri = uri.clone();
        self.pool().call(move |session| session.generation(&uri))
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
    /// a key must have been found before. For [`crate::Sessions::Auto`].
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

    pub(crate) fn find_secret(&self, uri: &Pkcs11Uri) -> Result<FoundSecret, HsmError> {
        let uri = uri.clone();
        self.pool().call(move |session| session.find_secret(&uri))
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

    /// `CKF_LOGIN_REQUIRED`.
    pub(crate) fn wants_login(&self) -> Result<bool, HsmError> {
        Ok(self.module.token_info(self.slot)?.login_required())
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
