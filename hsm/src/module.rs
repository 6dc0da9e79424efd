//! PKCS#11 modules: each is loaded and initialized once in the process, and never finalized.
//!
//! `C_Finalize` would pull the library from under a call in flight, and a second `C_Initialize` of the
//! same library fails, so contexts live as long as the process. For each token a module also keeps an
//! anchor session: it holds the login (the last session of a token that closes logs out), and SoftHSM
//! crashes when the last session closes while another opens.

mod login;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};

use crate::error::HsmError;
use crate::pin::PinSource;

/// The modules of this process, by canonical path.
static MODULES: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

/// A loaded and initialized PKCS#11 library.
pub(crate) struct Module {
    path: PathBuf,
    pkcs11: Pkcs11,
    /// One session per slot, kept for ever. The lock also makes logins to this module one at a time.
    anchors: Mutex<HashMap<u64, Session>>,
}

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
        match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another user of the library in this process was first; it is initialized, which is the point.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        let module = Arc::new(Module {
            path,
            pkcs11,
            anchors: Mutex::default(),
        });
        modules.push(Arc::clone(&module));
        Ok(module)
    }

    /// The function list.
    pub(crate) fn pkcs11(&self) -> &Pkcs11 {
        &self.pkcs11
    }

    /// Opens the anchor session of a token and logs the user in on it, if the token wants a login and
    /// nobody is logged in. At most one `C_Login`.
    pub(crate) fn log_in(
        &self,
        slot: Slot,
        info: &TokenInfo,
        pin: Option<&PinSource>,
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
            None => self.pkcs11.open_ro_session(slot)?,
        };
        let anchor = anchors.entry(slot.id()).or_insert(anchor);
        login::log_in(&self.path, anchor, info, pin)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
