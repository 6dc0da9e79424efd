//! Who the client is, taken out of a chain that was verified.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What is known about the client of a connection.
#[derive(Debug, Clone)]
pub enum ClientIdentity {
    /// No certificate was shown (modes `ignore` and `accept`): a state, never an empty name.
    Absent,
    /// The chain was verified up to a trust anchor of the site.
    Verified(Arc<Identity>),
}

/// The names in a verified client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The SPIFFE ID: the only URI SAN, with scheme `spiffe` (X.509-SVID, section 2).
    pub spiffe: Option<String>,
    /// All URI SANs.
    pub uris: Vec<String>,
    /// DNS SANs, lower case.
    pub dns: Vec<String>,
    /// Subject, RFC 4514 style.
    pub subject: String,
    /// The subject's last common name.
    pub common_name: Option<String>,
    /// Issuer, RFC 4514 style.
    pub issuer: String,
    /// Serial number, lower-case hex without leading zeros.
    pub serial: String,
    /// SHA-256 of the leaf (DER).
    pub sha256: [u8; 32],
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
}

/// A verified leaf that cannot be read as X.509 after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl Identity {
    /// Reads the names of a leaf. Call only with a leaf the verifier has accepted.
    pub fn from_verified(leaf: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let (rest, certificate) = X509Certificate::from_der(leaf).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        if let Some(san) = certificate
            .subject_alternative_name()
            .map_err(|_| Unreadable)?
        {
            for name in &san.value.general_names {
                match name {
                    GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
                    GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                    _ => {}
                }
            }
        }
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
            subject: certificate.subject().to_string(),
            common_name: common_name
                .and_then(|cn| cn.as_str().ok())
                .map(str::to_owned),
            issuer: certificate.issuer().to_string(),
            serial: hex(certificate.raw_serial())
                .trim_start_matches('0')
                .to_owned(),
            sha256,
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// The fingerprint in lower-case hex.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
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
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

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
        let identity = Identity::from_verified(&leaf(&["spiffe://a/b", "spiffe://a/c"])).unwrap();
        assert_eq!(identity.spiffe, None);
        assert_eq!(identity.uris.len(), 2);
    }

    #[test]
    fn bytes_after_the_certificate_are_refused() {
        let mut der = leaf(&[]).to_vec();
        der.push(0);
        assert_eq!(
            Identity::from_verified(&CertificateDer::from(der)),
            Err(Unreadable)
        );
    }

    #[test]
    fn names_are_read() {
        let identity = Identity::from_verified(&leaf(&["spiffe://a/b"])).unwrap();
        assert_eq!(identity.spiffe.as_deref(), Some("spiffe://a/b"));
        assert_eq!(identity.dns, ["orders.example"]);
        assert_eq!(identity.common_name.as_deref(), Some("orders"));
        assert!(identity.subject.contains("CN=orders"));
        assert_eq!(identity.sha256_hex().len(), 64);
    }
}
