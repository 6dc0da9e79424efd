//! The life of keys in a token: made, certified, imported, backed up and deleted, as an operator does it,
//! beside serving.
//!
//! These calls run on the calling thread and have no deadline, for making an RSA key may take a real HSM
//! a minute. A token that is in use, or a name that is taken, is never overwritten, and what was half made
//! when a token refused the rest is removed.
//!
//! A private key, its public key and its certificate have the same `CKA_ID` and `CKA_LABEL`: by the equal
//! id p11-kit, NSS, Java and the engines of OpenSSL know that they belong together. The id of a new key is
//! random; a certificate without a key in the token has the SHA-1 of its public key as its id.

mod certificate;
mod delete;
mod import;
mod init;
mod inspect;
mod keys;
mod parts;
mod secret;
mod store;
mod wrap;

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

pub use certificate::{Names, csr, selfsign};
pub use delete::{DeleteScope, delete};
pub use import::{KeyName, import_key};
pub use init::{SlotChoice, init_token};
pub use inspect::{
    Inventory, PinState, StoredCertificate, StoredSecret, UnusableKey, free_slots, inventory,
    pin_state, sign_every_scheme,
};
pub use keys::{keygen, keygen_extractable, keygen_wrapping};
pub use secret::{Raise, keep_generation, raise_generation, secret};
pub use store::{Renewal, StoredChain, import_certificate, stored_chain};
pub use wrap::{WrappedKey, unwrap, wrap};

use crate::error::HsmError;
use crate::key::{Extractable, KeyInfo, object, proof};
use crate::token::Token;

/// SoftHSM corrupts its store when two threads make objects at once, and no token gains from it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A session that may write, alone in the process.
struct Writer {
    session: Session,
    _alone: MutexGuard<'static, ()>,
}

impl Writer {
    /// `C_OpenSession`, read-write. The user is logged in already.
    fn open(token: &Token) -> Result<Self, HsmError> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let source = token.source()?;
        let session = source.module.pkcs11().open_rw_session(source.slot)?;
        Ok(Writer {
            session,
            _alone: alone,
        })
    }

    /// Tells about a private key that was just made, after its signature was verified with its public key.
    /// A key that fails is removed with the other `made` objects.
    fn prove(
        self,
        token: &Token,
        private: ObjectHandle,
        made: &[ObjectHandle],
    ) -> Result<KeyInfo, HsmError> {
        let proven = object::KeyObject::read(&self.session, private).and_then(|object| {
            let key = token.key(&object.uri(token.info()), Extractable::Allow)?;
            proof::prove(&key, key.spki())?;
            Ok(key.info().clone())
        });
        proven.inspect_err(|_| self.remove(made))
    }

    /// Removes what was half made (`C_DestroyObject`).
    fn remove(&self, made: &[ObjectHandle]) {
        for handle in made {
            // The error that led here is the one to tell.
            let _ = self.session.destroy_object(*handle);
        }
    }
}

/// The attributes that name a key.
fn names(label: &str, id: &[u8]) -> [Attribute; 3] {
    [
        Attribute::Token(true),
        Attribute::Label(label.into()),
        Attribute::Id(id.to_vec()),
    ]
}

/// The id to use: the one given, or a random one.
fn id_or_random(label: &str, id: Option<&[u8]>) -> Result<Vec<u8>, HsmError> {
    if label.is_empty() {
        return refuse("a key needs a label".to_owned());
    }
    match id {
        Some([]) => refuse("the id of a key is not empty".to_owned()),
        Some(id) => Ok(id.to_vec()),
        None => Ok(random::<8>()?.to_vec()),
    }
}

/// Two keys of one name would make every URI of them ambiguous.
fn refuse_taken(
    session: &Session,
    class: ObjectClass,
    label: &str,
    id: &[u8],
) -> Result<(), HsmError> {
    for (what, name) in [
        ("label", Attribute::Label(label.into())),
        ("id", Attribute::Id(id.to_vec())),
    ] {
        let taken = session.find_objects(&[Attribute::Class(class), name])?;
        if !taken.is_empty() {
            return refuse(format!(
                "the token has a key of this {what} already; choose another"
            ));
        }
    }
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], HsmError> {
    let mut bytes = [0; N];
    match rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => refuse("the system has no random numbers".to_owned()),
    }
}

fn refuse<T>(reason: String) -> Result<T, HsmError> {
    Err(HsmError::Generate(reason))
}
