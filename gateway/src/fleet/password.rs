//! Where the password is: outside the configuration, read anew for each connection, never shown.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::FleetError;

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// `file:PATH`: the first line of a file.
    File(PathBuf),
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `credential:NAME`: a file in `$CREDENTIALS_DIRECTORY` (systemd `LoadCredential=`).
    Credential(String),
}

impl PasswordSource {
    /// Reads it. The end of the line is not part of it.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, FleetError> {
        let text = match self {
            Self::File(path) => read_file(path),
            // The error of the standard library may hold the value.
            Self::Env(name) => std::env::var(name)
                .map(Zeroizing::new)
                .map_err(|_| io::Error::other("it is not set, or not UTF-8")),
            Self::Credential(name) => credential(name).and_then(|path| read_file(&path)),
        };
        let text = text.and_then(|text| match text.is_empty() {
            true => Err(io::Error::other("it is empty")),
            false => Ok(text),
        });
        text.map_err(|error| FleetError::Unreadable {
            what: self.to_string().into(),
            error,
        })
    }
}

impl fmt::Display for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}

/// systemd credentials are plain names; a path would leave the directory.
fn credential(name: &str) -> io::Result<PathBuf> {
    if name.contains('/') || name == ".." {
        return Err(io::Error::other("a credential is a name, not a path"));
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) => Ok(Path::new(&directory).join(name)),
        None => Err(io::Error::other(
            "$CREDENTIALS_DIRECTORY is not set: is this a systemd service?",
        )),
    }
}
