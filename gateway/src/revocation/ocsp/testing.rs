//! Questions, and answers that a responder might give, for the tests.

use std::sync::LazyLock;

use super::answer::Said;
use super::question::{NONCE_OID, Question, cert_id, sha1};
use crate::revocation::certificate::PathCert;
use crate::revocation::der::{self, constructed, context};
use crate::revocation::signature::split_key;
use crate::revocation::testing::{Ca, ECDSA_SHA256, HOUR, NOW, dated, extension};

pub(super) static CA: LazyLock<Ca> = LazyLock::new(|| Ca::new("ca"));

pub(super) fn question(serial: u64) -> Question {
    let leaf = CA.leaf(serial, &[]);
    let leaf = PathCert::new(&leaf, CA.key()).unwrap();
    Question {
        id: cert_id(&leaf),
        address: String::new(),
        issuer_name: leaf.issuer_name().to_vec(),
        issuer_key: CA.key().to_vec(),
    }
}

/// An answer to be signed.
pub(super) struct Reply<'a> {
    pub(super) status: u8,
    pub(super) said: Said,
    pub(super) this_update: i64,
    pub(super) next_update: Option<i64>,
    pub(super) nonce: Option<&'a [u8]>,
    pub(super) critical: Option<&'a [u8]>,
    pub(super) by_key: Option<&'a Ca>,
}

impl Default for Reply<'_> {
    fn default() -> Self {
        Self {
            status: 0,
            said: Said::Good,
            this_update: NOW - HOUR,
            next_update: Some(NOW + HOUR),
            nonce: None,
            critical: None,
            by_key: None,
        }
    }
}

impl Reply<'_> {
    /// About this certificate, signed so; the signer's certificate goes along unless it is the issuer.
    pub(super) fn signed(&self, id: &[u8], signer: &Ca, certificates: &[&Ca]) -> Vec<u8> {
        let said = match self.said {
            Said::Good => der::wrap(context(0), &[]),
            Said::Revoked { since, reason } => {
                let code = der::wrap(der::ENUMERATED, &[&[reason]]);
                let reason = der::wrap(constructed(0), &[&code]);
                der::wrap(constructed(1), &[&dated(since), &reason])
            }
            Said::Unknown => der::wrap(context(2), &[]),
        };
        let next = self.next_update.map(dated);
        let next = next
            .map(|next| der::wrap(constructed(0), &[&next]))
            .unwrap_or_default();
        let single = der::wrap(der::SEQUENCE, &[id, &said, &dated(self.this_update), &next]);
        let responder = match self.by_key {
            Some(ca) => {
                let hash = sha1(split_key(ca.key()).unwrap().1);
                der::wrap(constructed(2), &[&der::wrap(der::OCTET_STRING, &[&hash])])
            }
            None => {
                let name = der::wrap(der::SEQUENCE, &[signer.anchor.subject.as_ref()]);
                der::wrap(constructed(1), &[&name])
            }
        };
        let mut extensions = Vec::new();
        if let Some(nonce) = self.nonce {
            let value = der::wrap(der::OCTET_STRING, &[nonce]);
            extensions.extend(extension(NONCE_OID, false, &value));
        }
        if let Some(oid) = self.critical {
            extensions.extend(extension(oid, true, &[]));
        }
        if !extensions.is_empty() {
            extensions = der::wrap(constructed(1), &[&der::wrap(der::SEQUENCE, &[&extensions])]);
        }
        let list = der::wrap(der::SEQUENCE, &[&single]);
        let data = [&responder[..], &dated(NOW), &list, &extensions];
        let data = der::wrap(der::SEQUENCE, &data);
        let bits = der::wrap(der::BIT_STRING, &[&[0], &signer.sign(&data)]);
        let ders: Vec<&[u8]> = certificates.iter().map(|ca| ca.der.as_ref()).collect();
        let along = der::wrap(constructed(0), &[&der::wrap(der::SEQUENCE, &ders)]);
        let along = if ders.is_empty() { Vec::new() } else { along };
        let basic = der::wrap(der::SEQUENCE, &[&data, ECDSA_SHA256, &bits, &along]);
        let kind = der::wrap(der::OID, &[&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]]);
        let bytes = der::wrap(
            der::SEQUENCE,
            &[&kind, &der::wrap(der::OCTET_STRING, &[&basic])],
        );
        let status = der::wrap(der::ENUMERATED, &[&[self.status]]);
        der::wrap(
            der::SEQUENCE,
            &[&status, &der::wrap(constructed(0), &[&bytes])],
        )
    }
}
