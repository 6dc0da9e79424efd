//! A signature that is asked for only to see whether the token still makes right ones.

use crate::error::HsmError;
use crate::key::{KeyKind, proof};
use crate::link::{KeyName, Session, SignRequest};
use crate::sign;
use crate::sync::Arc;

/// A key of the token, and how a signature of it is asked for and verified.
#[derive(Clone)]
pub(crate) struct Canary {
    key: Arc<KeyName>,
    kind: KeyKind,
}

impl Canary {
    pub(crate) fn new(key: Arc<KeyName>, kind: KeyKind) -> Self {
        Canary { key, kind }
    }

    /// Signs on this session, and verifies.
    pub(super) fn prove(&self, session: &mut Session) -> Result<(), HsmError> {
        let message = proof::message()?;
        let (scheme, request) = self.request(&message)?;
        let raw = session.sign(&request)?;
        let signature = sign::encode(self.kind, raw)?;
        proof::verify(scheme, &self.key.spki, &message, &signature).map_err(|()| {
            HsmError::ProofFailed {
                key: self.key.uri.to_string(),
            }
        })
    }

    pub(super) fn request(
        &self,
        message: &[u8],
    ) -> Result<(rustls::SignatureScheme, SignRequest), HsmError> {
        let scheme = sign::schemes(self.kind)[0];
        let (mechanism, data) = sign::prepare(scheme, message)?;
        let request = SignRequest {
            key: Arc::clone(&self.key),
            mechanism,
            data,
        };
        Ok((scheme, request))
    }
}
