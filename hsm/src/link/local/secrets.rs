//! Deriving in a session of a module in this process, and reading generations.
//!
//! What it promises: the one mechanism is `CKM_SHA256_HMAC`, over one of two beginnings of this crate.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use zeroize::Zeroize;

use super::{Handle, Session};
use crate::error::HsmError;
use crate::link::{DeriveRequest, FoundSecret, SecretName};
use crate::secret::{CHECK, DERIVE, Generation, object};
use crate::uri::Pkcs11Uri;

impl Session {
    /// The secret that `uri` names, and what tells it from others.
    pub(in crate::link) fn find_secret(
        &mut self,
        uri: &Pkcs11Uri,
    ) -> Result<FoundSecret, HsmError> {
        self.is_meant(uri)?;
        let found = object::find_one(&self.session, uri, &self.place.info)?;
        Ok(FoundSecret {
            info: found.info(&self.place.info)?,
            check: self.check(found.handle)?,
        })
    }

    /// `C_Sign` with a handle that is searched for once per session.
    pub(in crate::link) fn derive(&mut self, request: &DeriveRequest) -> Result<Vec<u8>, HsmError> {
        let handle = self.secret(&request.secret)?;
        self.hmac(handle, &[DERIVE, &request.context].concat())
    }

    /// The generation that is kept beside the secret `uri` names.
    pub(in crate::link) fn generation(&mut self, uri: &Pkcs11Uri) -> Result<Generation, HsmError> {
        self.is_meant(uri)?;
        let label = object::generation_label(&self.session, uri, &self.place.info)?;
        Ok(object::generations(&self.session, &label)?.0)
    }

    /// The secret in this session: what its URI names, if it makes the check value that is known.
    fn secret(&mut self, secret: &SecretName) -> Result<Handle, HsmError> {
        if let Some(handle) = self.handles.get(&secret.number) {
            return Ok(*handle);
        }
        for found in object::secret_keys(&self.session, Some(&secret.uri))? {
            // Neighbours of the same name may be of any kind, and a call that fails spoils the session.
            if found.info(&self.place.info).is_ok() && self.check(found.handle)? == secret.check {
                let handle = plain(found.handle);
                self.handles.insert(secret.number, handle);
                return Ok(handle);
            }
        }
        Err(HsmError::KeyGone {
            key: secret.uri.to_string(),
        })
    }

    fn check(&self, object: ObjectHandle) -> Result<[u8; 32], HsmError> {
        let value = self.hmac(plain(object), CHECK)?;
        value.try_into().map_err(|_| HsmError::SignatureMalformed)
    }

    /// What comes out has 32 bytes.
    fn hmac(&self, handle: Handle, data: &[u8]) -> Result<Vec<u8>, HsmError> {
        let mut made = self.sign_with(&Mechanism::Sha256Hmac, handle, data)?;
        if made.len() == 32 {
            return Ok(made);
        }
        made.zeroize();
        Err(HsmError::SignatureMalformed)
    }
}

/// `CKA_ALWAYS_AUTHENTICATE` is for private keys.
fn plain(object: ObjectHandle) -> Handle {
    Handle {
        object,
        always_authenticate: false,
    }
}
