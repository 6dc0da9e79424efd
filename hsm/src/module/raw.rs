//! `C_SignInit`, `C_Sign` and `C_GetTokenInfo` without cryptoki in between: one call less for each signature.
//!
//! `cryptoki::Session::sign` asks for the length of the signature before it asks for the signature, and on a
//! network HSM that question is a round trip. Here the buffer is large enough for every key that serves TLS.
//! Also, only between these two calls can the user be logged in for a key with `CKA_ALWAYS_AUTHENTICATE`.
//! And cryptoki refuses a token for a clock that it cannot read; here the clock is not read.
//!
//! What it promises: the table is used only where the module hands out the same one each time it is asked, so
//! that it is the one cryptoki uses as well. p11-kit's client makes a fresh, uninitialized one for each caller.
#![expect(
    unsafe_code,
    reason = "three PKCS#11 functions are called through their pointers"
)]

use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::Rv;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki_sys::{
    CK_BYTE, CK_FUNCTION_LIST, CK_INTERFACE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV,
    CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG, CK_VERSION, CKF_CLOCK_ON_TOKEN, CKR_OK,
};
use libloading::Library;

use crate::error::HsmError;

/// Longer than any signature: RSA of 8192 bits makes 1024 bytes.
const SIGNATURE_BYTES: usize = 1024;

type SignInit =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type Sign = unsafe extern "C" fn(
    CK_SESSION_HANDLE,
    *mut CK_BYTE,
    CK_ULONG,
    *mut CK_BYTE,
    *mut CK_ULONG,
) -> CK_RV;
type GetTokenInfo = unsafe extern "C" fn(CK_SLOT_ID, *mut CK_TOKEN_INFO) -> CK_RV;
type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
type GetInterface =
    unsafe extern "C" fn(*mut CK_BYTE, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_ULONG) -> CK_RV;

/// The functions of a module that make a signature, and the one that describes its token.
pub(crate) struct RawTable {
    sign_init: SignInit,
    sign: Sign,
    get_token_info: GetTokenInfo,
    /// Keeps the code mapped that the pointers point into.
    _library: Library,
}

impl RawTable {
    /// The functions of a module that cryptoki has loaded already; `None` where its tables are not the same
    /// at each asking, or where it lacks a function.
    pub(crate) fn load(path: &Path) -> Option<RawTable> {
        // SAFETY: cryptoki loaded the same file before, so its constructors have run; the loader counts
        // users and hands out the same mapping.
        let library = unsafe { Library::new(path) }.ok()?;
        let (first, second) = (table(&library)?, table(&library)?);
        if !ptr::eq(first, second) {
            return None;
        }
        // SAFETY: the module returned CKR_OK with this pointer, twice the same, so it is its static table
        // (PKCS#11 3.1 section 5.4.4), which lives as long as the library. Both versions of the table begin
        // with the same members. The members are copied.
        let (sign_init, sign) = unsafe { ((*first).C_SignInit?, (*first).C_Sign?) };
        // SAFETY: as above.
        let get_token_info = unsafe { (*first).C_GetTokenInfo? };
        Some(RawTable {
            sign_init,
            sign,
            get_token_info,
            _library: library,
        })
    }

    /// Makes a signature: `C_SignInit`, then `between`, then `C_Sign` with a buffer at once.
    pub(crate) fn sign(
        &self,
        session: &Session,
        (mechanism, key): (&Mechanism<'_>, ObjectHandle),
        data: &[u8],
        between: impl FnOnce() -> Result<(), HsmError>,
    ) -> Result<Vec<u8>, HsmError> {
        let mut mechanism: CK_MECHANISM = mechanism.into();
        // SAFETY: the session is open, for `Session` closes it when dropped; `mechanism` and what it points
        // to outlive the call, which copies what it needs (section 5.13.1).
        let rv = unsafe { (self.sign_init)(session.handle(), &raw mut mechanism, key.handle()) };
        Rv::from(rv).into_result(Function::SignInit)?;
        between()?;
        let mut signature = vec![0; SIGNATURE_BYTES];
        let too_long = |_| HsmError::Interface("a length does not fit CK_ULONG".to_owned());
        let data_len = CK_ULONG::try_from(data.len()).map_err(too_long)?;
        let mut signature_len = CK_ULONG::try_from(signature.len()).map_err(too_long)?;
        // SAFETY: `data` is only read (section 5.13.2; the parameter is not const for C's sake), `signature`
        // may be written up to `signature_len` bytes, and `Session` is not `Sync`, so that no other thread
        // is in an operation of this session.
        let rv = unsafe {
            (self.sign)(
                session.handle(),
                data.as_ptr().cast_mut(),
                data_len,
                signature.as_mut_ptr(),
                &raw mut signature_len,
            )
        };
        Rv::from(rv).into_result(Function::Sign)?;
        let len = usize::try_from(signature_len).unwrap_or(usize::MAX);
        if len > signature.len() {
            return Err(HsmError::SignatureMalformed);
        }
        signature.truncate(len);
        Ok(signature)
    }

    /// `C_GetTokenInfo` as of a token without a clock.
    pub(super) fn token_info_without_clock(&self, slot: Slot) -> Result<TokenInfo, HsmError> {
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: `info` is a local that may be written; the call needs no session, and cryptoki makes it in the
        // same way (section 5.5.3).
        let rv = unsafe { (self.get_token_info)(slot.into(), &raw mut info) };
        Rv::from(rv).into_result(Function::GetTokenInfo)?;
        info.flags &= !CKF_CLOCK_ON_TOKEN;
        Ok(TokenInfo::try_from(info)?)
    }
}

/// The function list as cryptoki asks for it: the default interface of PKCS#11 3, else the list of 2.40.
fn table(library: &Library) -> Option<*const CK_FUNCTION_LIST> {
    // SAFETY: the symbols of these names have these types in every PKCS#11 module (sections 5.4.4, 5.4.6).
    let interface = unsafe { library.get::<GetInterface>(b"C_GetInterface\0") };
    if let Ok(interface) = interface {
        let mut found: *mut CK_INTERFACE = ptr::null_mut();
        // SAFETY: a null name asks for the default interface; `found` is a local that may be written.
        let rv = unsafe { interface(ptr::null_mut(), ptr::null_mut(), &raw mut found, 0) };
        if rv != CKR_OK || found.is_null() {
            return None;
        }
        // SAFETY: CKR_OK, so `found` points to an interface of the module, whose list begins with a version.
        let list = unsafe { (*found).pFunctionList }.cast::<CK_FUNCTION_LIST>();
        // SAFETY: as above; every function list begins with its version.
        if !list.is_null() && unsafe { (*list).version.major } >= 3 {
            return Some(list);
        }
    }
    // SAFETY: as for `C_GetInterface`.
    let get = unsafe { library.get::<GetFunctionList>(b"C_GetFunctionList\0") }.ok()?;
    let mut list = ptr::null_mut();
    // SAFETY: `list` is a local that may be written.
    let rv = unsafe { get(&raw mut list) };
    (rv == CKR_OK && !list.is_null()).then_some(list.cast_const())
}
