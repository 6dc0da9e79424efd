//! The text of `FAULT_INITIALIZE`, for modules that must be told at `C_Initialize` where their token is.
//!
//! What it promises: the other arguments of the caller reach the real module as they are.

use std::env;
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::LazyLock;

use cryptoki_sys::{CK_C_INITIALIZE_ARGS, CKF_OS_LOCKING_OK};

/// Kept for ever: the module may keep the pointer.
static TEXT: LazyLock<Option<CString>> = LazyLock::new(|| {
    let text = env::var_os("FAULT_INITIALIZE")?;
    CString::new(text.into_vec()).ok()
});

/// `CK_C_INITIALIZE_ARGS` as NSS has it: the text stands where the standard has `pReserved`, and
/// `pReserved` comes after it.
#[repr(C)]
pub(crate) struct Arguments {
    standard: CK_C_INITIALIZE_ARGS,
    reserved: *mut c_void,
}

/// A copy of the arguments of `C_Initialize` with the text, if there is one.
///
/// # Safety
/// `arguments` is null or points to `CK_C_INITIALIZE_ARGS` (PKCS#11 section 5.4).
pub(crate) unsafe fn with_text(arguments: *mut c_void) -> Option<Arguments> {
    let text = TEXT.as_ref()?;
    let mut standard = if arguments.is_null() {
        CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK,
            pReserved: ptr::null_mut(),
        }
    } else {
        // SAFETY: it is not null, so it points to this structure; it is copied.
        unsafe { *arguments.cast::<CK_C_INITIALIZE_ARGS>() }
    };
    standard.pReserved = text.as_ptr().cast_mut().cast();
    Some(Arguments {
        standard,
        reserved: ptr::null_mut(),
    })
}
