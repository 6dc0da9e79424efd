//! A PKCS#11 module that fails on purpose, in front of a real one: to rehearse an outage, or to test.
//!
//! Name `libfault_module.so` as the module where the real one stood. It loads the real module and forwards
//! every call; `C_Sign` gets the faults that the settings file asks for, and may be changed while the
//! process runs. Three variables of the environment steer it:
//!
//! - `FAULT_REAL_MODULE`: the real module; SoftHSM if not set.
//! - `FAULT_SETTINGS`: a file of `key = value` lines, read again whenever it changes; no faults if not set.
//!   [`settings::Settings`] lists the keys.
//! - `FAULT_COUNTS`: a file that always holds how often `C_Login` and `C_Sign` were called.
//!
//! ```text
//! # /tmp/faults: a slow HSM with four engines, of which one signature in sixty hangs
//! delay_us = 5000
//! engines = 4
//! hang_every = 60
//! hang_ms = 1500
//! ```
//!
//! What it promises: nothing is logged, and no PIN, key or message is looked at.
#![expect(unsafe_code, reason = "a PKCS#11 module is a C interface")]

mod counts;
mod faults;
pub mod settings;

use std::env;
use std::io::{self, Write};
use std::sync::OnceLock;

use cryptoki_sys::{
    CK_BYTE, CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR,
    CKR_ARGUMENTS_BAD, CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR, CKR_OK,
};

use faults::{FAULTS, Verdict};

/// Where Debian and Ubuntu install SoftHSM.
const DEFAULT_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The real functions, and the list that is handed out: theirs but for two.
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
        C_Login: Some(login),
        C_Sign: Some(sign),
        ..real
    };
    Some(Lists {
        real,
        ours,
        _library: library,
    })
}

fn real() -> Option<&'static CK_FUNCTION_LIST> {
    LISTS.get()?.as_ref().map(|lists| &lists.real)
}

/// `C_Login`, counted.
///
/// # Safety
/// As `C_Login`; the arguments are forwarded untouched.
unsafe extern "C" fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    let Some(real) = real().and_then(|list| list.C_Login) else {
        return CKR_FUNCTION_NOT_SUPPORTED;
    };
    counts::login();
    // SAFETY: the caller keeps the contract of `C_Login`, and the arguments are its own.
    unsafe { real(session, user, pin, pin_len) }
}

/// `C_Sign` with faults. A query of the length (a null `signature`) is forwarded as it is.
///
/// # Safety
/// As `C_Sign`; the arguments are forwarded untouched.
unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    let Some(real) = real().and_then(|list| list.C_Sign) else {
        return CKR_FUNCTION_NOT_SUPPORTED;
    };
    let mut engine = None;
    if !signature.is_null() {
        match FAULTS.strike(counts::sign()) {
            Verdict::Forward(held) => engine = held,
            // The operation stays active in the real module, as it does in modules that fail for real.
            Verdict::Fail(code) => return code,
        }
    }
    // SAFETY: the caller keeps the contract of `C_Sign`, and the arguments are its own.
    let result = unsafe { real(session, data, data_len, signature, signature_len) };
    drop(engine);
    result
}
