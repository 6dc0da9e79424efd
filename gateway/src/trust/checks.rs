//! The checks of a bundle, in the order they are made, and which of them a reason belongs to.
//!
//! `explain` shows the same checks that decide: the first that fails has a reason, and the reason names it.

use crate::reason::Reason;

/// One check of a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The certificate is X.509.
    Readable,
    /// Its key is large enough and of a kind that is accepted.
    Key,
    /// It, and each CA above it, is valid now.
    Validity,
    /// It is for client authentication.
    Eku,
    /// It leads to an anchor, and each signature verifies.
    Chain,
    /// No CA forbids its names.
    NameConstraints,
    /// Not too many intermediates.
    Depth,
    /// It does not live too long.
    Lifetime,
    /// A pinned key or certificate is in the chain.
    Pins,
    /// Its SPIFFE ID is of a trust domain of the bundle.
    TrustDomain,
    /// It is not on the deny list.
    DenyList,
    /// No list of revoked certificates has it.
    Crl,
    /// No OCSP responder says that it is revoked.
    Ocsp,
}

/// Every check, in order.
pub const CHECKS: [Check; 13] = [
    Check::Readable,
    Check::Key,
    Check::Validity,
    Check::Eku,
    Check::Chain,
    Check::NameConstraints,
    Check::Depth,
    Check::Lifetime,
    Check::Pins,
    Check::TrustDomain,
    Check::DenyList,
    Check::Crl,
    Check::Ocsp,
];

impl Check {
    /// How it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Check::Readable => "certificate can be read",
            Check::Key => "key size and kind",
            Check::Validity => "validity",
            Check::Eku => "extended key usage",
            Check::Chain => "chain to a trust anchor",
            Check::NameConstraints => "name constraints",
            Check::Depth => "chain depth",
            Check::Lifetime => "lifetime",
            Check::Pins => "pins",
            Check::TrustDomain => "SPIFFE trust domain",
            Check::DenyList => "deny list",
            Check::Crl => "CRL",
            Check::Ocsp => "OCSP",
        }
    }

    /// The check that fails with `reason`; `None` for reasons of other rooms.
    pub fn of(reason: Reason) -> Option<Self> {
        Some(match reason {
            Reason::ClientCertMalformed => Check::Readable,
            Reason::ClientCertWeakKey => Check::Key,
            Reason::ClientCertExpired | Reason::ClientCertNotYetValid => Check::Validity,
            Reason::ClientCertWrongEku => Check::Eku,
            Reason::ClientCertUnknownCa
            | Reason::ClientCertSelfSigned
            | Reason::ClientCertIssuerNotCa
            | Reason::ClientCertIsCa
            | Reason::ClientCertPathLength
            | Reason::ClientCertWeakSignature
            | Reason::ClientCertBadSignature => Check::Chain,
            Reason::ClientCertNameConstraint | Reason::ClientCertConstraintForm => {
                Check::NameConstraints
            }
            Reason::ClientCertTooDeep => Check::Depth,
            Reason::ClientCertLifetime => Check::Lifetime,
            Reason::ClientCertNotPinned => Check::Pins,
            Reason::ClientCertTrustDomain => Check::TrustDomain,
            Reason::ClientCertDenied => Check::DenyList,
            Reason::ClientCertRevokedCrl
            | Reason::ClientCertCrlStale
            | Reason::ClientCertCrlMissing => Check::Crl,
            Reason::ClientCertRevokedOcsp
            | Reason::ClientCertOcspUnknown
            | Reason::ClientCertOcspUnavailable => Check::Ocsp,
            _ => return None,
        })
    }

    /// Whether the verifier makes this check together with others, in an order of its own: when one of them fails
    /// nothing is known of the rest.
    pub fn is_of_path_building(self) -> bool {
        matches!(
            self,
            Check::Validity | Check::Eku | Check::Chain | Check::NameConstraints
        )
    }
}
