//! Clients that are turned away whatever their certificate says.
//!
//! Part of the list is in the configuration and changes with a reload; the other part is the administrator's, changes
//! at once, and outlives a restart in a file of the state directory.

mod index;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use portcullis_config::{Deny, parse_serial, parse_sha256, parse_spiffe};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

use self::index::Index;
use crate::identity::{Identity, hex};
use crate::reason::Reason;
use crate::revocation::Refused;

/// Entries of the administrator, at most.
const ENTRIES_MAX: usize = 100_000;

/// The list in force.
#[derive(Debug)]
pub struct DenyList {
    /// `None` keeps nothing over a restart.
    file: Option<PathBuf>,
    /// What it is made of; changed under the lock, read by nobody on the way of a connection.
    parts: Mutex<Parts>,
    index: ArcSwap<Index>,
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
struct Parts {
    configured: Deny,
    added: Vec<DenyEntry>,
}

/// One entry of the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyEntry {
    /// What is compared.
    pub kind: DenyKind,
    /// With what.
    pub value: String,
    /// Seconds since the Unix epoch; `None` is for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// What an entry is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyKind {
    /// SHA-256 of the certificate.
    Sha256,
    /// Serial number, of whatever issuer.
    Serial,
    /// SPIFFE ID, or a pattern of one.
    Spiffe,
}

/// Why an entry cannot be taken, or the list not be kept.
#[derive(Debug)]
pub enum DenyError {
    /// It is no value of its kind.
    Value(&'static str),
    /// There are too many.
    Full,
    /// The file of the state directory.
    File(PathBuf, io::Error),
}

impl fmt::Display for DenyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(problem) => f.write_str(problem),
            Self::Full => write!(
                f,
                "the deny list holds {ENTRIES_MAX} entries already: use the configuration, or a CRL"
            ),
            Self::File(path, error) => write!(f, "deny list {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for DenyError {}

impl DenyEntry {
    /// Reads a value: a SPIFFE ID, a SHA-256, or a serial number, told apart by their shape.
    pub fn parse(text: &str, until: Option<u64>) -> Result<Self, DenyError> {
        let (kind, value) = if text.contains("://") {
            (
                DenyKind::Spiffe,
                parse_spiffe(text).map_err(DenyError::Value)?,
            )
        } else if let Ok(sum) = parse_sha256(text) {
            (DenyKind::Sha256, hex(&sum))
        } else {
            let serial = parse_serial(text).map_err(|_| {
                DenyError::Value(
                    "write a SPIFFE ID, a SHA-256 of a certificate, or a serial number in hex",
                )
            })?;
            (DenyKind::Serial, serial)
        };
        Ok(Self { kind, value, until })
    }
}

impl DenyList {
    /// The list of a process: what is configured, and what is in the file of the state directory.
    pub fn open(configured: &Deny, state_dir: Option<&Path>) -> Result<Self, DenyError> {
        let file = state_dir.map(|folder| folder.join("deny.json"));
        let added = match &file {
            Some(path) => read(path)?,
            None => Vec::new(),
        };
        let parts = Parts {
            configured: configured.clone(),
            added,
        };
        Ok(Self {
            file,
            index: ArcSwap::from_pointee(Index::new(&parts)),
            parts: Mutex::new(parts),
            epoch: AtomicU64::new(0),
        })
    }

    /// Takes over what a new configuration says.
    pub fn configure(&self, configured: &Deny) {
        let mut parts = self.parts();
        if parts.configured != *configured {
            parts.configured = configured.clone();
            self.publish(&parts);
        }
    }

    /// Adds an entry; one that is there gets the new end, and those that have ended by `now` (seconds since the Unix
    /// epoch) leave.
    pub fn add(&self, entry: DenyEntry, now: u64) -> Result<(), DenyError> {
        let mut parts = self.parts();
        let mut added = parts.added.clone();
        added.retain(|known| {
            let same = (known.kind, &known.value) == (entry.kind, &entry.value);
            !same && known.until.is_none_or(|until| now < until)
        });
        if added.len() >= ENTRIES_MAX {
            return Err(DenyError::Full);
        }
        added.push(entry);
        self.keep(&added)?;
        parts.added = added;
        self.publish(&parts);
        Ok(())
    }

    /// Removes an entry of the administrator; whether it was there.
    pub fn remove(&self, entry: &DenyEntry) -> Result<bool, DenyError> {
        let mut parts = self.parts();
        let mut added = parts.added.clone();
        added.retain(|known| (known.kind, &known.value) != (entry.kind, &entry.value));
        if added.len() == parts.added.len() {
            return Ok(false);
        }
        self.keep(&added)?;
        parts.added = added;
        self.publish(&parts);
        Ok(true)
    }

    /// The entries of the administrator.
    pub fn added(&self) -> Vec<DenyEntry> {
        self.parts().added.clone()
    }

    /// Entries of the list, wherever they are from.
    pub fn len(&self) -> usize {
        let index = self.index.load();
        index.sha256.len() + index.serial.len() + index.spiffe.len() + index.patterns.len()
    }

    /// Whether nobody is denied.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts changes.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Refuses who is on the list.
    pub fn check(&self, identity: &Identity, now: UnixTime) -> Result<(), Refused> {
        let index = self.index.load();
        match index.find(identity, now.as_secs()) {
            None => Ok(()),
            Some(entry) => Err(Refused {
                reason: Reason::ClientCertDenied,
                detail: format!("the deny list has {entry}"),
            }),
        }
    }

    /// [`Self::check`] for a chain that was not read yet.
    pub(super) fn check_leaf(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refused> {
        if self.is_empty() {
            return Ok(());
        }
        let leaf = chain.first().and_then(|leaf| Identity::read(leaf).ok());
        match leaf {
            Some(identity) => self.check(&identity, now),
            None => Err(super::chain::malformed("the leaf cannot be read")),
        }
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        // What a thread that panicked left is whole: values are replaced, never changed in place.
        self.parts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn publish(&self, parts: &Parts) {
        self.index.store(Index::new(parts).into());
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Before it is in force, so that what was answered with "done" is not forgotten.
    fn keep(&self, added: &[DenyEntry]) -> Result<(), DenyError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        write(path, added).map_err(|error| DenyError::File(path.clone(), error))
    }
}

fn read(path: &Path) -> Result<Vec<DenyEntry>, DenyError> {
    let failed = |error| DenyError::File(path.to_owned(), error);
    match std::fs::read(path) {
        Ok(bytes) => {
            let entries: Vec<DenyEntry> =
                serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
            // One that would never match anybody, by a slip of an editor's hand, must not be taken for one that does.
            let read_again = |entry: &DenyEntry| DenyEntry::parse(&entry.value, entry.until).ok();
            let odd = |entry: &&DenyEntry| read_again(entry).as_ref() != Some(*entry);
            match entries.iter().find(odd) {
                None => Ok(entries),
                Some(odd) => Err(failed(io::Error::other(format!(
                    "{:?} is no value of its kind: correct it, or remove the entry",
                    odd.value
                )))),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// The file is whole at every moment: it is written beside and moved into place. The folder may not be there yet.
fn write(path: &Path, entries: &[DenyEntry]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
    }
    let fresh = path.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(serde_json::to_string_pretty(entries)?.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests;
