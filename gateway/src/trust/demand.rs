//! What a site or a route asks of its clients, and what a client has shown.

use std::cell::RefCell;
use std::sync::Arc;

use portcullis_config::ClientCertMode;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::account::Account;
use super::bundle::Bundle;
use super::deny::DenyList;
use super::proof::Proof;
use crate::identity::{ClientIdentity, Identity};
use crate::reason::Reason;
use crate::revocation::Refused;

/// A mode with the bundles that are believed, as alternatives, and the deny list.
#[derive(Debug, Clone)]
pub struct Demand {
    mode: ClientCertMode,
    bundles: Vec<Arc<Bundle>>,
    deny: Arc<DenyList>,
}

/// What a client showed in its handshake, and what was verified of it so far.
#[derive(Debug, Default)]
pub struct Shown {
    /// The leaf first; empty without a certificate.
    chain: Vec<CertificateDer<'static>>,
    /// What the leaf says; `None` without one.
    identity: Option<Arc<Identity>>,
    proofs: RefCell<Vec<Proof>>,
}

/// A client that meets a demand.
#[derive(Debug, Clone)]
pub struct Met {
    /// Who it is, as far as this demand goes.
    pub identity: ClientIdentity,
    /// Until when that holds, seconds since the Unix epoch; `None` where it rests on no proof.
    pub not_after: Option<i64>,
    /// What was verified, if anything had to be.
    pub proof: Option<Proof>,
}

/// A verdict, and how it came about.
#[derive(Debug)]
pub struct Accounted<T> {
    /// One for each bundle that was asked: those behind the first that believes are not.
    pub bundles: Vec<Account>,
    /// The verdict.
    pub verdict: Result<T, Refused>,
}

impl Shown {
    /// What a finished handshake showed. `proof` is the verifier's.
    ///
    /// # Errors
    /// The leaf is no X.509 after all.
    pub fn new(chain: Vec<CertificateDer<'static>>, proof: Option<Proof>) -> Result<Self, Refused> {
        let identity = match chain.first() {
            None => None,
            Some(leaf) => {
                let read = super::recall::identity_of(leaf);
                Some(read.map_err(|_| super::chain::malformed("the leaf cannot be read"))?)
            }
        };
        Ok(Self {
            chain,
            identity,
            proofs: RefCell::new(proof.into_iter().collect()),
        })
    }

    /// A client that returns, with what its leaf is known to say.
    pub(super) fn recalled(
        chain: Vec<CertificateDer<'static>>,
        identity: Option<Arc<Identity>>,
        proof: Option<Proof>,
    ) -> Self {
        Self {
            chain,
            identity,
            proofs: RefCell::new(proof.into_iter().collect()),
        }
    }

    /// The certificates, the leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What the leaf says, verified or not.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// For records of the connection: verified if any bundle believed the chain.
    pub fn client(&self) -> ClientIdentity {
        match &self.identity {
            None => ClientIdentity::Absent,
            Some(identity) if self.proofs.borrow().is_empty() => {
                ClientIdentity::Unverified(Arc::clone(identity))
            }
            Some(identity) => ClientIdentity::Verified(Arc::clone(identity)),
        }
    }

    /// What the handshake proved.
    pub fn proof(&self) -> Option<Proof> {
        self.proofs.borrow().first().cloned()
    }

    fn proof_of(&self, bundle: &Bundle) -> Option<Proof> {
        let proofs = self.proofs.borrow();
        proofs
            .iter()
            .find(|proof| proof.bundle == *bundle.name())
            .cloned()
    }

    /// One proof for each bundle is kept, the newest.
    fn keep(&self, proof: &Proof) {
        let mut proofs = self.proofs.borrow_mut();
        match proofs.iter_mut().find(|known| known.bundle == proof.bundle) {
            Some(known) => *known = proof.clone(),
            None => proofs.push(proof.clone()),
        }
    }
}

impl Demand {
    /// What a site or route asks.
    pub fn new(mode: ClientCertMode, bundles: Vec<Arc<Bundle>>, deny: &Arc<DenyList>) -> Self {
        Self {
            mode,
            bundles,
            deny: Arc::clone(deny),
        }
    }

    /// What the handshake of a site asks, so that each of its routes can decide for itself: the handshake comes
    /// before the path. A chain that no demand of the site believes is refused there, unless one of them believes
    /// every chain.
    pub fn of_handshake(site: &Self, routes: &[Self]) -> Self {
        let all = || std::iter::once(site).chain(routes);
        let asks = |mode| all().any(|demand| demand.mode == mode);
        let mode = match site.mode {
            ClientCertMode::Require => ClientCertMode::Require,
            _ if asks(ClientCertMode::Unverified) => ClientCertMode::Unverified,
            _ if all().any(|demand| demand.mode.verifies()) => ClientCertMode::Accept,
            _ => ClientCertMode::Ignore,
        };
        let mut bundles: Vec<Arc<Bundle>> = Vec::new();
        for bundle in all().flat_map(|demand| &demand.bundles) {
            if !bundles.iter().any(|known| known.name() == bundle.name()) {
                bundles.push(Arc::clone(bundle));
            }
        }
        Self {
            mode,
            bundles,
            deny: Arc::clone(&site.deny),
        }
    }

    /// The mode.
    pub fn mode(&self) -> ClientCertMode {
        self.mode
    }

    /// The bundles, as alternatives.
    pub fn bundles(&self) -> &[Arc<Bundle>] {
        &self.bundles
    }

    /// The deny list.
    pub fn deny(&self) -> &DenyList {
        &self.deny
    }

    /// Changes with everything that may turn a client away that was let in: revocation and the deny list.
    pub fn epoch(&self) -> u64 {
        let of_bundles = self.bundles.iter().map(|bundle| bundle.epoch());
        of_bundles.fold(self.deny.epoch(), u64::wrapping_add)
    }

    /// Verifies a chain shown in a handshake, the leaf first. `None` where nothing is verified (mode `unverified`).
    ///
    /// # Errors
    /// It is on the deny list, or no bundle believes it; the reason is that of the bundle that came furthest.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Option<Proof>, Refused> {
        self.verify_by(chain, now, |bundle| bundle.verify_or_recall(chain, now))
    }

    /// What [`Self::verify`] says, and the account of each bundle that is asked, in order. For people: learns and
    /// counts nothing.
    pub fn account(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Accounted<Option<Proof>> {
        let mut bundles = Vec::new();
        let verdict = self.verify_by(chain, now, |bundle| {
            let account = bundle.account(chain, now);
            let verdict = account.verdict.clone();
            bundles.push(account);
            verdict
        });
        Accounted { bundles, verdict }
    }

    fn verify_by(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        ask: impl FnMut(&Bundle) -> Result<Proof, Refused>,
    ) -> Result<Option<Proof>, Refused> {
        if !self.mode.verifies() {
            self.deny.check_leaf(chain, now)?;
            return Ok(None);
        }
        let proof = self.any(ask)?;
        self.deny.check_leaf(chain, now)?;
        Ok(Some(proof))
    }

    /// Whether a client meets this demand now. Asked after the handshake, for each request that may find another
    /// answer than the one before.
    ///
    /// # Errors
    /// It does not: what it showed is not enough, or not good any more.
    pub fn met_by(&self, shown: &Shown, now: UnixTime) -> Result<Met, Refused> {
        self.met(shown, now, |bundle| match shown.proof_of(bundle) {
            Some(proof) => bundle.recheck(&proof, &shown.chain, now),
            None => bundle.verify(&shown.chain, now),
        })
    }

    /// What [`Self::met_by`] says, and the account of each bundle that is asked, in order. For people: learns and
    /// counts nothing.
    pub fn account_met(&self, shown: &Shown, now: UnixTime) -> Accounted<Met> {
        let mut bundles = Vec::new();
        let verdict = self.met(shown, now, |bundle| {
            let account = bundle.account(&shown.chain, now);
            let verdict = account.verdict.clone();
            bundles.push(account);
            verdict
        });
        Accounted { bundles, verdict }
    }

    fn met(
        &self,
        shown: &Shown,
        now: UnixTime,
        ask: impl FnMut(&Bundle) -> Result<Proof, Refused>,
    ) -> Result<Met, Refused> {
        let Some(identity) = &shown.identity else {
            return match self.mode {
                ClientCertMode::Require => Err(Refused {
                    reason: Reason::ClientCertRequired,
                    detail: String::new(),
                }),
                _ => Ok(Met::absent()),
            };
        };
        match self.mode {
            ClientCertMode::Ignore => Ok(Met::absent()),
            ClientCertMode::Unverified => {
                self.deny.check(identity, now)?;
                Ok(Met {
                    identity: ClientIdentity::Unverified(Arc::clone(identity)),
                    not_after: None,
                    proof: None,
                })
            }
            ClientCertMode::Accept | ClientCertMode::Require => {
                self.deny.check(identity, now)?;
                let proof = self.any(ask)?;
                shown.keep(&proof);
                Ok(Met {
                    identity: ClientIdentity::Verified(Arc::clone(identity)),
                    not_after: Some(proof.not_after),
                    proof: Some(proof),
                })
            }
        }
    }

    /// Waits for what revocation has still to learn about a client whose chain was proven, at most for the deadline of
    /// the bundle. Asked before a client's first request.
    ///
    /// # Errors
    /// It is revoked, or its status must be known and is not.
    pub async fn settle(&self, shown: &Shown, now: UnixTime) -> Result<(), Refused> {
        for bundle in &self.bundles {
            match shown.proof_of(bundle) {
                Some(proof) if proof.pending => {
                    bundle.settle(&proof, &shown.chain, now).await?;
                    shown.keep(&Proof {
                        pending: false,
                        ..proof
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Has asked again about a client who is served already and whose OCSP answer ran out. What comes of it counts up
    /// [`Self::epoch`] where it turns the client away.
    pub fn ask_again(&self, shown: &Shown) {
        for bundle in &self.bundles {
            match shown.proof_of(bundle) {
                Some(proof) if proof.pending => bundle.ask_again(&proof, &shown.chain),
                _ => {}
            }
        }
    }

    /// The first bundle that believes, or the most telling refusal: a bundle that does not know the CA says less than
    /// one that does.
    fn any(
        &self,
        mut ask: impl FnMut(&Bundle) -> Result<Proof, Refused>,
    ) -> Result<Proof, Refused> {
        let mut told: Option<Refused> = None;
        for bundle in &self.bundles {
            match ask(bundle) {
                Ok(proof) => return Ok(proof),
                Err(refused) => {
                    let says_little = |refused: &Refused| {
                        matches!(
                            refused.reason,
                            Reason::ClientCertUnknownCa | Reason::ClientCertSelfSigned
                        )
                    };
                    if told.as_ref().is_none_or(says_little) {
                        told = Some(refused);
                    }
                }
            }
        }
        Err(told.unwrap_or_else(|| Refused {
            reason: Reason::ClientCertUnknownCa,
            detail: "no trust bundle".to_owned(),
        }))
    }
}

impl Met {
    fn absent() -> Self {
        Self {
            identity: ClientIdentity::Absent,
            not_after: None,
            proof: None,
        }
    }
}

#[cfg(test)]
mod tests;
