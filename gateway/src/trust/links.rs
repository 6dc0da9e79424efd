//! The certificates of a proven path: what the client sent, and what the bundle's intermediates add to it.
//!
//! An intermediate that is configured is believed no more than one that was sent; it only need not be sent. A path
//! refers to it by its SHA-256, so a proof outlives a reload for as long as the bundle knows that certificate.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest as sum};
use rustls_pki_types::CertificateDer;

use super::bundle::{Bundle, fixed};
use super::chain::malformed;
use crate::revocation::{PathCert, Refused};

/// One certificate of a proven path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Position in the chain that was shown.
    Shown(usize),
    /// SHA-256 of an intermediate of the bundle that the client did not send.
    Configured([u8; 32]),
}

/// A configured intermediate with its SHA-256.
pub(super) fn with_digest(der: CertificateDer<'static>) -> ([u8; 32], CertificateDer<'static>) {
    (fixed(&sum(&SHA256, &der)), der)
}

impl Bundle {
    /// What a path may be built of: what was sent, and behind it what the bundle knows besides.
    pub(super) fn offered<'a>(
        &'a self,
        sent: &'a [CertificateDer<'_>],
    ) -> Cow<'a, [CertificateDer<'a>]> {
        if self.intermediates.is_empty() {
            return Cow::Borrowed(sent);
        }
        let known = self.intermediates.iter().map(|(_, der)| der);
        let known = known.filter(|der| !sent.contains(der));
        let all = sent.iter().chain(known);
        all.map(|der| CertificateDer::from(der.as_ref())).collect()
    }

    /// How a path refers to a certificate that was offered.
    pub(super) fn link(
        &self,
        der: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Option<Link> {
        if let Some(at) = chain.iter().position(|given| given == der) {
            return Some(Link::Shown(at));
        }
        let mut known = self.intermediates.iter();
        let (digest, _) = known.find(|(_, known)| known == der)?;
        Some(Link::Configured(*digest))
    }

    /// The certificate a path refers to; `None` where the chain or the bundle is another one.
    pub(super) fn certificate<'a, 'c>(
        &'a self,
        link: &Link,
        chain: &'a [CertificateDer<'c>],
    ) -> Option<&'a CertificateDer<'c>> {
        match link {
            Link::Shown(at) => chain.get(*at),
            Link::Configured(digest) => {
                let mut known = self.intermediates.iter();
                known.find(|(known, _)| known == digest).map(|(_, der)| der)
            }
        }
    }

    /// All certificates of a proven path, the leaf first.
    pub(super) fn certificates<'a, 'c>(
        &'a self,
        path: &[Link],
        chain: &'a [CertificateDer<'c>],
    ) -> Result<Vec<&'a CertificateDer<'c>>, Refused> {
        let all: Option<_> = path
            .iter()
            .map(|link| self.certificate(link, chain))
            .collect();
        all.ok_or_else(|| malformed("the chain is not the one that was verified"))
    }

    /// The certificates of a proven path, each with the key of its issuer; that of the last is the anchor's.
    pub(super) fn path_of<'a>(
        &'a self,
        (path, anchor_key): (&[Link], &'a [u8]),
        chain: &'a [CertificateDer<'_>],
    ) -> Result<Vec<PathCert<'a>>, Refused> {
        let all = self.certificates(path, chain)?;
        let ders: Vec<&[u8]> = all.into_iter().map(|der| der.as_ref()).collect();
        PathCert::of_chain(&ders, anchor_key).map_err(|error| malformed(format!("{error:?}")))
    }
}
