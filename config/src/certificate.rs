//! Server certificates and the keys that sign for them.
use std::path::PathBuf;

use portcullis_hsm::uri::Pkcs11Uri;

use crate::Located;

/// One certificate chain with the key that proves it.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// PEM file: leaf first, then intermediates. Relative paths were resolved against the config file.
    pub chain: Located<PathBuf>,
    /// The key.
    pub key: Located<KeySource>,
    /// Index into [`crate::Config::hsms`] for a PKCS#11 key, resolved from the key's URI or the `hsm` field.
    pub hsm: Option<usize>,
}

/// What names a private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `pkcs11:...` (RFC 7512).
    Pkcs11(Pkcs11Uri),
    /// `file:PATH`, a PEM key in software. Resolved path. Only when listed in [`Keys::software`].
    Software(PathBuf),
}

/// `[keys]`: the exceptions to "generated in the HSM, cannot leave it", each by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Software keys that may be used: resolved paths.
    pub software: Vec<PathBuf>,
    /// Token keys that may be used though `CKA_EXTRACTABLE` is true or `CKA_SENSITIVE` is false.
    pub extractable: Vec<Pkcs11Uri>,
}
