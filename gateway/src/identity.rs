//! Who the client is, taken out of its certificate.
//!
//! Reading says nothing about trust: only [`ClientIdentity::Verified`] does, and only it has rights. What is
//! kept is bounded by the handshake message the certificate came in.

mod name;
mod spiffe;

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

pub use self::name::Attribute;
pub use self::spiffe::spiffe_matches;

/// What is known about the client of a connection.
#[derive(Debug, Clone)]
pub enum ClientIdentity {
    /// No certificate was shown (modes `ignore`, `accept` and `unverified`): a state, never an empty name.
    Absent,
    /// A certificate was shown and the client has its key, but no chain was verified (mode `unverified`):
    /// names that anybody can write. For logs; it has no right that a client without certificate has not.
    Unverified(Arc<Identity>),
    /// The chain was verified up to a trust anchor of the site.
    Verified(Arc<Identity>),
    /// TLS does not end here, and nobody looked for a certificate.
    Unterminated,
    /// The same, of a connection that a trusted proxy makes for itself (PROXY `LOCAL`), such as a health check.
    Local,
}

impl ClientIdentity {
    /// What the certificate says, verified or not: for records, never for rights.
    pub fn known(&self) -> Option<&Identity> {
        match self {
            ClientIdentity::Unverified(identity) | ClientIdentity::Verified(identity) => {
                Some(identity)
            }
            ClientIdentity::Absent | ClientIdentity::Unterminated | ClientIdentity::Local => None,
        }
    }

    /// Why there is no name, where TLS does not end here.
    pub fn unterminated(&self) -> Option<&'static str> {
        match self {
            ClientIdentity::Unterminated => Some("unterminated"),
            ClientIdentity::Local => Some("local"),
            ClientIdentity::Absent
            | ClientIdentity::Unverified(_)
            | ClientIdentity::Verified(_) => None,
        }
    }

    /// What a verified certificate says: the only one that rights may come from.
    pub fn verified(&self) -> Option<&Identity> {
        match self {
            ClientIdentity::Verified(identity) => Some(identity),
            ClientIdentity::Absent
            | ClientIdentity::Unverified(_)
            | ClientIdentity::Unterminated
            | ClientIdentity::Local => None,
        }
    }
}

/// What a client certificate says. The default is what a certificate without any name would say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The SPIFFE ID: the only URI SAN, with scheme `spiffe` (X.509-SVID, section 2).
    pub spiffe: Option<String>,
    /// All URI SANs.
    pub uris: Vec<String>,
    /// DNS SANs, lower case.
    pub dns: Vec<String>,
    /// Subject, as text of RFC 4514.
    pub subject: String,
    /// Attributes of the subject, in the order of the certificate.
    pub subject_attributes: Vec<Attribute>,
    /// The subject's last common name.
    pub common_name: Option<String>,
    /// Issuer, as text of RFC 4514.
    pub issuer: String,
    /// Attributes of the issuer, in the order of the certificate.
    pub issuer_attributes: Vec<Attribute>,
    /// Certificate policies, as dotted object identifiers.
    pub policies: Vec<String>,
    /// Serial number, lower-case hex without leading zeros.
    pub serial: String,
    /// SHA-256 of the leaf (DER).
    pub sha256: [u8; 32],
    /// Start of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// The public key.
    pub key: PublicKeyFacts,
}

/// What kind of public key a certificate has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublicKeyFacts {
    /// The algorithm.
    pub kind: PublicKeyKind,
    /// Its size; 0 where that is not known.
    pub bits: usize,
}

/// The algorithm of a public key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// RSA.
    Rsa,
    /// A curve of SEC 1, such as P-256.
    Ec,
    /// Ed25519.
    Ed25519,
    /// None that this gateway could verify a signature with.
    #[default]
    Other,
}

impl PublicKeyKind {
    /// How it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            PublicKeyKind::Rsa => "RSA",
            PublicKeyKind::Ec => "EC",
            PublicKeyKind::Ed25519 => "Ed25519",
            PublicKeyKind::Other => "other",
        }
    }
}

/// A name (DER) as text of RFC 4514.
///
/// # Errors
/// It is none.
pub fn name_text(der: &[u8]) -> Result<String, Unreadable> {
    let (_, name) = X509Name::from_der(der).map_err(|_| Unreadable)?;
    Ok(name::rfc4514(&name))
}

/// A leaf that cannot be read as X.509.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl Identity {
    /// Reads a leaf that the verifier has accepted.
    pub fn from_verified(leaf: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        Self::read(leaf)
    }

    /// Reads a leaf, whatever it is worth.
    pub fn read(leaf: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let (rest, certificate) = X509Certificate::from_der(leaf).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let (dns, uris) = alternative_names(&certificate)?;
        let spiffe = match uris.as_slice() {
            [uri] if uri.starts_with("spiffe://") => Some(uri.clone()),
            _ => None,
        };
        let common_name = certificate.subject().iter_common_name().last();
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, leaf).as_ref());
        Ok(Self {
            spiffe,
            uris,
            dns,
            subject: name::rfc4514(certificate.subject()),
            subject_attributes: name::attributes(certificate.subject()),
            common_name: common_name
                .and_then(|cn| cn.as_str().ok())
                .map(str::to_owned),
            issuer: name::rfc4514(certificate.issuer()),
            issuer_attributes: name::attributes(certificate.issuer()),
            policies: policies(&certificate)?,
            serial: serial(certificate.raw_serial()),
            sha256,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            key: key_facts(certificate.public_key()),
        })
    }

    /// The fingerprint in lower-case hex.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }
}

/// DNS names in lower case, and URIs. One that cannot be read spoils the whole: which names a client has must
/// not depend on who reads them.
fn alternative_names(
    certificate: &X509Certificate<'_>,
) -> Result<(Vec<String>, Vec<String>), Unreadable> {
    let (mut dns, mut uris) = (Vec::new(), Vec::new());
    let names = certificate.subject_alternative_name();
    for name in names
        .map_err(|_| Unreadable)?
        .iter()
        .flat_map(|san| &san.value.general_names)
    {
        match name {
            GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::Invalid(..) => return Err(Unreadable),
            _ => {}
        }
    }
    Ok((dns, uris))
}

fn policies(certificate: &X509Certificate<'_>) -> Result<Vec<String>, Unreadable> {
    use x509_parser::oid_registry::OID_X509_EXT_CERTIFICATE_POLICIES as POLICIES;
    let extension = certificate.get_extension_unique(&POLICIES);
    match extension
        .map_err(|_| Unreadable)?
        .map(|extension| extension.parsed_extension())
    {
        None => Ok(Vec::new()),
        Some(ParsedExtension::CertificatePolicies(found)) => {
            let oids = found.iter().map(|policy| policy.policy_id.to_id_string());
            Ok(oids.collect())
        }
        Some(_) => Err(Unreadable),
    }
}

fn key_facts(key: &SubjectPublicKeyInfo<'_>) -> PublicKeyFacts {
    /// RFC 8410.
    const ED25519: &str = "1.3.101.112";
    let (kind, bits) = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let digits = rsa.modulus.iter().skip_while(|byte| **byte == 0);
            let bits = digits
                .clone()
                .next()
                .map_or(0, |first| first.leading_zeros());
            (PublicKeyKind::Rsa, digits.count() * 8 - bits as usize)
        }
        // A point of P-521 has 66 bytes to a coordinate.
        Ok(PublicKey::EC(point)) => match point.key_size() {
            528 => (PublicKeyKind::Ec, 521),
            bits => (PublicKeyKind::Ec, bits),
        },
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => (PublicKeyKind::Ed25519, 256),
        _ => (PublicKeyKind::Other, 0),
    };
    PublicKeyFacts { kind, bits }
}

/// As the deny list writes it, zero too.
fn serial(bytes: &[u8]) -> String {
    match hex(bytes).trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}"); // Writing to a String cannot fail.
            out
        })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa,
        Issuer, KeyPair, SanType,
    };

    use super::*;

    fn leaf(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["Orders.Example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "orders");
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .clone()
    }

    #[test]
    fn two_uris_make_no_spiffe_id() {
        let identity = Identity::read(&leaf(&["spiffe://a/b", "spiffe://a/c"])).unwrap();
        assert_eq!(identity.spiffe, None);
        assert_eq!(identity.uris.len(), 2);
    }

    #[test]
    fn bytes_after_the_certificate_are_refused() {
        let mut der = leaf(&[]).to_vec();
        der.push(0);
        assert_eq!(Identity::read(&CertificateDer::from(der)), Err(Unreadable));
    }

    #[test]
    fn a_serial_number_is_written_as_the_deny_list_has_it() {
        for (bytes, denied) in [(&[0][..], "00"), (&[0, 0xab], "00:AB"), (&[0x0a, 0], "a00")] {
            let written = portcullis_config::parse_serial(denied).unwrap();
            assert_eq!(serial(bytes), written);
        }
    }

    #[test]
    fn names_are_read() {
        let identity = Identity::read(&leaf(&["spiffe://a/b"])).unwrap();
        assert_eq!(identity.spiffe.as_deref(), Some("spiffe://a/b"));
        assert_eq!(identity.dns, ["orders.example"]);
        assert_eq!(identity.common_name.as_deref(), Some("orders"));
        assert_eq!(identity.sha256_hex().len(), 64);
        assert_eq!(identity.key.kind, PublicKeyKind::Ec);
        assert_eq!(identity.key.bits, 256);
        assert!(identity.not_before < identity.not_after);
    }

    #[test]
    fn an_unverified_identity_is_known_but_has_no_rights() {
        let identity = Arc::new(Identity::read(&leaf(&[])).unwrap());
        let unverified = ClientIdentity::Unverified(Arc::clone(&identity));
        assert!(unverified.verified().is_none());
        assert_eq!(unverified.known(), Some(&*identity));
        assert!(ClientIdentity::Absent.known().is_none());
        let verified = ClientIdentity::Verified(Arc::clone(&identity));
        assert_eq!(verified.verified(), Some(&*identity));
    }

    #[test]
    fn policies_subject_and_issuer_are_read() {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name = DistinguishedName::new();
        ca.distinguished_name.push(DnType::OrganizationName, "Acme");
        ca.distinguished_name.push(DnType::CommonName, "CA, 1");
        let ca = Issuer::new(ca, KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::CommonName, "orders");
        // One policy, 1.3.6.1.4.1.5.
        let policies = vec![0x30, 9, 0x30, 7, 6, 5, 0x2b, 6, 1, 4, 1];
        let oid = [2, 5, 29, 32];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, policies)];
        let leaf = params
            .signed_by(&KeyPair::generate().unwrap(), &ca)
            .unwrap();
        let identity = Identity::read(leaf.der()).unwrap();
        assert_eq!(identity.policies, ["1.3.6.1.4.1"]);
        assert_eq!(identity.subject, "CN=orders,O=Acme");
        assert_eq!(identity.issuer, "CN=CA\\, 1,O=Acme");
        assert_eq!(identity.issuer_attributes[1].value, "CA, 1");
        assert_eq!(identity.subject_attributes[0].oid, "2.5.4.10");
    }
}
