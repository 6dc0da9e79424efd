//! The password: outside the configuration, read anew for each connection, never shown.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use portcullis_config::SecretSource;
use zeroize::Zeroizing;

use super::error::FleetError;

/// Reads it. The end of the line is not part of it.
pub(super) fn read(source: &SecretSource) -> Result<Zeroizing<String>, FleetError> {
    let text = match source {
        SecretSource::File(path) => first_line(path),
        // The error of the standard library may hold the value.
        SecretSource::Env(name) => std::env::var(name)
            .map(Zeroizing::new)
            .map_err(|_| io::Error::other("it is not set, or not UTF-8")),
        SecretSource::Credential(name) => credential(name).and_then(|path| first_line(&path)),
    };
    let text = text.and_then(|text| match text.is_empty() {
        true => Err(io::Error::other("it is empty")),
        false => Ok(text),
    });
    text.map_err(|error| FleetError::Unreadable {
        what: place(source).into(),
        error,
    })
}

fn place(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => format!("password, file:{}", path.display()),
        SecretSource::Env(name) => format!("password, env:{name}"),
        SecretSource::Credential(name) => format!("password, credential:{name}"),
    }
}

fn first_line(path: &Path) -> io::Result<Zeroizing<String>> {
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
