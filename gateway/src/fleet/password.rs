//! The password: outside the configuration, read anew for each connection, never shown.

use portcullis_config::SecretSource;
use portcullis_hsm::PinSource;
use zeroize::Zeroizing;

use super::error::FleetError;

/// Reads it, as a PIN is read: the end of the line is not part of it.
pub(super) fn read(source: &SecretSource) -> Result<Zeroizing<String>, FleetError> {
    let source = match source {
        SecretSource::File(path) => PinSource::File(path.clone()),
        SecretSource::Env(name) => PinSource::Env(name.clone()),
        SecretSource::Credential(name) => PinSource::Credential(name.clone()),
    };
    source
        .read_password()
        .map_err(|error| FleetError::Unreadable {
            what: format!("password, {source}").into(),
            error,
        })
}
