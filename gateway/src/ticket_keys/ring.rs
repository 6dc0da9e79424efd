//! The keys of one moment: one that seals, all that open.
//!
//! A ticket is `format ‖ key id ‖ nonce ‖ ciphertext ‖ tag`. The AEAD is AES-256-GCM-SIV (RFC 8452): a fleet seals
//! under one key without talking about nonces, so nonces are random, and one that comes up twice must not give the
//! key away. What a ticket is bound to is associated data: opened for anything else it is no ticket.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;

use crate::identity::hex;

/// First byte of every ticket.
const FORMAT: u8 = 1;
const ID: usize = 8;
const HEAD: usize = 1 + ID + NONCE_LEN;
const TAG: usize = 16;
/// Bytes of associated data that come from the ticket itself, and of a binding.
const BOUND: usize = 1 + ID + 32;

/// What a ticket adds to what it holds, in bytes.
pub const OVERHEAD: usize = HEAD + TAG;

/// What tickets are bound to: a digest of everything that must be the same where one is opened.
pub type Binding = [u8; 32];

/// A key that seals and opens tickets. There is no way to its bytes.
pub struct TicketKey {
    id: [u8; ID],
    aead: LessSafeKey,
    versions: Versions,
    name: String,
    /// Seconds since the Unix epoch between which it seals.
    period: (i64, i64),
}

/// Which sessions a key may seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Any.
    All,
    /// TLS 1.3 alone, whose tickets hold a secret that opens no recorded traffic. A TLS 1.2 ticket holds the master
    /// secret of the session it came from, and a key that can be derived again later would open them all.
    Tls13,
}

/// Why a ticket was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// It is no ticket of ours.
    Malformed,
    /// It names a key that is not, or no longer, in the ring.
    UnknownKey,
    /// It is bound to something else, or was tampered with.
    Bound,
}

/// The keys of one moment.
#[derive(Debug, Default)]
pub struct KeyRing {
    seals: Option<Arc<TicketKey>>,
    opens: Vec<Arc<TicketKey>>,
    /// Places in `opens`: short epochs and long sessions make thousands of keys.
    places: HashMap<[u8; ID], usize>,
}

impl TicketKey {
    /// A key out of 32 secret bytes. `name` is for people; `period` is when it seals.
    pub fn new(secret: &[u8; 32], versions: Versions, name: String, period: (i64, i64)) -> Self {
        let mut key = [0; 32];
        expand(secret, b"portcullis ticket seal", &mut key);
        // AES-256 takes any 32 bytes.
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, &key).expect("a key of 32 bytes");
        zeroize::Zeroize::zeroize(&mut key);
        let mut id = [0; ID];
        expand(secret, b"portcullis ticket key id", &mut id);
        Self {
            id,
            aead: LessSafeKey::new(unbound),
            versions,
            name,
            period,
        }
    }

    /// What it is called: the epoch, the file's line.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds since the Unix epoch between which it seals.
    pub fn period(&self) -> (i64, i64) {
        self.period
    }

    /// Its public id, in hex.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// Which sessions it may seal.
    pub fn versions(&self) -> Versions {
        self.versions
    }

    fn bound(&self, binding: &Binding) -> Aad<[u8; BOUND]> {
        let mut bound = [0; BOUND];
        bound[0] = FORMAT;
        bound[1..=ID].copy_from_slice(&self.id);
        bound[1 + ID..].copy_from_slice(binding);
        Aad::from(bound)
    }

    /// Seals a session. `None` where the system has no randomness.
    pub fn seal(&self, binding: &Binding, session: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(OVERHEAD + session.len());
        ticket.push(FORMAT);
        ticket.extend_from_slice(&self.id);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(session);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (_, plain) = ticket.split_at_mut(HEAD);
        let tag = self
            .aead
            .seal_in_place_separate_tag(nonce, self.bound(binding), plain);
        ticket.extend_from_slice(tag.ok()?.as_ref());
        Some(ticket)
    }

    fn open(&self, binding: &Binding, ticket: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let nonce = Nonce::try_assume_unique_for_key(&ticket[1 + ID..HEAD])?;
        let mut opened = ticket[HEAD..].to_vec();
        let plain = self
            .aead
            .open_in_place(nonce, self.bound(binding), &mut opened)?;
        let len = plain.len();
        opened.truncate(len);
        Ok(opened)
    }
}

impl KeyRing {
    /// A ring that seals with `seals`, if anything, and opens with that and `others`.
    pub fn new(seals: Option<Arc<TicketKey>>, others: Vec<Arc<TicketKey>>) -> Self {
        let mut opens: Vec<Arc<TicketKey>> = Vec::with_capacity(1 + others.len());
        let mut places = HashMap::with_capacity(1 + others.len());
        for key in seals.iter().cloned().chain(others) {
            if let Entry::Vacant(place) = places.entry(key.id) {
                place.insert(opens.len());
                opens.push(key);
            }
        }
        Self {
            seals,
            opens,
            places,
        }
    }

    /// The key that seals now. Without one no tickets are given out.
    pub fn seals(&self) -> Option<&Arc<TicketKey>> {
        self.seals.as_ref()
    }

    /// All keys that open.
    pub fn opens(&self) -> &[Arc<TicketKey>] {
        &self.opens
    }

    /// Whether a key opens.
    pub(super) fn has(&self, key: &TicketKey) -> bool {
        self.places.contains_key(&key.id)
    }

    /// Opens a ticket that is bound to `binding`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn open(&self, binding: &Binding, ticket: &[u8]) -> Result<Vec<u8>, OpenError> {
        if ticket.len() < OVERHEAD || ticket[0] != FORMAT {
            return Err(OpenError::Malformed);
        }
        let place = self.places.get(&ticket[1..=ID]);
        let key = place.and_then(|place| self.opens.get(*place));
        let key = key.ok_or(OpenError::UnknownKey)?;
        key.open(binding, ticket).map_err(|_| OpenError::Bound)
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey")
            .field("id", &self.id())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// HKDF-SHA256 (RFC 5869) with a label for each use.
fn expand(secret: &[u8; 32], label: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let key = Salt::new(HKDF_SHA256, b"portcullis tickets").extract(secret);
    let label = [label];
    let okm = key.expand(&label, Length(out.len()));
    // Only more than 255 blocks are refused. A key that was not filled would be one that everybody knows.
    okm.and_then(|okm| okm.fill(out)).expect("32 bytes at most");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: u8) -> Arc<TicketKey> {
        let name = format!("key {secret}");
        Arc::new(TicketKey::new(&[secret; 32], Versions::All, name, (0, 100)))
    }

    #[test]
    fn a_ticket_opens_under_its_key_and_its_binding_only() {
        let (one, two) = (key(1), key(2));
        let ticket = one.seal(&[7; 32], b"session");
        let ticket = ticket.unwrap();
        assert_eq!(ticket.len(), OVERHEAD + 7);
        let ring = KeyRing::new(Some(Arc::clone(&two)), vec![Arc::clone(&one)]);
        assert_eq!(ring.open(&[7; 32], &ticket), Ok(b"session".to_vec()));
        assert_eq!(ring.open(&[8; 32], &ticket), Err(OpenError::Bound));
        let without = KeyRing::new(Some(two), Vec::new());
        assert_eq!(without.open(&[7; 32], &ticket), Err(OpenError::UnknownKey));
        for cut in 0..ticket.len() {
            assert!(ring.open(&[7; 32], &ticket[..cut]).is_err());
        }
        for at in 0..ticket.len() {
            let mut flipped = ticket.clone();
            flipped[at] ^= 1;
            assert!(ring.open(&[7; 32], &flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn two_gateways_with_the_same_secret_open_each_others_tickets() {
        let (here, there) = (key(3), key(3));
        let ticket = here.seal(&[0; 32], &[1]).unwrap();
        let ring = KeyRing::new(Some(there), Vec::new());
        assert_eq!(ring.open(&[0; 32], &ticket), Ok(vec![1]));
    }

    #[test]
    fn a_key_does_not_show_its_bytes() {
        let shown = format!("{:?}", key(0xa5));
        assert!(!shown.contains("a5a5") && shown.contains("key 165"));
    }
}
