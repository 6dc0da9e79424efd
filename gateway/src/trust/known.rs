//! Chains that a bundle verified a while ago: who calls often is not verified from the start each time.
//!
//! Promises: what is remembered is found again only by the very same certificates in the same order and the same
//! bundle, and it is a [`Proof`] that is looked at again like that of a client who resumes: anchor, settings,
//! validity and revocation are asked anew, the signatures of the same bytes are not. That a client has its key is
//! never remembered. Bounded for each thread; refusals are not remembered.

use std::cell::RefCell;

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::unsync::Cache;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::bundle::{Bundle, fixed};
use super::proof::Proof;
use crate::revocation::Refused;

/// Chains that one thread remembers: about half a kilobyte each.
const MOST: usize = 1024;

/// A proof, and when its chain was verified, seconds since the Unix epoch.
type Known = (Proof, u64);

thread_local! {
    static KNOWN: RefCell<Cache<[u8; 32], Known>> = RefCell::new(Cache::new(MOST));
}

impl Bundle {
    /// What [`Bundle::verify`] says, at the price of a lookup where this thread has verified the chain before.
    pub(super) fn verify_or_recall(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Proof, Refused> {
        let key = self.key_of(chain);
        let known = KNOWN.with_borrow(|known| known.get(&key).cloned());
        if let Some((proof, since)) = known
            // A clock that was set back may stand before the beginning of a certificate.
            && since <= now.as_secs()
            && u64::try_from(proof.not_after).is_ok_and(|end| now.as_secs() <= end)
        {
            return self.recheck(&proof, chain, now);
        }
        let proof = self.verify(chain, now)?;
        KNOWN.with_borrow_mut(|known| known.insert(key, (proof.clone(), now.as_secs())));
        Ok(proof)
    }

    fn key_of(&self, chain: &[CertificateDer<'_>]) -> [u8; 32] {
        let mut sum = Context::new(&SHA256);
        let parts = chain.iter().map(|der| der.as_ref());
        for part in std::iter::once(self.name().as_bytes()).chain(parts) {
            sum.update(&(part.len() as u64).to_be_bytes());
            sum.update(part);
        }
        fixed(&sum.finish())
    }
}
