//! What a bundle asks of revocation: lists and answers, about the path of a proof.

use portcullis_config::{OcspMode, OcspSettings};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::bundle::Bundle;
use super::chain::malformed;
use super::proof::Proof;
use crate::revocation::{Finding, PathCert, Refused};

impl Bundle {
    /// Refuses a path with a certificate that is known to be revoked, or whose status must be known and is not. An
    /// OCSP answer that is not there yet is not waited for: see [`super::Demand::settle`].
    pub(super) fn check_revocation(
        &self,
        proof: &mut Proof,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refused> {
        if self.crl.is_none() && self.asked().is_none() {
            return Ok(());
        }
        let path = path_of(proof, chain)?;
        if let Some(crl) = &self.crl {
            crl.check(&path, now)?;
        }
        Ok(())
    }

    /// The OCSP settings, unless nobody is asked.
    pub(super) fn asked(&self) -> Option<&OcspSettings> {
        self.settings
            .ocsp
            .as_ref()
            .filter(|ocsp| ocsp.mode != OcspMode::Off)
    }

    /// What each revocation list says about each certificate of a proven path, for people.
    pub fn crl_findings(
        &self,
        proof: &Proof,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Vec<Finding> {
        match (&self.crl, path_of(proof, chain)) {
            (Some(crl), Ok(path)) => crl.findings(&path, now),
            _ => Vec::new(),
        }
    }
}

/// The certificates of a proven path, each with the key of its issuer.
fn path_of<'a>(
    proof: &'a Proof,
    chain: &'a [CertificateDer<'_>],
) -> Result<Vec<PathCert<'a>>, Refused> {
    let ders = proof.path.iter().filter_map(|at| chain.get(*at));
    let ders: Vec<&[u8]> = ders.map(|der| der.as_ref()).collect();
    if ders.len() != proof.path.len() {
        return Err(malformed("the chain is not the one that was verified"));
    }
    PathCert::of_chain(&ders, &proof.anchor_key).map_err(|error| malformed(format!("{error:?}")))
}
