//! Client certificates to show: one, or a folder of thousands that are used in turn.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// The most client certificates of one plan.
const MAX_IDENTITIES: usize = 100_000;

/// A client certificate and its key, which belong together.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads a PEM chain, leaf first, and its PEM key.
    pub fn read(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .with_context(|| format!("read the client certificate {}", chain.display()))?;
        if certificates.is_empty() {
            bail!("{} holds no certificate", chain.display());
        }
        let secret = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("read the client key {}", key.display()))?;
        let provider: &CryptoProvider = super::tls::provider();
        let pair = CertifiedKey::from_der(certificates, secret, provider).with_context(|| {
            format!(
                "{} and {} do not belong together",
                chain.display(),
                key.display()
            )
        })?;
        Ok(Self {
            key: Arc::new(pair),
        })
    }

    /// Reads every `NAME.pem` of `folder` with its `NAME.key`, in the order of their names.
    pub fn read_folder(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let entries = fs::read_dir(folder)
            .with_context(|| format!("read the folder {}", folder.display()))?;
        let paths: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .with_context(|| format!("read the folder {}", folder.display()))?;
        let mut chains: Vec<PathBuf> = paths
            .into_iter()
            .filter(|path| path.extension().is_some_and(|kind| kind == "pem"))
            .filter(|path| path.with_extension("key").exists())
            .collect();
        chains.sort();
        if chains.is_empty() {
            bail!("{} holds no pair NAME.pem and NAME.key", folder.display());
        }
        if chains.len() > MAX_IDENTITIES {
            bail!(
                "{} holds more than {MAX_IDENTITIES} client certificates",
                folder.display()
            );
        }
        let pairs = chains.iter();
        pairs
            .map(|chain| Self::read(chain, &chain.with_extension("key")))
            .collect()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.key.cert.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Ca, Client};

    #[test]
    fn a_folder_without_a_pair_and_a_key_of_another_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let missing = Identity::read_folder(&path.join("none")).unwrap_err();
        assert!(format!("{missing:#}").contains("read the folder"));
        let ca = Ca::root("bench clients").unwrap();
        let one = Client::new("one").issued_by(&ca).unwrap();
        let files = one.write(path, "one").unwrap();
        fs::rename(&files.key, path.join("elsewhere.key")).unwrap();
        let lonely = Identity::read_folder(path).unwrap_err();
        assert!(format!("{lonely:#}").contains("no pair"), "{lonely:#}");
        let two = Client::new("two").issued_by(&ca).unwrap();
        fs::write(&files.key, two.key_pem()).unwrap();
        let wrong = Identity::read(&files.chain, &files.key).unwrap_err();
        assert!(format!("{wrong:#}").contains("do not belong together"));
    }

    #[test]
    fn every_pair_of_a_folder_is_read_and_no_key_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::root("bench clients").unwrap();
        for name in ["b", "a", "c"] {
            let leaf = Client::new(name).issued_by(&ca).unwrap();
            leaf.write(folder.path(), name).unwrap();
        }
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let found = Identity::read_folder(folder.path()).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(
            format!("{:?}", found[0]),
            "Identity { certificates: 1, .. }"
        );
    }
}
