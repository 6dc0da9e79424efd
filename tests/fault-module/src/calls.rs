//! The functions that may fail: each counts, strikes, and otherwise forwards.
//!
//! What it promises: the arguments are forwarded untouched, and what the real module answers is returned,
//! but for the flags of a token whose PIN was wrong and the list of slots of a token that is gone.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_MECHANISM, CK_NOTIFY,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_TOKEN_INFO,
    CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR, CKR_ARGUMENTS_BAD, CKR_FUNCTION_NOT_SUPPORTED, CKR_OK,
    CKU_USER,
};
use std::ffi::c_void;

use crate::counts::{Counted, count};
use crate::faults::{self, Verdict};
use crate::settings::ErrorIn;
use crate::{lockout, real, reserved, token, watch};

/// The real functions with ours over them.
pub(crate) fn over(real: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
    CK_FUNCTION_LIST {
        C_Initialize: Some(initialize),
        C_Finalize: Some(finalize),
        C_GetSlotList: Some(slot_list),
        C_GetTokenInfo: Some(token_info),
        C_OpenSession: Some(open_session),
        C_CloseSession: Some(close_session),
        C_GetSessionInfo: Some(session_info),
        C_Login: Some(login),
        C_FindObjectsInit: Some(find_init),
        C_FindObjects: Some(find),
        C_GetAttributeValue: Some(attributes),
        C_SignInit: Some(sign_init),
        C_Sign: Some(sign),
        ..real
    }
}

/// The real function of this name; returns from the caller where the real module has none.
macro_rules! real {
    ($name:ident) => {
        match real().and_then(|list| list.$name) {
            Some(function) => function,
            None => return CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}

/// Returns from the caller what a token that is gone or a session that is dead answers.
macro_rules! refuse {
    ($refusal:expr) => {
        if let Some(code) = $refusal {
            return code;
        }
    };
}

unsafe extern "C" fn initialize(arguments: *mut c_void) -> CK_RV {
    let real = real!(C_Initialize);
    count(Counted::Initialize);
    // What has changed since the last call must be known before: it decides whether a token comes back.
    watch::settings();
    // SAFETY: the caller keeps the contract of `C_Initialize`.
    let mut named = unsafe { reserved::with_text(arguments) };
    let arguments = named
        .as_mut()
        .map_or(arguments, |named| (&raw mut *named).cast());
    // SAFETY: the argument is the caller's own, or a copy of it that lives until the call returns.
    let result = unsafe { real(arguments) };
    if result == CKR_OK {
        token::initialized();
    }
    result
}

unsafe extern "C" fn finalize(reserved: *mut c_void) -> CK_RV {
    let real = real!(C_Finalize);
    count(Counted::Finalize);
    // SAFETY: the caller keeps the contract of `C_Finalize`, and the argument is its own.
    let result = unsafe { real(reserved) };
    if result == CKR_OK {
        token::finalized();
    }
    result
}

unsafe extern "C" fn slot_list(
    token_present: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    len: *mut CK_ULONG,
) -> CK_RV {
    let real = real!(C_GetSlotList);
    watch::settings();
    if token_present != 0 && token::refusal().is_some() {
        if len.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: it is not null, and the caller lets it be written (section 5.5, `C_GetSlotList`).
        unsafe { *len = 0 };
        return CKR_OK;
    }
    // SAFETY: the caller keeps the contract of `C_GetSlotList`, and the arguments are its own.
    unsafe { real(token_present, slots, len) }
}

unsafe extern "C" fn token_info(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    let real = real!(C_GetTokenInfo);
    let settings = watch::settings();
    refuse!(token::refusal());
    // SAFETY: the caller keeps the contract of `C_GetTokenInfo`, and the arguments are its own.
    let result = unsafe { real(slot, info) };
    if result == CKR_OK && !info.is_null() {
        // SAFETY: the real module has just written to it and returned CKR_OK.
        unsafe { (*info).flags |= lockout::flags(settings.lockout_after) };
    }
    result
}

unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    let real_open = real!(C_OpenSession);
    let number = count(Counted::OpenSession);
    let settings = watch::settings();
    refuse!(token::refusal());
    refuse!(faults::error(&settings, ErrorIn::OpenSession, number));
    let open = || {
        // SAFETY: the caller keeps the contract of `C_OpenSession`, and the arguments are its own.
        let result = unsafe { real_open(slot, flags, application, notify, session) };
        if result != CKR_OK || session.is_null() {
            return (result, 0);
        }
        // SAFETY: it is not null, and the real module has just written to it.
        (result, unsafe { *session })
    };
    token::open(open, |session| {
        if let Some(log_out) = real().and_then(|list| list.C_Logout) {
            // SAFETY: the session was opened just now. An error says that nobody was logged in.
            let _ = unsafe { log_out(session) };
        }
    })
}

unsafe extern "C" fn close_session(session: CK_SESSION_HANDLE) -> CK_RV {
    let real = real!(C_CloseSession);
    token::closing(session);
    // SAFETY: the caller keeps the contract of `C_CloseSession`. A dead session is closed for real.
    unsafe { real(session) }
}

unsafe extern "C" fn session_info(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    let real = real!(C_GetSessionInfo);
    watch::settings();
    refuse!(token::session_refusal(session));
    // SAFETY: the caller keeps the contract of `C_GetSessionInfo`, and the arguments are its own.
    unsafe { real(session, info) }
}

unsafe extern "C" fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    let real = real!(C_Login);
    let number = count(Counted::Login);
    let settings = watch::settings();
    refuse!(token::session_refusal(session));
    // SAFETY: the caller keeps the contract of `C_Login`, and the arguments are its own.
    let ask = || unsafe { real(session, user, pin, pin_len) };
    if user != CKU_USER {
        return ask();
    }
    lockout::login(settings.lockout_after, || {
        if settings.login_error != CKR_OK {
            return settings.login_error;
        }
        faults::error(&settings, ErrorIn::Login, number).unwrap_or_else(ask)
    })
}

unsafe extern "C" fn find_init(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    len: CK_ULONG,
) -> CK_RV {
    let real = real!(C_FindObjectsInit);
    let number = count(Counted::FindObjectsInit);
    let settings = watch::settings();
    refuse!(token::session_refusal(session));
    refuse!(faults::error(&settings, ErrorIn::Find, number));
    // SAFETY: the caller keeps the contract of `C_FindObjectsInit`, and the arguments are its own.
    unsafe { real(session, template, len) }
}

unsafe extern "C" fn find(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    len: *mut CK_ULONG,
) -> CK_RV {
    let real = real!(C_FindObjects);
    watch::settings();
    refuse!(token::session_refusal(session));
    // SAFETY: the caller keeps the contract of `C_FindObjects`, and the arguments are its own.
    unsafe { real(session, objects, most, len) }
}

unsafe extern "C" fn attributes(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    len: CK_ULONG,
) -> CK_RV {
    let real = real!(C_GetAttributeValue);
    watch::settings();
    refuse!(token::session_refusal(session));
    // SAFETY: the caller keeps the contract of `C_GetAttributeValue`, and the arguments are its own.
    unsafe { real(session, object, template, len) }
}

unsafe extern "C" fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let real = real!(C_SignInit);
    let number = count(Counted::SignInit);
    let settings = watch::settings();
    refuse!(token::session_refusal(session));
    refuse!(faults::error(&settings, ErrorIn::SignInit, number));
    // SAFETY: the caller keeps the contract of `C_SignInit`, and the arguments are its own.
    unsafe { real(session, mechanism, key) }
}

unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    let real = real!(C_Sign);
    // A null signature asks for the length alone (section 5.2).
    let asks_length = signature.is_null();
    let number = count(if asks_length {
        Counted::SignLength
    } else {
        Counted::Sign
    });
    let settings = watch::settings();
    refuse!(token::session_refusal(session));
    let engine = if asks_length {
        faults::strike_length_query(&settings)
    } else {
        match faults::strike_signature(&settings, number) {
            Verdict::Forward(engine) => engine,
            // The operation stays active in the real module, as it does in modules that fail for real.
            Verdict::Fail(code) => return code,
        }
    };
    // SAFETY: the caller keeps the contract of `C_Sign`, and the arguments are its own.
    let result = unsafe { real(session, data, data_len, signature, signature_len) };
    drop(engine);
    result
}
