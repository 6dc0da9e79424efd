//! A chain that was verified, and what the verdict rests on.

use std::sync::Arc;

use super::links::Link;
use crate::reason::Reason;

/// That a bundle believes a chain. Only a bundle makes one.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Name of the bundle.
    pub(super) bundle: Arc<str>,
    /// [`super::Bundle::digest`] at the time.
    pub(super) settings: [u8; 32],
    /// Digest of the anchor the path ends in.
    pub(super) anchor: [u8; 32],
    /// The anchor's SubjectPublicKeyInfo, without the outer SEQUENCE.
    pub(super) anchor_key: Arc<[u8]>,
    /// The leaf, then each issuer below the anchor.
    pub(super) path: Vec<Link>,
    /// The earliest end of validity in the path, seconds since the Unix epoch.
    pub(super) not_after: i64,
    /// An OCSP answer is wanted and was not there yet.
    pub(super) pending: bool,
    /// Until when the OCSP answer holds; `i64::MAX` where none is wanted, `i64::MIN` where it is not known.
    pub(super) status_until: i64,
    /// What was let pass and should be known.
    pub(super) notes: Vec<Note>,
}

/// Something a stricter configuration would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The reason it would be refused for.
    pub reason: Reason,
    /// More words.
    pub detail: String,
}

impl Proof {
    /// Name of the bundle that believes the chain.
    pub fn bundle(&self) -> &Arc<str> {
        &self.bundle
    }

    /// The earliest end of validity in the path, seconds since the Unix epoch.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Intermediates between the client's certificate and the anchor.
    pub fn depth(&self) -> usize {
        self.path.len() - 1
    }

    /// How many of them the client did not send, and the bundle knew.
    pub fn completed(&self) -> usize {
        let configured = |link: &&Link| matches!(link, Link::Configured(_));
        self.path.iter().filter(configured).count()
    }

    /// When to look again: at the end of validity, or of the OCSP answer.
    pub fn good_until(&self) -> i64 {
        self.not_after.min(self.status_until)
    }

    /// Whether an OCSP answer is wanted and was not there yet: see [`super::Demand::settle`].
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// What was let pass and should be known.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}
