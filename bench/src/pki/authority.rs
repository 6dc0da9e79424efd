//! Certificate authorities: roots, intermediates, and the leafs they sign.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PublicKeyData, SanType, SerialNumber, SigningKey as _, SubjectPublicKeyInfo,
};
use x509_parser::parse_x509_certificate;

use super::client::named;
use super::{Leaf, Validity};

/// A CA (P-256) that certifies keys.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// PEM: this CA first, then those above it, the root last.
    path: Vec<String>,
}

impl Ca {
    /// A self-signed root without limits.
    pub fn root(name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let params = ca_params(name, BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        Ok(Self {
            issuer,
            path: vec![certificate.pem()],
        })
    }

    /// An intermediate without limits of its own.
    pub fn intermediate(&self, name: &str) -> anyhow::Result<Self> {
        self.sub_ca(ca_params(name, BasicConstraints::Unconstrained))
    }

    /// An intermediate with this serial number, for tests of revocation.
    pub fn intermediate_numbered(&self, name: &str, serial: u64) -> anyhow::Result<Self> {
        let mut params = ca_params(name, BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(serial));
        self.sub_ca(params)
    }

    /// An intermediate that allows this many intermediates below it (RFC 5280 section 4.2.1.9).
    pub fn intermediate_with_path_length(&self, name: &str, below: u8) -> anyhow::Result<Self> {
        self.sub_ca(ca_params(name, BasicConstraints::Constrained(below)))
    }

    /// An intermediate that may certify only DNS names in `domain` (RFC 5280 section 4.2.1.10).
    pub fn intermediate_for_domain(&self, name: &str, domain: &str) -> anyhow::Result<Self> {
        let mut params = ca_params(name, BasicConstraints::Unconstrained);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
            excluded_subtrees: Vec::new(),
        });
        self.sub_ca(params)
    }

    /// An intermediate that may certify only URIs with this host (RFC 5280 section 4.2.1.10), as SPIFFE authorities
    /// do; at most 100 characters.
    pub fn intermediate_for_uri_host(&self, name: &str, host: &str) -> anyhow::Result<Self> {
        let mut params = ca_params(name, BasicConstraints::Unconstrained);
        let length = u8::try_from(host.len()).context("a short host")?;
        // SEQUENCE { [0] { SEQUENCE { [6] host } } }
        let head = [
            0x30,
            length + 6,
            0xa0,
            length + 4,
            0x30,
            length + 2,
            0x86,
            length,
        ];
        let content = [&head[..], host.as_bytes()].concat();
        let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
        constraints.set_criticality(true);
        params.custom_extensions.push(constraints);
        self.sub_ca(params)
    }

    /// A server certificate for a key that is elsewhere, named by its public part (DER
    /// SubjectPublicKeyInfo): PEM, the leaf first, then the intermediates. `hosts` are DNS names,
    /// IP addresses and URIs.
    pub fn server_chain(&self, hosts: &[&str], public_key: &[u8]) -> anyhow::Result<String> {
        self.chain_of(hosts, public_key, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same for a client.
    pub fn client_chain(&self, names: &[&str], public_key: &[u8]) -> anyhow::Result<String> {
        self.chain_of(names, public_key, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn chain_of(
        &self,
        hosts: &[&str],
        public_key: &[u8],
        usage: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<String> {
        let public_key = SubjectPublicKeyInfo::from_der(public_key)
            .context("this kind of public key cannot be certified")?;
        let hosts = hosts.iter().map(|&host| host.to_owned());
        let (uris, hosts): (Vec<String>, Vec<String>) =
            hosts.partition(|host| host.contains("://"));
        let mut params = CertificateParams::new(hosts.clone())?;
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        params.distinguished_name = named(hosts.first().map_or("server", String::as_str));
        Validity::Now.apply(&mut params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let leaf = self.sign(&params, &public_key)?;
        Ok([vec![leaf.pem()], self.intermediates()].concat().concat())
    }

    /// This CA's certificate as PEM.
    pub fn pem(&self) -> &str {
        // A CA is never without its own certificate, see the constructors.
        self.path.first().map_or("", String::as_str)
    }

    /// The root above this CA as PEM: what a peer must trust.
    pub fn root_pem(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// Writes the root as a trust bundle.
    pub fn write_trust(&self, path: &Path) -> anyhow::Result<()> {
        super::write_file(path, self.root_pem())
    }

    /// Signs `params` for `public_key`.
    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        public_key: &impl PublicKeyData,
    ) -> anyhow::Result<Certificate> {
        Ok(params.signed_by(public_key, &self.issuer)?)
    }

    /// The certificates a leaf of this CA must send beside its own: everything but the root.
    pub(super) fn intermediates(&self) -> Vec<String> {
        let count = self.path.len().saturating_sub(1);
        self.path.iter().take(count).cloned().collect()
    }

    /// This CA in the place of a client.
    pub(super) fn as_leaf(&self) -> Leaf {
        Leaf {
            chain: self.intermediates(),
            key: self.key_pem(),
        }
    }

    /// The key as PKCS#8 PEM, for what only another program can sign.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Signs bytes.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(self.issuer.key().sign(bytes)?)
    }

    /// Its name in DER.
    pub(super) fn name(&self) -> anyhow::Result<Vec<u8>> {
        let der = super::certificate_der(self.pem())?;
        let (_, certificate) = parse_x509_certificate(&der)
            .map_err(|error| anyhow!("read the certificate: {error}"))?;
        Ok(certificate.subject().as_raw().to_vec())
    }

    fn sub_ca(&self, params: CertificateParams) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = self.sign(&params, &key)?;
        let path = [vec![certificate.pem()], self.path.clone()].concat();
        Ok(Self {
            issuer: Issuer::new(params, key),
            path,
        })
    }
}

fn ca_params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Portcullis demo");
    Validity::Now.apply(&mut params);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}
