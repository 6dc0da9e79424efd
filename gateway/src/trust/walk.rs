//! A chain on its way through the checks of a bundle.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest as sum};
use portcullis_config::{Eku, LifetimeAction};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath};

use super::bundle::{Bundle, Mark, refused};
use super::chain::{Leaf, malformed};
use super::constraints::undecided;
use super::links::Link;
use super::proof::{Note, Proof};
use super::revoked::Asker;
use crate::reason::Reason;
use crate::revocation::{Refused, date};

/// How far a chain came that is refused.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) refused: Refused,
    /// The path to an anchor, where one was found.
    pub(super) path: Option<Box<Proof>>,
}

impl Stopped {
    fn early(refused: Refused) -> Self {
        Self {
            refused,
            path: None,
        }
    }
}

impl Bundle {
    /// Every check, in order. A chain that is refused keeps the path that was found.
    pub(super) fn walk(
        &self,
        chain: &[CertificateDer<'_>],
        (now, asker): (UnixTime, Asker),
        role: Role,
    ) -> Result<Proof, Stopped> {
        let found = self.find_path(chain, now, role);
        let (leaf, mut proof) = found.map_err(Stopped::early)?;
        let beyond = self
            .check_path(&mut proof, &leaf, chain)
            .and_then(|()| self.check_revocation(&mut proof, chain, (now, asker)));
        match beyond {
            Ok(()) => Ok(proof),
            Err(refused) => Err(Stopped {
                refused,
                path: Some(Box::new(proof)),
            }),
        }
    }

    /// The checks of RFC 5280, and those of the leaf alone that come before.
    fn find_path<'c>(
        &self,
        chain: &'c [CertificateDer<'_>],
        now: UnixTime,
        role: Role,
    ) -> Result<(Leaf<'c>, Proof), Refused> {
        let (first, sent) = chain
            .split_first()
            .ok_or_else(|| malformed("an empty chain"))?;
        let intermediates = &*self.offered(sent);
        let leaf = Leaf::read(first)?;
        let (rsa, ec) = (self.settings.min_rsa_bits, self.settings.min_ec_bits);
        leaf.key_size()?.at_least(rsa, ec, "it")?;
        let end_entity = EndEntityCert::try_from(first)
            .map_err(|error| self.why(&error, &leaf, intermediates))?;
        let path = end_entity
            .verify_for_usage(
                self.algorithms,
                &self.anchors,
                intermediates,
                now,
                Usage(self.settings.eku, role),
                None,
                None,
            )
            .map_err(|error| self.why(&error, &leaf, intermediates))?;
        let proof = self.proof(&path, &leaf, chain)?;
        Ok((leaf, proof))
    }

    /// The path that was found.
    fn proof(
        &self,
        path: &VerifiedPath<'_>,
        leaf: &Leaf<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<Proof, Refused> {
        let (mut links, mut not_after) = (vec![Link::Shown(0)], leaf.not_after());
        for used in path.intermediate_certificates() {
            let der = used.der();
            let link = self.link(&der, chain);
            links.push(link.ok_or_else(|| malformed("the path is not in the chain"))?);
            not_after = not_after.min(Leaf::read(&der)?.not_after());
        }
        let anchor = path.anchor();
        Ok(Proof {
            bundle: Arc::clone(self.name()),
            settings: self.digest,
            anchor: Mark::of(anchor).digest,
            anchor_key: anchor.subject_public_key_info.as_ref().into(),
            path: links,
            not_after,
            pending: false,
            status_until: i64::MAX,
            notes: Vec::new(),
        })
    }

    /// The checks of a path beyond RFC 5280.
    fn check_path(
        &self,
        proof: &mut Proof,
        leaf: &Leaf<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), Refused> {
        let settings = &self.settings;
        if settings.eku == Eku::Required && !leaf.has_eku() {
            return Err(refused(
                Reason::ClientCertWrongEku,
                "it has no extended key usage",
            ));
        }
        let depth = proof.path.len() - 1;
        if depth > settings.max_depth {
            let detail = format!(
                "{depth} intermediates, the bundle allows {}",
                settings.max_depth
            );
            return Err(refused(Reason::ClientCertTooDeep, detail));
        }
        // Smaller ones than the defaults cannot have signed anything webpki accepts.
        if settings.min_rsa_bits > 2048 || settings.min_ec_bits > 256 {
            for issuer in &self.certificates(&proof.path, chain)?[1..] {
                let size = Leaf::read(issuer)?.key_size()?;
                size.at_least(settings.min_rsa_bits, settings.min_ec_bits, "a CA above it")?;
            }
        }
        if let Some(bound) = settings.max_lifetime {
            let (lives, limit) = (leaf.lifetime(), bound.limit.as_secs());
            if u64::try_from(lives).is_ok_and(|lives| lives > limit) {
                let detail = format!(
                    "it lives {} days, the bundle allows {}",
                    lives / 86_400,
                    limit / 86_400
                );
                match bound.action {
                    LifetimeAction::Refuse => {
                        return Err(refused(Reason::ClientCertLifetime, detail));
                    }
                    LifetimeAction::Report => proof.notes.push(Note {
                        reason: Reason::ClientCertLifetime,
                        detail,
                    }),
                }
            }
        }
        self.check_pins(proof, leaf, chain)?;
        let domains = &settings.trust_domains;
        let id = leaf.spiffe().and_then(|id| id.strip_prefix("spiffe://"));
        let domain = id.map(|id| id.split('/').next().unwrap_or_default());
        if !domains.is_empty()
            && !domain.is_some_and(|domain| domains.iter().any(|known| known == domain))
        {
            let detail = domain.map_or_else(
                || "it has no SPIFFE ID".to_owned(),
                |domain| format!("{domain:?}"),
            );
            return Err(refused(Reason::ClientCertTrustDomain, detail));
        }
        Ok(())
    }

    fn check_pins(
        &self,
        proof: &Proof,
        leaf: &Leaf<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), Refused> {
        let (keys, certificates) = (&self.settings.spki_pins, &self.settings.certificate_pins);
        if keys.is_empty() && certificates.is_empty() {
            return Ok(());
        }
        let pinned = |pins: &[[u8; 32]], bytes: &[u8]| {
            pins.iter()
                .any(|pin| pin[..] == *sum(&SHA256, bytes).as_ref())
        };
        let anchor = self.marks.iter().find(|mark| mark.digest == proof.anchor);
        let mut found =
            anchor.is_some_and(|mark| keys.contains(&mark.spki)) || pinned(keys, leaf.spki());
        for der in self.certificates(&proof.path, chain)? {
            found |= pinned(certificates, der);
            found |= !keys.is_empty() && pinned(keys, Leaf::read(der)?.spki());
        }
        if found {
            return Ok(());
        }
        Err(refused(
            Reason::ClientCertNotPinned,
            "no pinned key or certificate in the chain",
        ))
    }

    /// The reason behind an error of path building.
    fn why(
        &self,
        error: &webpki::Error,
        leaf: &Leaf<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Refused {
        let mut reason = reason_of(error, leaf);
        let seconds = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let mut detail = match error {
            webpki::Error::CertExpired { not_after, .. } => {
                format!("it, or a CA above it, ended {}", date(seconds(not_after)))
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                format!("it, or a CA above it, begins {}", date(seconds(not_before)))
            }
            error => error.to_string(),
        };
        if reason == Reason::ClientCertNameConstraint {
            let of_anchors = self
                .anchors
                .iter()
                .filter_map(|anchor| anchor.name_constraints.as_deref());
            if let Some(form) = undecided(intermediates, of_anchors) {
                reason = Reason::ClientCertConstraintForm;
                detail = format!("a CA has a name constraint of the form {form}");
            }
        }
        Refused { reason, detail }
    }
}

/// [`Eku`] as webpki asks it. That a required extension is there is looked at afterwards, for webpki asks for each CA
/// of the path too, where an absent one is usual.
struct Usage(Eku, Role);

/// Which end of a connection shows the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `clientAuth`.
    Client,
    /// `serverAuth`.
    Server,
}

impl ExtendedKeyUsageValidator for Usage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match self.0 {
            Eku::Required | Eku::IfPresent => match self.1 {
                Role::Client => KeyUsage::client_auth().validate(usages),
                Role::Server => KeyUsage::server_auth().validate(usages),
            },
            Eku::Waived => Ok(()),
        }
    }
}

fn reason_of(error: &webpki::Error, leaf: &Leaf<'_>) -> Reason {
    match error {
        webpki::Error::CertExpired { .. } => Reason::ClientCertExpired,
        webpki::Error::CertNotValidYet { .. } => Reason::ClientCertNotYetValid,
        webpki::Error::UnknownIssuer if leaf.is_self_issued() => Reason::ClientCertSelfSigned,
        webpki::Error::UnknownIssuer => Reason::ClientCertUnknownCa,
        webpki::Error::CaUsedAsEndEntity => Reason::ClientCertIsCa,
        webpki::Error::EndEntityUsedAsCa => Reason::ClientCertIssuerNotCa,
        webpki::Error::PathLenConstraintViolated => Reason::ClientCertPathLength,
        webpki::Error::MaximumPathDepthExceeded
        | webpki::Error::MaximumPathBuildCallsExceeded
        | webpki::Error::MaximumSignatureChecksExceeded => Reason::ClientCertTooDeep,
        webpki::Error::NameConstraintViolation
        | webpki::Error::MaximumNameConstraintComparisonsExceeded
        | webpki::Error::MalformedNameConstraint
        | webpki::Error::InvalidNetworkMaskConstraint => Reason::ClientCertNameConstraint,
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => {
            Reason::ClientCertWrongEku
        }
        webpki::Error::UnsupportedSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | webpki::Error::SignatureAlgorithmMismatch => Reason::ClientCertWeakSignature,
        webpki::Error::InvalidSignatureForPublicKey => Reason::ClientCertBadSignature,
        _ => Reason::ClientCertMalformed,
    }
}
