//! A PKCS#11 module that fails on purpose, in front of a real one: to rehearse an outage, or to test.
//!
//! Name `libfault_module.so` as the module where the real one stood. It loads the real module and forwards
//! every call; those that matter get the faults that the settings file asks for, which may be changed
//! while the process runs. `docs/REHEARSAL.md` tells operators how. Variables of the
//! environment steer it:
//!
//! - `FAULT_REAL_MODULE`: the real module; SoftHSM if not set.
//! - `FAULT_SETTINGS`: a file of `key = value` lines, read again whenever it changes; no faults if not set.
//!   [`settings::Settings`] lists the keys.
//! - `FAULT_INITIALIZE`: a text that `C_Initialize` of the real module gets as `pReserved`; NSS softokn
//!   wants its database named so. Without it, it gets what the caller passes.
//! - `FAULT_COUNTS`: a file that always holds how often this process called the functions that matter.
//!
//! ```text
//! # /tmp/faults: a slow HSM with four engines, of which one signature in sixty hangs
//! delay_us = 5000
//! engines = 4
//! hang_every = 60
//! hang_ms = 1500
//! ```
//!
//! What it promises: no PIN, key or message is looked at, and without faults a signature costs next to
//! nothing more.
#![expect(unsafe_code, reason = "a PKCS#11 module is a C interface")]

pub mod settings;
mod watch;

mod faults;
mod lockout;
mod random;
mod token;

mod calls;
mod counts;
mod reserved;

use std::env;
use std::io::{self, Write};
use std::sync::OnceLock;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR, CKR_OK};

/// Where Debian and Ubuntu install SoftHSM.
const DEFAULT_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The real functions, and the list that is handed out: theirs but for those of [`calls`].
struct Lists {
    real: CK_FUNCTION_LIST,
    ours: CK_FUNCTION_LIST,
    // Unloading it would leave the pointers of both lists dangling.
    _library: libloading::Library,
}

static LISTS: OnceLock<Option<Lists>> = OnceLock::new();

/// `C_GetFunctionList`, the one symbol of a PKCS#11 module (PKCS#11 2.40 section 5.1). There is no
/// `C_GetInterface`, so that callers take the functions of 2.40, which are all counted.
///
/// # Safety
/// `list` is null or may be written, as the standard demands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    match LISTS.get_or_init(load) {
        Some(lists) => {
            // SAFETY: the caller passed a pointer to write to, which is not null. What is written points
            // into a static that is never changed again; callers must not write to it (section 5.1).
            unsafe { *list = (&raw const lists.ours).cast_mut() };
            CKR_OK
        }
        None => CKR_GENERAL_ERROR,
    }
}

fn load() -> Option<Lists> {
    let path = env::var_os("FAULT_REAL_MODULE").unwrap_or_else(|| DEFAULT_MODULE.into());
    let complain = |error: libloading::Error| {
        // There is no other way to tell: the caller only sees CKR_GENERAL_ERROR.
        let _ = writeln!(io::stderr(), "fault-module: {}: {error}", path.display());
    };
    // SAFETY: loading runs the constructors of a library that the user named as a PKCS#11 module, which is
    // what would have happened without this module in between.
    let library = unsafe { libloading::Library::new(&path) }
        .map_err(complain)
        .ok()?;
    type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
    // SAFETY: the symbol of this name has this type in every PKCS#11 module (section 5.1).
    let get = unsafe { library.get::<GetFunctionList>(b"C_GetFunctionList\0") };
    let get = get.map_err(complain).ok()?;
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a local that may be written.
    if unsafe { get(&raw mut list) } != CKR_OK || list.is_null() {
        return None;
    }
    // SAFETY: the module returned CKR_OK, so `list` points to its function list, which lives as long as
    // the library; it is copied here, and the library is kept.
    let real = unsafe { *list };
    let ours = CK_FUNCTION_LIST {
        // The real one would hand out the real list.
        C_GetFunctionList: Some(C_GetFunctionList),
        ..calls::over(real)
    };
    Some(Lists {
        real,
        ours,
        _library: library,
    })
}

/// The real functions, once they are loaded.
fn real() -> Option<&'static CK_FUNCTION_LIST> {
    LISTS.get()?.as_ref().map(|lists| &lists.real)
}
