//! Whether a client must show who it is.
use std::path::PathBuf;

use crate::Located;

/// What is asked of clients about certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientCertMode {
    /// No certificate is asked for.
    Ignore,
    /// Asked for; absence is served as "no identity"; a presented invalid certificate is refused.
    Accept,
    /// A valid certificate or no connection.
    Require,
}

/// `client_cert = { mode, trust }` of a site, after inheriting from its listener's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The mode.
    pub mode: ClientCertMode,
    /// PEM files of trust anchors. Never empty for `Accept` and `Require`.
    pub trust: Vec<Located<PathBuf>>,
}
