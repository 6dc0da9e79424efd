//! What the checks of a bundle ask of a leaf, read once.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::reason::Reason;
use crate::revocation::Refused;

/// A client's certificate, parsed.
pub(super) struct Leaf<'a>(pub(super) X509Certificate<'a>);

impl<'a> Leaf<'a> {
    /// Reads a certificate; bytes behind it make it unreadable.
    pub(super) fn read(der: &'a CertificateDer<'_>) -> Result<Self, Refused> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            Ok(_) => Err(malformed("bytes follow the certificate")),
            Err(error) => Err(malformed(error)),
        }
    }

    /// Whether it names itself as its issuer.
    pub(super) fn is_self_issued(&self) -> bool {
        self.0.subject().as_raw() == self.0.issuer().as_raw()
    }

    /// Whether the extended key usage is there.
    pub(super) fn has_eku(&self) -> bool {
        matches!(self.0.extended_key_usage(), Ok(Some(_)))
    }

    /// From notBefore to notAfter, in seconds.
    pub(super) fn lifetime(&self) -> i64 {
        let validity = self.0.validity();
        validity.not_after.timestamp() - validity.not_before.timestamp()
    }

    /// End of validity, seconds since the Unix epoch.
    pub(super) fn not_after(&self) -> i64 {
        self.0.validity().not_after.timestamp()
    }

    /// The SPIFFE ID, if it is the only URI (X.509-SVID, section 2).
    pub(super) fn spiffe(&self) -> Option<&str> {
        let mut found = None;
        for extension in self.0.extensions() {
            let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
                continue;
            };
            for name in &san.general_names {
                if let GeneralName::URI(uri) = name
                    && found.replace(*uri).is_some()
                {
                    return None;
                }
            }
        }
        found.filter(|uri| uri.starts_with("spiffe://"))
    }

    /// DER of SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> &[u8] {
        self.0.public_key().raw
    }

    /// The size of its own key.
    pub(super) fn key_size(&self) -> Result<KeySize, Refused> {
        KeySize::of(self.0.public_key())
    }
}

/// The size of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySize {
    /// RSA, bits of the modulus.
    Rsa(usize),
    /// An elliptic curve, bits of the field.
    Ec(usize),
}

impl KeySize {
    fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, Refused> {
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => Ok(Self::Rsa(rsa.key_size())),
            Ok(PublicKey::EC(point)) => Ok(Self::Ec(ec_bits(point.key_size()))),
            Ok(PublicKey::Unknown(_)) => Ok(Self::Ec(256)), // Ed25519: others fail their signature.
            Ok(_) => Err(Refused {
                reason: Reason::ClientCertWeakKey,
                detail: "a key of an unsupported kind".to_owned(),
            }),
            Err(error) => Err(malformed(error)),
        }
    }

    /// Refuses a key below the bounds. `whose` says in whose certificate it is.
    pub(super) fn at_least(self, rsa: usize, ec: usize, whose: &str) -> Result<(), Refused> {
        let (bits, least, kind) = match self {
            Self::Rsa(bits) => (bits, rsa, "RSA"),
            Self::Ec(bits) => (bits, ec, "elliptic curve"),
        };
        if bits >= least {
            return Ok(());
        }
        Err(Refused {
            reason: Reason::ClientCertWeakKey,
            detail: format!("{whose} has an {kind} key of {bits} bits, the bundle wants {least}"),
        })
    }
}

/// x509-parser rounds the field of P-521 up to whole bytes.
fn ec_bits(bits: usize) -> usize {
    if bits == 528 { 521 } else { bits }
}

/// A certificate that cannot be read.
pub(super) fn malformed(error: impl ToString) -> Refused {
    Refused {
        reason: Reason::ClientCertMalformed,
        detail: error.to_string(),
    }
}
