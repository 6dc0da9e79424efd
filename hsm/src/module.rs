//! PKCS#11 modules: each is loaded once in the process and initialized; again only when nobody is inside.
//!
//! After the way to a device was lost most modules are of no use before `C_Finalize` and `C_Initialize`.
//! Both pull the library from under every call and session of the process, so [`Module::restart`] runs only
//! while no session is open and no call is in flight: whoever uses the module holds an [`Inside`], and a
//! token that works holds sessions, so a restart never touches a healthy token. For each token a module also
//! keeps an anchor session: it holds the login (the last session of a token that closes logs out), and
//! SoftHSM crashes when the last session closes while another opens.

mod latch;
mod login;
pub(crate) mod raw;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};

use crate::error::HsmError;
pub(crate) use login::Credentials;
use raw::RawTable;

/// How long a restart waits for those inside to leave. They leave when their token is given up.
const LEAVE_WAIT: Duration = Duration::from_millis(250);

/// The modules of this process, by canonical path.
static MODULES: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

/// A loaded and initialized PKCS#11 library.
pub(crate) struct Module {
    path: PathBuf,
    pkcs11: Pkcs11,
    raw: Option<RawTable>,
    state: Mutex<State>,
    left: Condvar,
    /// One session per slot. The lock also makes logins to this module one at a time.
    anchors: Mutex<HashMap<u64, Session>>,
}

struct State {
    /// Who may be in a call, or has a session open.
    inside: usize,
    /// Counts restarts.
    epoch: u64,
    initialized: bool,
}

/// The right to call the module; while one exists the module is not restarted.
pub(crate) struct Inside(Arc<Module>);

impl Module {
    /// Loads the library and calls `C_Initialize`, or hands out the context made earlier.
    pub(crate) fn load(path: &Path) -> Result<Arc<Module>, HsmError> {
        let unloadable = |reason: String| HsmError::ModuleUnloadable {
            module: path.to_owned(),
            reason,
        };
        let path = fs::canonicalize(path).map_err(|error| unloadable(error.to_string()))?;
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.iter().find(|module| module.path == path) {
            return Ok(Arc::clone(module));
        }
        let pkcs11 = Pkcs11::new(&path).map_err(|error| match error {
            Error::Pkcs11(..) => HsmError::from(error),
            other => unloadable(other.to_string()),
        })?;
        let module = Arc::new(Module {
            raw: RawTable::load(&path),
            path,
            pkcs11,
            state: Mutex::new(State {
                inside: 0,
                epoch: 0,
                initialized: false,
            }),
            left: Condvar::new(),
            anchors: Mutex::default(),
        });
        module.initialize(&mut lock(&module.state))?;
        modules.push(Arc::clone(&module));
        Ok(module)
    }

    /// The function list. For calls that need no [`Inside`]: those of commands, before any token is open.
    pub(crate) fn pkcs11(&self) -> &Pkcs11 {
        &self.pkcs11
    }

    /// The functions that sign, called without cryptoki in between; none where the module's tables differ.
    pub(crate) fn raw(&self) -> Option<&RawTable> {
        self.raw.as_ref()
    }

    /// `C_GetTokenInfo`. What cryptoki cannot read is the clock, which nobody asks for: openCryptoki's says
    /// `18:50:53` where the standard wants sixteen digits. It is left out then.
    pub(crate) fn token_info(&self, slot: Slot) -> Result<TokenInfo, HsmError> {
        match (self.pkcs11.get_token_info(slot), &self.raw) {
            (Err(Error::ParseInt(_) | Error::Utf8(_)), Some(raw)) => {
                raw.token_info_without_clock(slot)
            }
            (told, _) => Ok(told?),
        }
    }

    /// Holds off restarts for as long as the answer lives. Waits while one is on its way.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Inside, HsmError> {
        let mut state = lock(&self.state);
        if !state.initialized {
            self.initialize(&mut state)?;
        }
        state.inside += 1;
        Ok(Inside(Arc::clone(self)))
    }

    /// Counts restarts: what was found out under an earlier one may be wrong now.
    pub(crate) fn epoch(&self) -> u64 {
        lock(&self.state).epoch
    }

    /// `C_Finalize` and `C_Initialize`, unless somebody did it after `seen`. Sessions and slot ids of before
    /// are void afterwards.
    ///
    /// # Errors
    /// When a call is in flight or a session open, which is so while another token of the module works; or
    /// what `C_Initialize` returned.
    pub(crate) fn restart(&self, seen: u64) -> Result<(), HsmError> {
        let state = lock(&self.state);
        let wait = self
            .left
            .wait_timeout_while(state, LEAVE_WAIT, |state| state.inside > 0);
        let (mut state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        if state.epoch != seen && state.initialized {
            return Ok(());
        }
        if state.inside > 0 {
            return Err(HsmError::Interface(format!(
                "it cannot be initialized again while {} calls or sessions are open in it",
                state.inside
            )));
        }
        // They close with the module; closing them one by one could hang on a dead connection, and later,
        // by number, hit a session of somebody else.
        for (_, anchor) in lock(&self.anchors).drain() {
            std::mem::forget(anchor);
        }
        state.initialized = false;
        // What it returns does not matter: it may be finalized already, or half dead.
        let _ = self.pkcs11.clone().finalize();
        self.initialize(&mut state)?;
        state.epoch += 1;
        Ok(())
    }

    /// Logs the user in for the signature that `C_SignInit` has begun on `session`.
    pub(crate) fn log_in_for_operation(
        &self,
        session: &Session,
        slot: Slot,
        credentials: &Credentials,
    ) -> Result<(), HsmError> {
        let info = self.token_info(slot)?;
        login::log_in_for_operation(&self.path, session, &info, credentials)
    }

    fn initialize(&self, state: &mut State) -> Result<(), HsmError> {
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match self.pkcs11.initialize(arguments) {
            // Another user of the library in this process was first; it is initialized, which is the point.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                state.initialized = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `C_OpenSession`. Read-only is enough to find keys and to sign; AWS CloudHSM has only sessions that write.
    pub(crate) fn open_session(&self, slot: Slot) -> Result<Session, HsmError> {
        match self.pkcs11.open_ro_session(slot) {
            Err(Error::Pkcs11(RvError::FunctionFailed, _)) => {
                Ok(self.pkcs11.open_rw_session(slot)?)
            }
            opened => Ok(opened?),
        }
    }

    /// Opens the anchor session of a token and logs the user in on it, if the token wants a login and
    /// nobody is logged in. At most one `C_Login`.
    pub(crate) fn log_in(
        &self,
        slot: Slot,
        info: &TokenInfo,
        credentials: &Credentials,
    ) -> Result<(), HsmError> {
        let mut anchors = lock(&self.anchors);
        // An anchor that cannot tell its state is of a token that went away; it cannot hold the login.
        if anchors
            .get(&slot.id())
            .is_some_and(|anchor| anchor.get_session_info().is_err())
        {
            anchors.remove(&slot.id());
        }
        let anchor = match anchors.remove(&slot.id()) {
            Some(anchor) => anchor,
            None => self.open_session(slot)?,
        };
        let anchor = anchors.entry(slot.id()).or_insert(anchor);
        login::log_in(&self.path, anchor, info, credentials)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.inside -= 1;
        if state.inside == 0 {
            self.0.left.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
