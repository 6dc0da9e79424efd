//! From the configured names to proven certificates.
//!
//! A certificate is used only after its key, wherever it lives, has signed random bytes and the signature has
//! been verified with the certificate's public key.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_config::{
    Certificate, ChainSource, Config, Hsm, HsmRef, KeySource, PinSource, QueueBound, Sessions,
    TokenSelector,
};
use portcullis_hsm::{Extractable, HsmError, Key, KeyInfo, Token, TokenSelect, TokenSettings, pin};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Open tokens, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Token>);

/// A chain with a key that has proven to belong to it.
#[derive(Debug, Clone)]
pub struct ProvenCertificate {
    /// What rustls uses.
    pub certified: Arc<CertifiedKey>,
    /// About the key, for lists and metrics.
    pub key: KeyInfo,
    /// Whether signing leaves the thread: true for token keys.
    pub remote: bool,
    /// End of validity of the leaf, seconds since the Unix epoch.
    pub not_after: i64,
}

/// Why a certificate, key or trust bundle cannot be used.
#[derive(Debug)]
pub enum CertificateError {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// The file holds no PEM certificate, or a broken one.
    Pem(PathBuf, String),
    /// The leaf is no readable X.509 certificate.
    Leaf(PathBuf),
    /// A certificate of a trust bundle cannot serve as trust anchor.
    Anchor(PathBuf, webpki::Error),
    /// No `[hsm]` table fits the key.
    NoToken(String),
    /// The configuration asks for something the gateway cannot do yet.
    NotYet(&'static str),
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
            Self::Leaf(path) => write!(
                f,
                "the first certificate in {} is not readable X.509",
                path.display()
            ),
            Self::Anchor(path, error) => {
                write!(
                    f,
                    "a certificate in {} cannot be a trust anchor: {error}",
                    path.display()
                )
            }
            Self::NoToken(uri) => write!(f, "no [hsm] table fits the key {uri}"),
            Self::NotYet(what) => write!(f, "{what} is not supported yet"),
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
            | Self::NoToken(_)
            | Self::NotYet(_) => None,
        }
    }
}

impl From<HsmError> for CertificateError {
    fn from(error: HsmError) -> Self {
        Self::Hsm(error)
    }
}

impl Tokens {
    /// Opens the configured tokens, one after another; those of `open` whose settings did not change are
    /// taken over with their sessions. `failed` is told each token that cannot be opened.
    pub fn open(hsms: &[Hsm], open: &Self, mut failed: impl FnMut(&Hsm, HsmError)) -> Option<Self> {
        let mut tokens = Vec::with_capacity(hsms.len());
        for hsm in hsms {
            let Some(settings) = token_settings(hsm) else {
                let reason = "`signer` is not supported yet: use `module`".to_owned();
                failed(hsm, HsmError::Interface(reason));
                continue;
            };
            match open.0.iter().find(|token| *token.settings() == settings) {
                Some(token) => tokens.push(token.clone()),
                None => match Token::open(settings) {
                    Ok(token) => tokens.push(token),
                    Err(error) => failed(hsm, error),
                },
            }
        }
        (tokens.len() == hsms.len()).then_some(Self(tokens))
    }

    /// The open tokens.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.iter()
    }
}

/// `None` for a token behind a signer.
fn token_settings(hsm: &Hsm) -> Option<TokenSettings> {
    const SESSIONS: NonZeroUsize = NonZeroUsize::new(4).unwrap();
    const QUEUE: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
    let source = hsm.module()?;
    Some(TokenSettings {
        name: hsm.name.clone(),
        module: source.module.value.clone(),
        select: match &source.token.value {
            TokenSelector::Slot(slot) => TokenSelect::Slot(*slot),
            TokenSelector::Label(label) => TokenSelect::Label(label.clone()),
            TokenSelector::Serial(serial) => TokenSelect::Serial(serial.clone()),
        },
        pin: source.pin.as_ref().map(|pin| match &pin.value {
            PinSource::File(path) => pin::PinSource::File(path.clone()),
            PinSource::Env(name) => pin::PinSource::Env(name.clone()),
            PinSource::Credential(name) => pin::PinSource::Credential(name.clone()),
            PinSource::Fd(fd) => pin::PinSource::Fd(*fd),
            PinSource::Prompt => pin::PinSource::Prompt,
        }),
        sessions: match hsm.sessions {
            Sessions::Auto => SESSIONS,
            Sessions::Count(count) => count,
        },
        queue: match hsm.queue {
            QueueBound::Auto => QUEUE,
            QueueBound::Count(count) => count,
        },
        deadline: hsm.deadline,
    })
}

/// Loads one certificate of a site and proves it.
pub fn load_certificate(
    config: &Config,
    certificate: &Certificate,
    tokens: &Tokens,
) -> Result<ProvenCertificate, CertificateError> {
    let ChainSource::File(path) = &certificate.chain.value else {
        return Err(CertificateError::NotYet("a chain in a token"));
    };
    let chain = read_chain(path)?;
    let leaf = chain
        .first()
        .ok_or_else(|| CertificateError::Pem(path.clone(), "no certificate".to_owned()))?;
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| CertificateError::Leaf(path.clone()))?;
    let not_after = parsed.validity().not_after.timestamp();
    let (key, remote) = match &certificate.key.value {
        KeySource::Software(file) => (Key::software(file)?, false),
        KeySource::Pkcs11(uri) => {
            let extractable = if config.keys.extractable.contains(uri) {
                Extractable::Allow
            } else {
                Extractable::Refuse
            };
            let token = certificate
                .hsm
                .and_then(|place| match place {
                    HsmRef::Token(index) => tokens.0.get(index),
                    HsmRef::Group(index) => {
                        let first = config.hsm_groups.get(index)?.members.first()?;
                        tokens.0.get(*first)
                    }
                })
                .ok_or_else(|| CertificateError::NoToken(uri.to_string()))?;
            (token.key(uri, extractable)?, true)
        }
    };
    let certified = key.certify(chain)?;
    Ok(ProvenCertificate {
        certified,
        key: key.info().clone(),
        remote,
        not_after,
    })
}

/// Whether a chain file can be read and begins with a certificate. Says nothing about its key.
pub fn check_chain(path: &Path) -> Result<(), CertificateError> {
    let chain = read_chain(path)?;
    let leaf = chain
        .first()
        .filter(|leaf| X509Certificate::from_der(leaf).is_ok());
    leaf.map(drop)
        .ok_or_else(|| CertificateError::Leaf(path.to_owned()))
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
