//! Lists in files: the operator's, and the copies of what was fetched.
//!
//! A file is used whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;

use super::crl::Crl;
use super::error::Problem;
use super::index::List;

/// Tells whether a file is another one than before, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    seconds: i64,
    nanoseconds: i64,
    size: u64,
    inode: u64,
}

/// The files behind a configured path: itself, or what is in the folder, in the order of their names. Names
/// that begin with a dot are somebody's temporary files.
pub(super) fn files(path: &Path) -> Result<Vec<Stamp>, Problem> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![stamp(path)?]);
    }
    let mut stamps = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && fs::metadata(entry.path())?.is_file() {
            stamps.push(stamp(&entry.path())?);
        }
    }
    if stamps.is_empty() {
        return Err(Problem::EmptyFolder);
    }
    stamps.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(stamps)
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok(Stamp {
        path: path.to_owned(),
        seconds: metadata.mtime(),
        nanoseconds: metadata.mtime_nsec(),
        size: metadata.size(),
        inode: metadata.ino(),
    })
}

impl Stamp {
    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads the lists of one file.
pub(super) fn read_file(path: &Path, max_size: u64) -> Result<Vec<Arc<List>>, Problem> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(max_size.saturating_add(1));
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_size {
        return Err(Problem::TooLarge(max_size));
    }
    read_bytes(bytes, &path.display().to_string())
}

/// Reads lists, PEM or DER.
pub(super) fn read_bytes(bytes: Vec<u8>, origin: &str) -> Result<Vec<Arc<List>>, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::Empty);
    }
    let list = |der: Vec<u8>| -> Result<Arc<List>, Problem> {
        Ok(Arc::new(List {
            crl: Arc::new(Crl::read(der.into_boxed_slice())?),
            origin: origin.to_owned(),
        }))
    };
    // DER begins with a SEQUENCE, which no text does.
    if bytes.first() == Some(&super::der::SEQUENCE) {
        return Ok(vec![list(bytes)?]);
    }
    let blocks = CertificateRevocationListDer::pem_slice_iter(&bytes);
    let mut lists = Vec::new();
    for block in blocks {
        let block = block.map_err(|error| Problem::Pem(error.to_string()))?;
        lists.push(list(block.to_vec())?);
    }
    if lists.is_empty() {
        return Err(Problem::Pem("none is there".to_owned()));
    }
    Ok(lists)
}

/// Where the copy of a fetched list is.
pub(super) fn copy_path(folder: &Path, address: &str) -> PathBuf {
    let name = digest::digest(&digest::SHA256, address.as_bytes());
    let name: String = name.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    folder.join(format!("{name}.crl"))
}

/// Keeps a fetched list over restarts. A reader sees the old copy or the new one, never a part.
pub(super) fn write_copy(folder: &Path, address: &str, raw: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)?;
    let path = copy_path(folder, address);
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    // What an earlier run with this process id left behind.
    let _ = fs::remove_file(&draft);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(raw)?;
    file.sync_all()?;
    fs::rename(&draft, &path)
}
