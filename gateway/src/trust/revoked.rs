//! What a bundle asks of revocation: lists and answers, about the path of a proof.

use rustls_pki_types::{CertificateDer, UnixTime};

use super::bundle::Bundle;
use super::proof::Proof;
use crate::revocation::{Finding, Refused, Verdict};

/// For whom revocation is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client that comes in: what it may need is learned, and what it is let off is counted.
    Client,
    /// Somebody who wants to know: nothing changes.
    Operator,
}

impl Bundle {
    /// Refuses a path with a certificate that is known to be revoked, or whose status must be known and is not. An
    /// OCSP answer that is not there yet is not waited for: see [`super::Demand::settle`].
    pub(super) fn check_revocation(
        &self,
        proof: &mut Proof,
        chain: &[CertificateDer<'_>],
        (now, asker): (UnixTime, Asker),
    ) -> Result<(), Refused> {
        (proof.pending, proof.status_until) = (false, i64::MAX);
        if self.crl.is_none() && self.ocsp.is_none() {
            return Ok(());
        }
        let path = self.path_of((&proof.path, &proof.anchor_key), chain)?;
        if let Some(crl) = &self.crl {
            match asker {
                Asker::Client => crl.check(&path, now)?,
                Asker::Operator => crl.would_pass(&path, now)?,
            }
        }
        if let (Some(ocsp), Some(leaf)) = (&self.ocsp, path.first()) {
            let known = match asker {
                Asker::Client => ocsp.current(leaf, now),
                Asker::Operator => ocsp.peek(leaf, now),
            };
            match known {
                Some((verdict, until)) => {
                    match asker {
                        Asker::Client => ocsp.judge(&verdict)?,
                        Asker::Operator => ocsp.would_pass(&verdict)?,
                    }
                    proof.status_until = until;
                }
                None => (proof.pending, proof.status_until) = (true, i64::MIN),
            }
        }
        Ok(())
    }

    /// Has the OCSP responder asked about a client who is served already.
    pub(super) fn ask_again(&self, proof: &Proof, chain: &[CertificateDer<'_>]) {
        let path = self.path_of((&proof.path, &proof.anchor_key), chain);
        if let (Some(ocsp), Ok(path)) = (&self.ocsp, path)
            && let Some(leaf) = path.first()
        {
            ocsp.ask_again(leaf);
        }
    }

    /// Waits for the OCSP answer about a proven client, at most its deadline.
    pub(super) async fn settle(
        &self,
        proof: &Proof,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refused> {
        let Some(ocsp) = &self.ocsp else {
            return Ok(());
        };
        let path = self.path_of((&proof.path, &proof.anchor_key), chain)?;
        match path.first() {
            Some(leaf) => ocsp.judge(&ocsp.settle(leaf, now).await),
            None => Ok(()),
        }
    }

    /// The OCSP verdict that is known now, for people.
    pub fn ocsp_verdict(
        &self,
        proof: &Proof,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<Verdict> {
        let path = self.path_of((&proof.path, &proof.anchor_key), chain).ok()?;
        let known = self.ocsp.as_ref()?.peek(path.first()?, now)?;
        Some(known.0)
    }

    /// The OCSP responder that is asked about a proven client.
    pub fn ocsp_responder(&self, proof: &Proof, chain: &[CertificateDer<'_>]) -> Option<String> {
        let path = self.path_of((&proof.path, &proof.anchor_key), chain).ok()?;
        let responder = self.ocsp.as_ref()?.responder_of(path.first()?);
        responder.map(str::to_owned)
    }

    /// What each revocation list says about each certificate of a proven path, for people.
    pub fn crl_findings(
        &self,
        proof: &Proof,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Vec<Finding> {
        match (
            &self.crl,
            self.path_of((&proof.path, &proof.anchor_key), chain),
        ) {
            (Some(crl), Ok(path)) => crl.findings(&path, now),
            _ => Vec::new(),
        }
    }
}
