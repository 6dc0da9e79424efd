//! A secret that stays in its token and of which others are made: the root of ticket keys.
//!
//! What it promises: the token is asked for nothing but HMAC-SHA-256 over a beginning that this crate puts before
//! the context, so that neither a caller nor whoever talks to a signer process can have another HMAC made; the
//! same secret gives the same bytes in every token; a member of a group whose secret is another derives
//! nothing; what was derived is wiped when it is dropped.

mod generation;
pub(crate) mod object;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::HsmError;
use crate::group::is_absence;
use crate::holder::Holder;
use crate::key::{Extractable, Provenance};
use crate::link::{self, DeriveRequest, FoundSecret, Request, SecretName};
use crate::sign::Family;
use crate::uri::{ObjectType, Pkcs11Uri};
pub use generation::Generation;

/// Before the context of what is derived.
pub(crate) const DERIVE: &[u8] = b"portcullis derive v1\0";

/// Of this, and nothing after it, the value is made that tells secrets apart.
pub(crate) const CHECK: &[u8] = b"portcullis check v1\0";

/// The mechanism, for errors.
pub(crate) const MECHANISM: &str = "CKM_SHA256_HMAC";

/// What is known about a secret key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Its canonical URI in its token.
    pub uri: String,
    /// `CKA_LABEL`.
    pub label: String,
    /// Where it comes from and whether it can go elsewhere.
    pub provenance: Provenance,
}

/// A secret that can derive. Clones share it, and keep its token open.
#[derive(Clone)]
pub struct Secret(Arc<Inner>);

struct Inner {
    info: SecretInfo,
    holder: Holder,
    name: Arc<SecretName>,
}

impl Secret {
    /// What is known about it.
    pub fn info(&self) -> &SecretInfo {
        &self.0.info
    }

    /// 32 bytes of which each context has its own (`C_Sign`, `CKM_SHA256_HMAC`), before the deadline of the
    /// token. Queued, retried and taken over by other members of a group as a signature is.
    ///
    /// # Errors
    /// Why the token did not derive; [`HsmError::KeyGone`] when it does not have this secret any more.
    pub async fn derive(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, HsmError> {
        let request = Request::Derive(DeriveRequest {
            secret: Arc::clone(&self.0.name),
            context: context.to_vec(),
        });
        let derived = Zeroizing::new(self.0.holder.make(request).await?);
        let bytes = <&[u8; 32]>::try_from(&derived[..]);
        let bytes = bytes.map_err(|_| HsmError::SignatureMalformed)?;
        Ok(Zeroizing::new(*bytes))
    }

    /// The generation that is kept in the token beside it; of a group the highest of the members that answer.
    ///
    /// # Errors
    /// As [`crate::Token::generation`], and [`HsmError::GroupAway`] when no member answers.
    pub async fn generation(&self) -> Result<Generation, HsmError> {
        let mut highest: Option<Generation> = None;
        let mut absent = None;
        for token in self.0.holder.tokens() {
            let uri = self.0.name.uri.clone();
            let kept = token
                .pool()
                .begin(move |session| session.generation(&uri))
                .await;
            match kept {
                Ok(kept) => highest = Some(highest.map_or(kept, |highest| highest.max(kept))),
                Err(error) if is_absence(&error) => absent = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (highest, &self.0.holder, absent) {
            (Some(highest), ..) => Ok(highest),
            (None, Holder::Token(_), Some(error)) => Err(error),
            (None, Holder::Token(token), None) => Err(HsmError::Closed {
                token: token.settings().name.clone(),
            }),
            (None, Holder::Group(group), _) => Err(group.away()),
        }
    }

    /// The secret that `uri` names, in a token or in the tokens of a group.
    pub(crate) fn held(
        holder: &Holder,
        uri: &Pkcs11Uri,
        extractable: Extractable,
    ) -> Result<Secret, HsmError> {
        if !matches!(uri.object_type(), None | Some(ObjectType::SecretKey)) {
            return Err(HsmError::KeyUnsupported {
                key: uri.to_string(),
                reason: "the `type` of its URI is not `secret-key`".to_owned(),
            });
        }
        if let Some(token) = holder.lacking(Family::Hmac) {
            return Err(HsmError::MechanismMissing {
                token: token.info().label.clone(),
                mechanism: MECHANISM,
            });
        }
        let FoundSecret { info, check } = holder.find_secret(uri)?;
        if info.provenance == Provenance::Extractable && extractable == Extractable::Refuse {
            return Err(HsmError::KeyExtractable { key: info.uri });
        }
        let name = SecretName {
            number: link::next_number(),
            uri: uri.clone(),
            check,
        };
        Ok(Secret(Arc::new(Inner {
            info,
            holder: holder.clone(),
            name: Arc::new(name),
        })))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.0.info).finish()
    }
}
