//! Certificate authorities and leafs for the demo and the tests: the right ones, and each wrong
//! one.
//!
//! Every key made here is throw-away. Server keys are not made here: they live in a token, and a
//! [`Ca`] certifies their public part.

mod answer;
mod authority;
mod client;
mod der;
mod flaw;
mod list;
mod openssl;
mod subject;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::parse_x509_certificate;

pub use answer::{Answer, Standing, serial_asked};
pub use authority::Ca;
pub use client::{Client, KeyKind, Usage, Validity};
pub use flaw::Flaw;
pub use list::{List, Scope};
pub use subject::Attribute;

/// A leaf certificate, the certificates between it and its root, and its key.
#[derive(Clone)]
pub struct Leaf {
    /// PEM: the leaf first, then the intermediates, without the root.
    chain: Vec<String>,
    key: String,
}

impl Leaf {
    /// The chain as one PEM text, leaf first.
    pub fn chain_pem(&self) -> String {
        self.chain.concat()
    }

    /// The leaf alone as PEM.
    pub fn leaf_pem(&self) -> &str {
        // A leaf is never without its own certificate.
        self.chain.first().map_or("", String::as_str)
    }

    /// The key as PKCS#8 PEM.
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// The chain as DER, leaf first.
    pub fn chain_der(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        self.chain.iter().map(|pem| certificate_der(pem)).collect()
    }

    /// Writes `NAME.pem` and `NAME.key` (mode 0600) into `folder`.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<LeafFiles> {
        let files = LeafFiles {
            chain: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        write_file(&files.chain, &self.chain_pem())?;
        write_secret(&files.key, &self.key)?;
        Ok(files)
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Where a [`Leaf`] was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafFiles {
    /// The chain.
    pub chain: PathBuf,
    /// The key, mode 0600.
    pub key: PathBuf,
}

/// The public key (DER SubjectPublicKeyInfo, RFC 5280 section 4.1) of a PEM certificate.
pub fn public_key_of(certificate_pem: &str) -> anyhow::Result<Vec<u8>> {
    let der = certificate_der(certificate_pem)?;
    let (_, certificate) =
        parse_x509_certificate(&der).map_err(|error| anyhow!("read the certificate: {error}"))?;
    Ok(certificate.tbs_certificate.subject_pki.raw.to_vec())
}

/// Writes a file anybody may read, in place of what was there.
pub fn write_file(path: &Path, content: &str) -> anyhow::Result<()> {
    write_with_mode(path, content, 0o644)
}

/// Writes a file only the owner may read, in place of what was there.
pub fn write_secret(path: &Path, content: &str) -> anyhow::Result<()> {
    write_with_mode(path, content, 0o600)
}

/// The file is new, so that an old one with wider rights cannot lend them to the new content.
fn write_with_mode(path: &Path, content: &str, mode: u32) -> anyhow::Result<()> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Seconds since the Unix epoch, some away from now.
fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    i64::try_from(now).unwrap_or_default() + seconds
}

fn certificate_der(pem: &str) -> anyhow::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).context("read a PEM certificate")
}

#[cfg(test)]
mod tests;
