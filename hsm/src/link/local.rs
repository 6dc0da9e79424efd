//! A module in this process: finding the token, logging in, and one session with its object handles.

mod secrets;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::SessionState;
use cryptoki::slot::{Limit, Slot};
use rustls::pki_types::CertificateDer;

use super::{Description, FoundKey, KeyName, SignRequest};
use crate::error::HsmError;
use crate::key::{KeyInfo, certificate, object};
use crate::module::{Credentials, Inside, Module};
use crate::sign::Family;
use crate::slots::{TokenInfo, TokenSelect, select};
use crate::uri::Pkcs11Uri;

/// A token of a module that is, or will be, loaded in this process.
pub(crate) struct Local {
    module: PathBuf,
    select: TokenSelect,
    credentials: Arc<Credentials>,
    /// Where the token was found; looked for again after a restart or a failure, for slot ids move.
    place: Mutex<Option<Place>>,
}

#[derive(Clone)]
struct Place {
    module: Arc<Module>,
    epoch: u64,
    slot: Slot,
    info: TokenInfo,
}

/// A session of the module.
pub(crate) struct Session {
    // Closed before the module may be restarted.
    session: cryptoki::session::Session,
    place: Place,
    credentials: Arc<Credentials>,
    /// By [`KeyName::number`] and that of secrets. Finding a key for each signature costs five times the signature.
    handles: HashMap<u64, Handle>,
    _inside: Inside,
}

#[derive(Clone, Copy)]
struct Handle {
    object: ObjectHandle,
    /// `CKA_ALWAYS_AUTHENTICATE`: the user is logged in for each signature.
    always_authenticate: bool,
}

impl Local {
    pub(crate) fn new(module: PathBuf, select: TokenSelect, credentials: Credentials) -> Self {
        Local {
            module,
            select,
            credentials: Arc::new(credentials),
            place: Mutex::new(None),
        }
    }

    /// The module and the slot of the token now.
    pub(crate) fn source(&self) -> Result<(Arc<Module>, Slot), HsmError> {
        let module = Module::load(&self.module)?;
        let place = self.place(&module)?;
        Ok((place.module, place.slot))
    }

    pub(super) fn open(&self) -> Result<Session, HsmError> {
        let module = Module::load(&self.module)?;
        let inside = module.enter()?;
        let place = self.place(&module)?;
        let opened = self.open_at(place, inside);
        if opened.is_err() {
            *lock(&self.place) = None;
        }
        opened
    }

    fn open_at(&self, place: Place, inside: Inside) -> Result<Session, HsmError> {
        let session = place.module.open_session(place.slot)?;
        let state = session.get_session_info()?.session_state();
        if !matches!(state, SessionState::RoUser | SessionState::RwUser) {
            // Read now: the flags tell how many PIN tries are left.
            let info = place.module.token_info(place.slot)?;
            place.module.log_in(place.slot, &info, &self.credentials)?;
        }
        Ok(Session {
            session,
            place,
            credentials: Arc::clone(&self.credentials),
            handles: HashMap::new(),
            _inside: inside,
        })
    }

    pub(super) fn restart(&self) -> Result<(), HsmError> {
        let module = Module::load(&self.module)?;
        let place = lock(&self.place).take();
        let seen = place.map_or_else(|| module.epoch(), |place| place.epoch);
        module.restart(seen)
    }

    fn place(&self, module: &Arc<Module>) -> Result<Place, HsmError> {
        let mut known = lock(&self.place);
        let epoch = module.epoch();
        if let Some(place) = known.as_ref().filter(|place| place.epoch == epoch) {
            return Ok(place.clone());
        }
        let slot = select(module, &self.select)?;
        let info = TokenInfo::new(slot, &module.token_info(slot)?);
        let place = Place {
            module: Arc::clone(module),
            epoch,
            slot,
            info,
        };
        *known = Some(place.clone());
        Ok(place)
    }
}

impl Session {
    pub(super) fn describe(&mut self) -> Result<Description, HsmError> {
        let (module, slot) = (&self.place.module, self.place.slot);
        let info = module.token_info(slot)?;
        let mechanisms = module.pkcs11().get_mechanism_list(slot)?;
        let families = [
            (MechanismType::ECDSA, Family::Ecdsa),
            (MechanismType::RSA_PKCS, Family::RsaPkcs),
            (MechanismType::RSA_PKCS_PSS, Family::RsaPss),
            (MechanismType::EDDSA, Family::Eddsa),
            (MechanismType::SHA256_HMAC, Family::Hmac),
        ];
        let able = families
            .into_iter()
            .filter(|(mechanism, _)| mechanisms.contains(mechanism));
        Ok(Description {
            info: TokenInfo::new(slot, &info),
            families: able.map(|(_, family)| family).collect(),
            max_sessions: match info.max_session_count() {
                Limit::Max(max) => Some(max),
                _ => None,
            },
        })
    }

    /// `C_SignInit` and `C_Sign` with a handle that is searched for once per session.
    pub(super) fn sign(&mut self, request: &SignRequest) -> Result<Vec<u8>, HsmError> {
        let handle = self.handle(&request.key)?;
        if handle.always_authenticate && self.place.module.raw().is_none() {
            return Err(HsmError::KeyUnsupported {
                key: request.key.uri.to_string(),
                reason:
                    "it wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE), which this \
                         module's changing function tables do not allow"
                        .to_owned(),
            });
        }
        self.sign_with(&request.mechanism.to_cryptoki(), handle, &request.data)
    }

    fn sign_with(
        &self,
        mechanism: &Mechanism<'_>,
        handle: Handle,
        data: &[u8],
    ) -> Result<Vec<u8>, HsmError> {
        let Some(raw) = self.place.module.raw() else {
            return Ok(self.session.sign(mechanism, handle.object, data)?);
        };
        raw.sign(&self.session, (mechanism, handle.object), data, || {
            if !handle.always_authenticate {
                return Ok(());
            }
            let (module, slot) = (&self.place.module, self.place.slot);
            module.log_in_for_operation(&self.session, slot, &self.credentials)
        })
    }

    pub(super) fn find(&mut self, uri: &Pkcs11Uri) -> Result<FoundKey, HsmError> {
        self.is_meant(uri)?;
        let (info, spki, _) = object::find_one(&self.session, uri, &self.place.info)?;
        Ok(FoundKey {
            info,
            spki: spki.to_vec(),
        })
    }

    /// Whether the token attributes of `uri` are those of this token.
    fn is_meant(&self, uri: &Pkcs11Uri) -> Result<(), HsmError> {
        if self.place.info.fits(uri) {
            return Ok(());
        }
        Err(HsmError::TokenSelection {
            wanted: format!("the attributes of {uri}"),
            candidates: vec![self.place.info.uri()],
        })
    }

    pub(super) fn list(&mut self) -> Result<Vec<KeyInfo>, HsmError> {
        let objects = object::private_keys(&self.session, None)?;
        let known = objects
            .iter()
            .filter_map(|object| object.info(&self.session, &self.place.info).ok());
        Ok(known.collect())
    }

    pub(super) fn chain(
        &mut self,
        uri: &Pkcs11Uri,
    ) -> Result<Vec<CertificateDer<'static>>, HsmError> {
        certificate::chain(&self.session, uri)
    }

    /// The key in this session: what its URI names, if it has the public half that is known.
    fn handle(&mut self, key: &KeyName) -> Result<Handle, HsmError> {
        if let Some(handle) = self.handles.get(&key.number) {
            return Ok(*handle);
        }
        let found = object::find_same(&self.session, &key.uri, &key.spki)?;
        let object = found.ok_or_else(|| HsmError::KeyGone {
            key: key.uri.to_string(),
        })?;
        let handle = Handle {
            object: object.handle(),
            always_authenticate: object.always_authenticate(),
        };
        self.handles.insert(key.number, handle);
        Ok(handle)
    }
}

/// Errors after which a session is not to be trusted: those of a call, whatever it returned. A signer ends
/// the connection after any.
pub(crate) fn spoils_session(error: &HsmError) -> bool {
    matches!(
        error,
        HsmError::Call { .. }
            | HsmError::Interface(_)
            | HsmError::KeyGone { .. }
            | HsmError::SignerLost { .. }
            | HsmError::Signer { .. }
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
