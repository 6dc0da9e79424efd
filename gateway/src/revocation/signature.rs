//! Signatures of lists and answers, checked with the algorithms that TLS itself accepts: a weak one is refused.

use std::sync::LazyLock;

use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};

use super::der::{self, Reader};

static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| aws_lc_rs::default_provider().signature_verification_algorithms);

/// What is signed, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) message: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// Nobody here accepts the algorithm, or not with this key.
    Algorithm,
    /// It is not of this key.
    Wrong,
}

impl Signed<'_> {
    /// Checks with a key, given as the content of its SubjectPublicKeyInfo.
    pub(super) fn verify(&self, spki: &[u8]) -> Result<(), Unsigned> {
        let (algorithm, key) = split_key(spki).ok_or(Unsigned::Algorithm)?;
        let fitting = ALGORITHMS.all.iter().find(|one| {
            *one.signature_alg_id() == *self.algorithm && *one.public_key_alg_id() == *algorithm
        });
        fitting
            .ok_or(Unsigned::Algorithm)?
            .verify_signature(key, self.message, self.signature)
            .map_err(|_| Unsigned::Wrong)
    }
}

/// Algorithm and key bits of a SubjectPublicKeyInfo's content.
pub(super) fn split_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(spki, "public key");
    let algorithm = reader.value(der::SEQUENCE).ok()?;
    let key = reader.bits().ok()?;
    reader.end().ok()?;
    Some((algorithm, key))
}
