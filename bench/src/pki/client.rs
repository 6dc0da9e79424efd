//! Client certificates, described before they are issued.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};

use super::der::{SEQUENCE, context, wrap};
use super::{Ca, Leaf};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From an hour ago for a week.
    Now,
    /// It ended yesterday.
    Expired,
    /// It begins tomorrow.
    NotYet,
    /// From an hour ago, for this much longer than now.
    For(Duration),
}

impl Validity {
    /// Writes both ends of the time into `params`.
    pub(super) fn apply(self, params: &mut CertificateParams) {
        let now = SystemTime::now();
        let (from, to) = match self {
            Self::Now => (now - DAY / 24, now + 7 * DAY),
            Self::Expired => (now - 30 * DAY, now - DAY),
            Self::NotYet => (now + DAY, now + 30 * DAY),
            Self::For(rest) => (now - DAY / 24, now + rest),
        };
        params.not_before = from.into();
        params.not_after = to.into();
    }
}

/// What a certificate may be used for (RFC 5280 section 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// `clientAuth`.
    Client,
    /// `serverAuth` only.
    ServerOnly,
    /// No extended key usage at all.
    Unsaid,
    /// `OCSPSigning`: a responder's, not a client's.
    OcspSigning,
}

/// The kind of key a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// RSA with 2,048 bits.
    Rsa2048,
    /// Ed25519.
    Ed25519,
}

/// A client certificate to be.
#[derive(Debug, Clone)]
pub struct Client {
    common_name: String,
    names: Vec<SanType>,
    validity: Validity,
    usage: Usage,
    key: KeyKind,
    serial: Option<u64>,
    /// Where its issuer's list is.
    list: Option<String>,
    /// Where its status is told.
    responder: Option<String>,
}

/// Authority information access (RFC 5280, section 4.2.2.1).
const AIA: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
/// The access method `id-ad-ocsp` in DER.
const ACCESS_OCSP: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01";

impl Client {
    /// A valid P-256 client with this subject common name and nothing else.
    pub fn new(common_name: &str) -> Self {
        Self {
            common_name: common_name.to_owned(),
            names: Vec::new(),
            validity: Validity::Now,
            usage: Usage::Client,
            key: KeyKind::P256,
            serial: None,
            list: None,
            responder: None,
        }
    }

    /// Adds a URI, such as a SPIFFE ID.
    pub fn uri(mut self, uri: &str) -> anyhow::Result<Self> {
        self.names.push(SanType::URI(uri.try_into()?));
        Ok(self)
    }

    /// Adds a DNS name.
    pub fn dns(mut self, name: &str) -> anyhow::Result<Self> {
        self.names.push(SanType::DnsName(name.try_into()?));
        Ok(self)
    }

    /// When it is valid.
    #[must_use]
    pub fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// What it may be used for.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Which kind of key it has.
    #[must_use]
    pub fn key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// Its serial number, for tests of revocation. Default: made from the key.
    #[must_use]
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = Some(serial);
        self
    }

    /// Names the address of its issuer's revocation list (CRL distribution point).
    #[must_use]
    pub fn list_at(mut self, address: &str) -> Self {
        self.list = Some(address.to_owned());
        self
    }

    /// Names the address of its issuer's OCSP responder.
    #[must_use]
    pub fn responder_at(mut self, address: &str) -> Self {
        self.responder = Some(address.to_owned());
        self
    }

    /// Makes a key and has it certified.
    pub fn issued_by(&self, ca: &Ca) -> anyhow::Result<Leaf> {
        let key = self.generate_key()?;
        let leaf = ca.sign(&self.params(), &key)?;
        let chain = [vec![leaf.pem()], ca.intermediates()].concat();
        Ok(Leaf {
            chain,
            key: key.serialize_pem(),
        })
    }

    /// The certificate's contents, without a key.
    pub(super) fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&self.common_name);
        params.subject_alt_names.clone_from(&self.names);
        params.serial_number = self.serial.map(SerialNumber::from);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match self.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::ServerOnly => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Unsaid => Vec::new(),
            Usage::OcspSigning => vec![ExtendedKeyUsagePurpose::OcspSigning],
        };
        params.use_authority_key_identifier_extension = true;
        let points = self.list.iter().map(|address| CrlDistributionPoint {
            uris: vec![address.clone()],
        });
        params.crl_distribution_points = points.collect();
        if let Some(address) = &self.responder {
            let location = wrap(context(6), &[address.as_bytes()]);
            let access = wrap(SEQUENCE, &[&wrap(SEQUENCE, &[ACCESS_OCSP, &location])]);
            let extension = CustomExtension::from_oid_content(AIA, access);
            params.custom_extensions.push(extension);
        }
        self.validity.apply(&mut params);
        params
    }

    /// A fresh key of the wanted kind.
    pub(super) fn generate_key(&self) -> anyhow::Result<KeyPair> {
        Ok(match self.key {
            KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            KeyKind::Ed25519 => KeyPair::generate_for(&PKCS_ED25519)?,
        })
    }
}

/// A subject of one common name.
pub(super) fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
