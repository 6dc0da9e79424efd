//! Certificates that a key signs for itself, to try a listener before a CA has answered, and the requests
//! that a CA answers.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use rustls::SignatureScheme;
use rustls::pki_types::DnsName;

use super::{random, refuse};
use crate::der;
use crate::error::HsmError;
use crate::key::{Key, KeyKind, proof};

/// Clocks differ; a certificate is valid from a little before it was made.
const BACKDATE: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`); longer names are in the SAN only.
const MAX_COMMON_NAME: usize = 64;

/// What a certificate or a request is for.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Subject alternative names: DNS names, IP addresses, and URIs (`spiffe://...`; what has `://` in it).
    pub alternative: Vec<String>,
    /// Common name of the subject; `None`: the first alternative name, if it is short enough.
    pub common: Option<String>,
    /// Organization of the subject.
    pub organization: Option<String>,
}

/// A self-signed server certificate for `names` (DNS names or addresses) as PEM (RFC 5280). The key
/// signs it; the call blocks meanwhile.
///
/// # Errors
/// When a name is none, when there is none, or when the token did not sign.
pub fn selfsign(key: &Key, names: &[String], days: u32) -> Result<String, HsmError> {
    let mut params = params(&Names {
        alternative: names.to_vec(),
        ..Names::default()
    })?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now + DAY * days;
    let mut serial = random::<16>()?;
    // Positive, and of full length whatever was drawn (RFC 5280 section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(serial.to_vec().into());
    let issuer = Issuer::new(key);
    let certificate = params.self_signed(&issuer);
    certificate
        .map(|certificate| certificate.pem())
        .map_err(|error| issuer.failed(error))
}

/// A certificate signing request for `names` as PEM (PKCS#10, RFC 2986). The key signs it; the call blocks
/// meanwhile.
///
/// # Errors
/// When a name is none, when there is none, or when the token did not sign.
pub fn csr(key: &Key, names: &Names) -> Result<String, HsmError> {
    let issuer = Issuer::new(key);
    let request = params(names)?.serialize_request(&issuer);
    request
        .and_then(|request| request.pem())
        .map_err(|error| issuer.failed(error))
}

fn failed(error: rcgen::Error) -> HsmError {
    HsmError::Generate(format!("no certificate: {error}"))
}

/// Subject, alternative names and uses.
fn params(names: &Names) -> Result<CertificateParams, HsmError> {
    let Some(first) = names.alternative.first() else {
        return refuse("a certificate needs a name".to_owned());
    };
    let mut params = CertificateParams::default();
    for name in &names.alternative {
        params.subject_alt_names.push(alternative(name)?);
    }
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = &names.organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization.as_str());
    }
    match &names.common {
        Some(common) if common.len() > MAX_COMMON_NAME => {
            return refuse(format!("a common name has at most {MAX_COMMON_NAME} bytes"));
        }
        Some(common) => params
            .distinguished_name
            .push(DnType::CommonName, common.as_str()),
        None if first.len() <= MAX_COMMON_NAME && !first.contains("://") => params
            .distinguished_name
            .push(DnType::CommonName, first.as_str()),
        None => {}
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// One subject alternative name (RFC 5280 section 4.2.1.6).
fn alternative(name: &str) -> Result<SanType, HsmError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    if name.contains("://") {
        return name.try_into().map(SanType::URI).map_err(failed);
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    if DnsName::try_from(host).is_err() {
        return refuse(format!("`{name}` is no DNS name, address or URI"));
    }
    name.try_into().map(SanType::DnsName).map_err(failed)
}

/// A key as rcgen takes it.
struct Issuer<'a> {
    key: &'a Key,
    failure: RefCell<Option<HsmError>>,
}

impl<'a> Issuer<'a> {
    fn new(key: &'a Key) -> Self {
        Issuer {
            key,
            failure: RefCell::new(None),
        }
    }

    /// The error of the token, which tells more than that of the generator.
    fn failed(&self, error: rcgen::Error) -> HsmError {
        self.failure.take().unwrap_or_else(|| failed(error))
    }

    /// The scheme of TLS whose signature is that of a certificate of this kind of key.
    fn plan(&self) -> (SignatureScheme, &'static SignatureAlgorithm) {
        match self.key.info().kind {
            KeyKind::EcdsaP256 => (
                SignatureScheme::ECDSA_NISTP256_SHA256,
                &rcgen::PKCS_ECDSA_P256_SHA256,
            ),
            KeyKind::EcdsaP384 => (
                SignatureScheme::ECDSA_NISTP384_SHA384,
                &rcgen::PKCS_ECDSA_P384_SHA384,
            ),
            KeyKind::EcdsaP521 => (
                SignatureScheme::ECDSA_NISTP521_SHA512,
                &rcgen::PKCS_ECDSA_P521_SHA512,
            ),
            KeyKind::Ed25519 => (SignatureScheme::ED25519, &rcgen::PKCS_ED25519),
            KeyKind::Rsa { .. } => (SignatureScheme::RSA_PKCS1_SHA256, &rcgen::PKCS_RSA_SHA256),
        }
    }
}

impl PublicKeyData for Issuer<'_> {
    fn der_bytes(&self) -> &[u8] {
        der::public_key_bits(self.key.spki()).unwrap_or_default()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.plan().1
    }
}

impl SigningKey for Issuer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.key.signing_key().choose_scheme(&[self.plan().0]);
        let signer = signer.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        proof::sign(&*signer, message).map_err(|error| {
            self.failure.replace(Some(error));
            rcgen::Error::RemoteKeyError
        })
    }
}
