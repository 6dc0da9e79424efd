//! A client put down in writing, so that it can be recognized when it resumes its session.
//!
//! What is written is sealed by the caller, who vouches that what comes back is what was written. Nothing of it is
//! believed for ever: a proof that is recalled is looked at again by [`Demand::met_by`], and one that does not fit the
//! bundle any more is not recalled at all, so that the chain is verified from the start.

use std::cell::RefCell;
use std::sync::Arc;

use quick_cache::unsync::Cache;
use rustls_pki_types::CertificateDer;

use super::bundle::Bundle;
use super::demand::{Demand, Shown};
use super::links::Link;
use super::proof::Proof;
use crate::identity::Identity;

const WHOLE: u8 = 0;
const REFERENCE: u8 = 1;
/// In a path: an intermediate that the client did not send. Anything else is a position in the chain.
const CONFIGURED: u8 = u8::MAX;

/// Why a client was not recalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// What was written is not understood.
    Malformed,
    /// An intermediate it refers to is not known here.
    UnknownIntermediate,
}

impl Demand {
    /// Writes down the chain of a client, the leaf first, and what was proven of it. Intermediates of the bundles are
    /// only referred to. `None` where the chain is too long to be written.
    pub fn write_client(
        &self,
        chain: &[&[u8]],
        proof: Option<&Proof>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        out.push(u8::try_from(chain.len()).ok()?);
        for (at, der) in chain.iter().enumerate() {
            match (at > 0).then(|| self.reference(der)).flatten() {
                Some(digest) => {
                    out.push(REFERENCE);
                    out.extend_from_slice(&digest);
                }
                None => {
                    out.push(WHOLE);
                    out.extend(u16::try_from(der.len()).ok()?.to_be_bytes());
                    out.extend_from_slice(der);
                }
            }
        }
        match proof {
            None => out.push(0),
            Some(proof) => {
                out.push(1);
                proof.write(out)?;
            }
        }
        Some(())
    }

    /// A client out of what [`Self::write_client`] wrote.
    ///
    /// # Errors
    /// It cannot be told any more who it was.
    pub fn read_client(&self, mut written: &[u8]) -> Result<Shown, Forgotten> {
        let read = &mut written;
        let mut chain = Vec::new();
        for _ in 0..byte(read)? {
            chain.push(match byte(read)? {
                WHOLE => {
                    let len = u16::from_be_bytes(array(read)?);
                    CertificateDer::from(take(read, len.into())?.to_vec())
                }
                REFERENCE => self
                    .referred(&array(read)?)
                    .ok_or(Forgotten::UnknownIntermediate)?,
                _ => return Err(Forgotten::Malformed),
            });
        }
        let proof = match byte(read)? {
            0 => None,
            _ => self.recall(read)?,
        };
        if !read.is_empty() {
            return Err(Forgotten::Malformed);
        }
        let identity = match chain.first() {
            None => None,
            Some(leaf) => Some(identity_of(leaf)?),
        };
        Ok(Shown::recalled(chain, identity, proof))
    }

    fn recall(&self, read: &mut &[u8]) -> Result<Option<Proof>, Forgotten> {
        let len = byte(read)?;
        let name = take(read, len.into())?;
        let (settings, anchor) = (array(read)?, array(read)?);
        let not_after = i64::from_be_bytes(array(read)?);
        let mut path = Vec::new();
        for _ in 0..byte(read)? {
            path.push(match byte(read)? {
                CONFIGURED => Link::Configured(array(read)?),
                at => Link::Shown(at.into()),
            });
        }
        let bundle = self
            .bundles()
            .iter()
            .find(|bundle| bundle.name().as_bytes() == name);
        Ok(bundle.and_then(|bundle| bundle.recall((settings, anchor), path, not_after)))
    }

    /// How a known intermediate is referred to.
    fn reference(&self, der: &[u8]) -> Option<[u8; 32]> {
        let mut known = self.bundles().iter().flat_map(|it| it.intermediates());
        known
            .find(|(_, known)| known.as_ref() == der)
            .map(|(digest, _)| *digest)
    }

    fn referred(&self, digest: &[u8; 32]) -> Option<CertificateDer<'static>> {
        let mut known = self.bundles().iter().flat_map(|it| it.intermediates());
        known
            .find(|(known, _)| known == digest)
            .map(|(_, der)| der.clone())
    }
}

thread_local! {
    /// What the certificates of callers who return often say: reading one costs more than the rest of its ticket.
    static RECENT: RefCell<Cache<Vec<u8>, Arc<Identity>>> = RefCell::new(Cache::new(RECENT_MOST));
}

/// Certificates whose content one thread remembers: about a kilobyte each.
const RECENT_MOST: usize = 1024;

/// What a certificate says. Nothing else goes into it, so the same bytes say the same for ever.
pub(super) fn identity_of(leaf: &CertificateDer<'_>) -> Result<Arc<Identity>, Forgotten> {
    let known = RECENT.with_borrow(|recent| recent.get(leaf.as_ref()).cloned());
    if let Some(identity) = known {
        return Ok(identity);
    }
    let identity = Identity::read(leaf).map_err(|_| Forgotten::Malformed)?;
    let identity = Arc::new(identity);
    RECENT.with_borrow_mut(|recent| recent.insert(leaf.to_vec(), Arc::clone(&identity)));
    Ok(identity)
}

impl Bundle {
    /// A proof of this bundle, if its anchor and its checks are still the same.
    fn recall(
        &self,
        (settings, anchor): ([u8; 32], [u8; 32]),
        path: Vec<Link>,
        not_after: i64,
    ) -> Option<Proof> {
        let at = self.marks.iter().position(|mark| mark.digest == anchor)?;
        if settings != self.digest || path.is_empty() {
            return None;
        }
        let anchor_key = self.anchors.get(at)?.subject_public_key_info.as_ref();
        Some(Proof {
            bundle: Arc::clone(self.name()),
            settings,
            anchor,
            anchor_key: anchor_key.into(),
            path,
            not_after,
            pending: false,
            status_until: i64::MAX,
            notes: Vec::new(),
        })
    }
}

impl Proof {
    fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        out.push(u8::try_from(self.bundle.len()).ok()?);
        out.extend_from_slice(self.bundle.as_bytes());
        out.extend_from_slice(&self.settings);
        out.extend_from_slice(&self.anchor);
        out.extend(self.not_after.to_be_bytes());
        out.push(u8::try_from(self.path.len()).ok()?);
        for link in &self.path {
            match link {
                Link::Shown(at) => out.push(u8::try_from(*at).ok().filter(|at| *at != CONFIGURED)?),
                Link::Configured(digest) => {
                    out.push(CONFIGURED);
                    out.extend_from_slice(digest);
                }
            }
        }
        Some(())
    }

    /// Whether both say the same for as long as nothing is asked anew.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.bundle, self.settings, self.anchor, &self.path)
            == (&other.bundle, other.settings, other.anchor, &other.path)
    }
}

fn take<'a>(read: &mut &'a [u8], len: usize) -> Result<&'a [u8], Forgotten> {
    let (taken, rest) = read.split_at_checked(len).ok_or(Forgotten::Malformed)?;
    *read = rest;
    Ok(taken)
}

fn array<const N: usize>(read: &mut &[u8]) -> Result<[u8; N], Forgotten> {
    let (taken, rest) = read.split_first_chunk().ok_or(Forgotten::Malformed)?;
    *read = rest;
    Ok(*taken)
}

fn byte(read: &mut &[u8]) -> Result<u8, Forgotten> {
    array(read).map(|[byte]| byte)
}
