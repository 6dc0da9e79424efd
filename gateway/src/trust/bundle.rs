//! A trust bundle in force: anchors, settings, revocation.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256, digest as sum};
use portcullis_config::{OcspMode, Trust};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};

use super::links::with_digest;
use super::proof::Proof;
use super::revoked::Asker;
use super::walk::Role;
use crate::certificates::{CertificateError, load_intermediates, load_trust};
use crate::identity::name_text;
use crate::reason::Reason;
use crate::revocation::{CrlStore, OcspCache, Refused, RevocationError};

/// Chains that lead to one of some anchors and pass some checks.
#[derive(Debug)]
pub struct Bundle {
    name: Arc<str>,
    pub(super) settings: Arc<Trust>,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) marks: Vec<Mark>,
    /// CA certificates that clients need not send, with their SHA-256.
    pub(super) intermediates: Vec<([u8; 32], CertificateDer<'static>)>,
    /// Tells its checks from other ones.
    pub(super) digest: [u8; 32],
    pub(super) algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    pub(super) crl: Option<Arc<CrlStore>>,
    pub(super) ocsp: Option<Arc<OcspCache>>,
}

/// What tells an anchor from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// Over subject, key and name constraints.
    pub(super) digest: [u8; 32],
    /// Over the DER of SubjectPublicKeyInfo.
    pub(super) spki: [u8; 32],
}

/// Why a bundle cannot be used.
#[derive(Debug)]
pub enum BundleError {
    /// A file of anchors or intermediates, where it is named.
    File(Range<usize>, CertificateError),
    /// A revocation list.
    Crl(RevocationError),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(_, error) => error.fmt(f),
            Self::Crl(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BundleError {}

impl BundleError {
    /// Where the file is named in the configuration.
    pub fn span(&self) -> Range<usize> {
        match self {
            Self::File(span, _) => span.clone(),
            Self::Crl(error) => error.span.clone(),
        }
    }
}

impl Bundle {
    /// Reads anchors, intermediates and revocation lists. Blocks on files. Revocation lists are taken over from `old`, a bundle of
    /// the same name, where their settings did not change; files are looked at again in any case.
    pub fn load(
        settings: &Arc<Trust>,
        state_dir: &Path,
        old: Option<&Self>,
    ) -> Result<Self, Vec<BundleError>> {
        let (mut anchors, mut errors) = (Vec::new(), Vec::new());
        for file in &settings.anchors {
            match load_trust(&file.value) {
                Ok(more) => anchors.extend(more),
                Err(error) => errors.push(BundleError::File(file.span.clone(), error)),
            }
        }
        let mut intermediates: Vec<([u8; 32], _)> = Vec::new();
        for file in &settings.intermediates {
            match load_intermediates(&file.value) {
                Ok(more) => intermediates.extend(more.into_iter().map(with_digest)),
                Err(error) => errors.push(BundleError::File(file.span.clone(), error)),
            }
        }
        let mut crl = None;
        if let Some(lists) = &settings.crl {
            let open = old.and_then(|old| old.crl.as_ref());
            match CrlStore::open(lists, &anchors, state_dir, open) {
                Ok(store) => crl = Some(store),
                Err(more) => errors.extend(more.into_iter().map(BundleError::Crl)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let wanted = settings.ocsp.as_ref();
        let ocsp = wanted
            .filter(|ocsp| ocsp.mode != OcspMode::Off)
            .map(|ocsp| {
                let open = old.and_then(|old| old.ocsp.as_ref());
                OcspCache::open(ocsp, open)
            });
        let marks: Vec<_> = anchors.iter().map(Mark::of).collect();
        Ok(Self {
            name: settings.name.as_str().into(),
            digest: digest_of(settings),
            settings: Arc::clone(settings),
            algorithms: default_provider().signature_verification_algorithms.all,
            anchors,
            marks,
            intermediates,
            crl,
            ocsp,
        })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the operator wrote.
    pub fn settings(&self) -> &Trust {
        &self.settings
    }

    /// The names of its anchors, as CertificateRequest has them.
    pub fn anchor_names(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|anchor| anchor.subject.as_ref())
    }

    /// The name of the anchor that a path ends in, as text of RFC 4514.
    pub fn anchor_of(&self, proof: &Proof) -> Option<String> {
        let at = self
            .marks
            .iter()
            .position(|mark| mark.digest == proof.anchor)?;
        let subject = self.anchors.get(at)?.subject.as_ref();
        name_text(&super::constraints::sequence(subject)).ok()
    }

    /// Intermediates that are configured, with their SHA-256.
    pub fn intermediates(&self) -> &[([u8; 32], CertificateDer<'static>)] {
        &self.intermediates
    }

    /// Its revocation lists.
    pub fn crl(&self) -> Option<&Arc<CrlStore>> {
        self.crl.as_ref()
    }

    /// Its OCSP answers.
    pub fn ocsp(&self) -> Option<&Arc<OcspCache>> {
        self.ocsp.as_ref()
    }

    /// Counts changes of what revocation knows.
    pub fn epoch(&self) -> u64 {
        let lists = self.crl.as_ref().map_or(0, |crl| crl.epoch());
        let answers = self.ocsp.as_ref().map_or(0, |ocsp| ocsp.epoch());
        lists.wrapping_add(answers)
    }

    /// Verifies a chain, the leaf first: every check but the deny list, which is the process's, and OCSP answers
    /// that are not known yet.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Proof, Refused> {
        self.walk(chain, (now, Asker::Client), Role::Client)
            .map_err(|stopped| stopped.refused)
    }

    /// Verifies the chain of a service, the leaf first: the same checks, with `serverAuth`. OCSP is not asked.
    ///
    /// # Errors
    /// What the first check says that it does not pass.
    pub fn verify_service(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refused> {
        match self.walk(chain, (now, Asker::Client), Role::Server) {
            Ok(_) => Ok(()),
            Err(stopped) => Err(stopped.refused),
        }
    }

    /// Looks at a proof of this bundle's name again: everything that may have changed since.
    pub(super) fn recheck(
        &self,
        proof: &Proof,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Proof, Refused> {
        let anchored = self.marks.iter().any(|mark| mark.digest == proof.anchor);
        // Without an intermediate that was configured then, the client must have sent it.
        let known = proof
            .path
            .iter()
            .all(|link| self.certificate(link, chain).is_some());
        if !anchored || !known || proof.settings != self.digest {
            return self.verify(chain, now);
        }
        if now.as_secs() > u64::try_from(proof.not_after).unwrap_or(0) {
            return Err(refused(Reason::ClientCertExpired, "since the handshake"));
        }
        let mut again = proof.clone();
        again
            .notes
            .retain(|note| note.reason == Reason::ClientCertLifetime);
        self.check_revocation(&mut again, chain, (now, Asker::Client))?;
        Ok(again)
    }
}

impl Mark {
    pub(super) fn of(anchor: &TrustAnchor<'_>) -> Self {
        let mut context = digest::Context::new(&SHA256);
        for part in [
            Some(&anchor.subject),
            Some(&anchor.subject_public_key_info),
            anchor.name_constraints.as_ref(),
        ] {
            let bytes = part.map_or(&[][..], |der| der.as_ref());
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        let spki = super::constraints::sequence(anchor.subject_public_key_info.as_ref());
        Self {
            digest: fixed(&context.finish()),
            spki: fixed(&sum(&SHA256, &spki)),
        }
    }
}

/// Over the settings that a verdict rests on, but for anchors and revocation, which are looked at on their own.
fn digest_of(settings: &Trust) -> [u8; 32] {
    let checks = format!(
        "{:?}",
        (
            settings.eku,
            settings.max_depth,
            settings.max_lifetime,
            (settings.min_rsa_bits, settings.min_ec_bits),
            (&settings.spki_pins, &settings.certificate_pins),
            &settings.trust_domains,
        )
    );
    fixed(&sum(&SHA256, checks.as_bytes()))
}

pub(super) fn fixed(digest: &digest::Digest) -> [u8; 32] {
    let mut fixed = [0; 32];
    fixed.copy_from_slice(digest.as_ref());
    fixed
}

pub(super) fn refused(reason: Reason, detail: impl Into<String>) -> Refused {
    Refused {
        reason,
        detail: detail.into(),
    }
}
