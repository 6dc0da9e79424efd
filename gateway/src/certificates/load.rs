//! From the configured names to proven certificates.
//!
//! A certificate is used only after its key, wherever it lives, has signed random bytes and the signature has
//! been verified with the certificate's public key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_config::{Certificate, ChainSource, Config, HsmRef, KeyPolicy, KeySource};
use portcullis_hsm::{Extractable, HsmError, Key, KeyInfo, Provenance};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::tokens::Tokens;

/// A chain with a key that has proven to belong to it.
#[derive(Debug, Clone)]
pub struct ProvenCertificate {
    /// What rustls uses.
    pub certified: Arc<CertifiedKey>,
    /// About the key, for lists and metrics.
    pub key: KeyInfo,
    /// The key itself; tells whether a handshake has a chance now.
    pub signer: Key,
    /// Whether signing leaves the thread: true for token keys.
    pub remote: bool,
    /// End of validity of the leaf, seconds since the Unix epoch.
    pub not_after: i64,
    /// URI names of the leaf: who we are, for `By=`.
    pub uris: Vec<String>,
}

/// Why a certificate, key or trust bundle cannot be used.
#[derive(Debug)]
pub enum CertificateError {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// The file holds no PEM certificate, or a broken one.
    Pem(PathBuf, String),
    /// The leaf is no readable X.509 certificate. Where it came from.
    Leaf(String),
    /// A certificate of a trust bundle cannot serve as trust anchor.
    Anchor(PathBuf, webpki::Error),
    /// A certificate that is to complete chains is no CA's. Which one of the file, counted from 1.
    NotCa(PathBuf, usize),
    /// No `[hsm]` table fits the key.
    NoToken(String),
    /// The key is not as good as `key_policy` of its site asks for.
    Provenance {
        /// The key.
        key: String,
        /// What it is.
        provenance: Provenance,
        /// What it must be.
        policy: KeyPolicy,
    },
    /// The token or the key.
    Hsm(HsmError),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Pem(path, error) => write!(
                f,
                "{} holds no usable PEM certificate: {error}",
                path.display()
            ),
            Self::Leaf(origin) => {
                write!(f, "the first certificate in {origin} is not readable X.509")
            }
            Self::Anchor(path, error) => {
                write!(
                    f,
                    "a certificate in {} cannot be a trust anchor: {error}",
                    path.display()
                )
            }
            Self::NotCa(path, number) => {
                write!(
                    f,
                    "certificate {number} in {} is no CA certificate, so it cannot stand between a client and an \
                     anchor",
                    path.display()
                )
            }
            Self::NoToken(uri) => write!(f, "no [hsm] table fits the key {uri}"),
            Self::Provenance {
                key,
                provenance,
                policy,
            } => write!(
                f,
                "the key {key} is `{provenance}`, and `key_policy = \"{}\"` asks for more: make \
                 one in the token (`portcullis hsm keygen`)",
                policy.as_str()
            ),
            Self::Hsm(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CertificateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Hsm(error) => Some(error),
            Self::Pem(..)
            | Self::Leaf(_)
            | Self::Anchor(..)
            | Self::NotCa(..)
            | Self::NoToken(_)
            | Self::Provenance { .. } => None,
        }
    }
}

impl From<HsmError> for CertificateError {
    fn from(error: HsmError) -> Self {
        Self::Hsm(error)
    }
}

/// Loads a certificate whose key has at least this provenance, and proves it.
pub fn load_certificate(
    config: &Config,
    certificate: &Certificate,
    policy: KeyPolicy,
    tokens: &Tokens,
) -> Result<ProvenCertificate, CertificateError> {
    let (chain, origin) = match &certificate.chain.value {
        ChainSource::File(path) => (read_chain(path)?, path.display().to_string()),
        ChainSource::Token(uri) => {
            let holder = tokens.holder(certificate.hsm);
            let holder = holder.ok_or_else(|| no_token(&certificate.key.value))?;
            (holder.chain(uri)?, uri.to_string())
        }
    };
    let leaf = chain
        .first()
        .ok_or_else(|| CertificateError::Leaf(origin.clone()))?;
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| CertificateError::Leaf(origin))?;
    let not_after = parsed.validity().not_after.timestamp();
    let uris = uri_names(&parsed);
    let (source, hsm) = (&certificate.key.value, certificate.hsm);
    let key = find_key(config, source, hsm, tokens)?;
    let remote = matches!(source, KeySource::Pkcs11(_));
    enforce(policy, key.info())?;
    let certified = key.certify(chain)?;
    Ok(ProvenCertificate {
        certified,
        key: key.info().clone(),
        signer: key,
        remote,
        not_after,
        uris,
    })
}

/// Loads a key that no certificate goes with, and proves it.
pub fn load_key(
    config: &Config,
    source: &KeySource,
    hsm: Option<HsmRef>,
    tokens: &Tokens,
) -> Result<Key, CertificateError> {
    let key = find_key(config, source, hsm, tokens)?;
    key.prove()?;
    Ok(key)
}

fn find_key(
    config: &Config,
    source: &KeySource,
    hsm: Option<HsmRef>,
    tokens: &Tokens,
) -> Result<Key, CertificateError> {
    match source {
        KeySource::Software(file) => Ok(Key::software(file)?),
        KeySource::Pkcs11(uri) => {
            let extractable = if config.keys.extractable.contains(uri) {
                Extractable::Allow
            } else {
                Extractable::Refuse
            };
            let holder = tokens.holder(hsm).ok_or_else(|| no_token(source))?;
            Ok(holder.key(uri, extractable)?)
        }
    }
}

fn no_token(source: &KeySource) -> CertificateError {
    match source {
        KeySource::Pkcs11(uri) => CertificateError::NoToken(uri.to_string()),
        KeySource::Software(path) => CertificateError::NoToken(path.display().to_string()),
    }
}

/// The URI names of a certificate; none where they cannot be read, for nothing but a header depends on them.
fn uri_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    uris.collect()
}

/// Whether a key is good enough for its site.
fn enforce(policy: KeyPolicy, key: &KeyInfo) -> Result<(), CertificateError> {
    let worst = match policy {
        KeyPolicy::Any => return Ok(()),
        KeyPolicy::Imported => Provenance::Imported,
        KeyPolicy::Generated => Provenance::GeneratedInHsm,
    };
    // From the best to the worst.
    if key.provenance <= worst {
        return Ok(());
    }
    Err(CertificateError::Provenance {
        key: key.uri.clone(),
        provenance: key.provenance,
        policy,
    })
}

/// Whether a chain file can be read and begins with a certificate. Says nothing about its key.
pub fn check_chain(path: &Path) -> Result<(), CertificateError> {
    let chain = read_chain(path)?;
    let leaf = chain
        .first()
        .filter(|leaf| X509Certificate::from_der(leaf).is_ok());
    leaf.map(drop)
        .ok_or_else(|| CertificateError::Leaf(path.display().to_string()))
}

/// Loads the trust anchors of a bundle. An empty file is an error: it would lock everybody out, or, in a
/// careless verifier, let everybody in.
pub fn load_trust(path: &Path) -> Result<Vec<TrustAnchor<'static>>, CertificateError> {
    let certificates = read_chain(path)?;
    let anchor = |certificate| {
        webpki::anchor_from_trusted_cert(certificate)
            .map(|anchor| anchor.to_owned())
            .map_err(|error| CertificateError::Anchor(path.to_owned(), error))
    };
    certificates.iter().map(anchor).collect()
}

/// Loads CA certificates that complete the chains of clients. An empty file is an error here too: it says that
/// something was to be there.
pub fn load_intermediates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates = read_chain(path)?;
    let is_ca = |der: &CertificateDer<'_>| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => certificate.is_ca(),
        _ => false,
    };
    match certificates.iter().position(|der| !is_ca(der)) {
        Some(at) => Err(CertificateError::NotCa(path.to_owned(), at + 1)),
        None => Ok(certificates),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem =
        std::fs::read(path).map_err(|error| CertificateError::Read(path.to_owned(), error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(CertificateError::Pem(
            path.to_owned(),
            "no CERTIFICATE block".to_owned(),
        )),
        Err(error) => Err(CertificateError::Pem(path.to_owned(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_broken_trust_bundle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(matches!(load_trust(&path), Err(CertificateError::Read(..))));
        for content in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            std::fs::write(&path, content).unwrap();
            assert!(
                matches!(load_trust(&path), Err(CertificateError::Pem(..))),
                "{content:?}"
            );
        }
        std::fs::write(
            &path,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(matches!(
            load_trust(&path),
            Err(CertificateError::Anchor(..))
        ));
    }
}
