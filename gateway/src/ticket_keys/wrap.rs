//! The keys under which ticket keys lie in a store that others may read.
//!
//! AES-256-GCM with a random nonce. A key is bound to where it belongs: a fleet's under another name, number or
//! time does not unwrap.

use std::path::PathBuf;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use portcullis_hsm::Secret;
use zeroize::Zeroizing;

use super::key_file::{Bytes32, KeyFile};
use super::scope::append;

const TAG: usize = 16;
const WRAPPED: usize = NONCE_LEN + 32 + TAG;

/// Where wrapping keys come from.
#[derive(Debug, Clone)]
pub enum WrapSource {
    /// `file:PATH`: a file of keys; the first wraps, all unwrap.
    File(PathBuf),
    /// `pkcs11:...`: derived from a secret that stays in its token.
    Token(Secret),
}

/// Wrapping keys: the first wraps, all unwrap.
pub(super) struct WrapKeys(Vec<LessSafeKey>);

impl WrapSource {
    /// Reads the keys anew, or derives the one of a fleet.
    pub(super) async fn read(&self, fleet: &str) -> Result<WrapKeys, String> {
        match self {
            Self::Token(secret) => {
                let mut context = Vec::new();
                append(&mut context, b"wrap");
                append(&mut context, fleet.as_bytes());
                let key = secret.derive(&context).await;
                let key = key.map_err(|error| error.to_string())?;
                Ok(WrapKeys::new([key].iter()))
            }
            Self::File(path) => {
                let path = path.clone();
                let read = move || KeyFile::read(&path)?.keys(&path);
                let keys = tokio::task::spawn_blocking(read).await;
                let keys = keys.map_err(|error| error.to_string())??;
                Ok(WrapKeys::new(keys.iter().map(|(_, secret)| secret)))
            }
        }
    }
}

impl WrapKeys {
    fn new<'a>(secrets: impl Iterator<Item = &'a Bytes32>) -> Self {
        let key = |secret: &Bytes32| {
            // AES-256 takes any 32 bytes.
            let unbound = UnboundKey::new(&AES_256_GCM, &**secret).expect("a key of 32 bytes");
            LessSafeKey::new(unbound)
        };
        Self(secrets.map(key).collect())
    }

    /// Of these bytes, each 32 times.
    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        let secrets: Vec<Bytes32> = bytes.iter().map(|byte| [*byte; 32].into()).collect();
        Self::new(secrets.iter())
    }

    /// Wraps a secret. `None` where the system has no randomness.
    pub(super) fn wrap(&self, bound: &[u8], secret: &[u8; 32]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut wrapped = nonce.to_vec();
        let mut sealed = Zeroizing::new(*secret);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = self.0.first()?;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(bound), &mut *sealed);
        wrapped.extend_from_slice(&*sealed);
        wrapped.extend_from_slice(tag.ok()?.as_ref());
        Some(wrapped)
    }

    /// Unwraps a secret; `None` where no key does.
    pub(super) fn unwrap(&self, bound: &[u8], wrapped: &[u8]) -> Option<Bytes32> {
        if wrapped.len() != WRAPPED {
            return None;
        }
        let (nonce, sealed) = wrapped.split_at(NONCE_LEN);
        self.0.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut opened = Zeroizing::new(sealed.to_vec());
            let secret = key.open_in_place(nonce, Aad::from(bound), &mut opened);
            Some(Zeroizing::new(<[u8; 32]>::try_from(&*secret.ok()?).ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[u8]) -> WrapKeys {
        WrapKeys::of(secrets)
    }

    #[test]
    fn a_key_unwraps_under_its_wrapping_key_and_where_it_belongs_only() {
        let wrapped = keys(&[1]).wrap(b"fleet a", &[9; 32]).unwrap();
        assert_eq!(wrapped.len(), WRAPPED);
        assert!(keys(&[2]).unwrap(b"fleet a", &wrapped).is_none());
        assert!(keys(&[1]).unwrap(b"fleet b", &wrapped).is_none());
        assert!(keys(&[]).unwrap(b"fleet a", &wrapped).is_none());
        assert!(keys(&[1]).unwrap(b"fleet a", &wrapped[1..]).is_none());
        for at in 0..wrapped.len() {
            let mut flipped = wrapped.clone();
            flipped[at] ^= 1;
            assert!(keys(&[1]).unwrap(b"fleet a", &flipped).is_none());
        }
        // The older of two is the second.
        let unwrapped = keys(&[2, 1]).unwrap(b"fleet a", &wrapped).unwrap();
        assert_eq!(*unwrapped, [9; 32]);
        let again = keys(&[2, 1]).wrap(b"fleet a", &[9; 32]).unwrap();
        assert!(keys(&[2]).unwrap(b"fleet a", &again).is_some());
    }
}
