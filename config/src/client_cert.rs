//! Whether a client must show who it is.
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::schema::one_or_many;

/// What is asked of clients about certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertMode {
    /// No certificate is asked for.
    Ignore,
    /// Asked for; absence is served as "no identity"; a presented invalid certificate is refused.
    Accept,
    /// A valid certificate or no connection.
    Require,
}

impl ClientCertMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientCertMode::Ignore => "ignore",
            ClientCertMode::Accept => "accept",
            ClientCertMode::Require => "require",
        }
    }
}

/// `client_cert = { mode, trust }` of a site, after inheriting from its listener's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The mode.
    pub mode: ClientCertMode,
    /// PEM files of trust anchors. Never empty for `Accept` and `Require`.
    pub trust: Vec<Located<PathBuf>>,
}

impl ClientCert {
    pub(crate) const IGNORE: ClientCert = ClientCert {
        mode: ClientCertMode::Ignore,
        trust: Vec::new(),
    };

    /// Whether both ask the same, wherever it was written.
    pub(crate) fn same(&self, other: &ClientCert) -> bool {
        let paths = |cert: &ClientCert| -> Vec<PathBuf> {
            cert.trust.iter().map(|path| path.value.clone()).collect()
        };
        self.mode == other.mode && paths(self) == paths(other)
    }
}

/// `client_cert` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawClientCert {
    /// `ignore`, `accept` (no certificate is fine, a wrong one is not) or `require`. Required.
    mode: Option<Located<ClientCertMode>>,
    /// PEM file, or list of files, with the CA certificates client certificates must lead to.
    #[schemars(schema_with = "one_or_many::<String>")]
    trust: Option<Vec<Located<String>>>,
}

impl RawClientCert {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span) -> Option<ClientCert> {
        let mode = check.required(table, "mode", self.mode);
        let written = self.trust.is_some();
        let trust: Vec<_> = self
            .trust
            .unwrap_or_default()
            .iter()
            .map(|text| check.path(text))
            .collect();
        check.distinct(&trust, "this file");
        let mode = mode?;
        match mode.value {
            ClientCertMode::Ignore if written => {
                let place = trust.first().map_or(table, |path| &path.span);
                check
                    .error(place, "`trust` does nothing with `mode = \"ignore\"`: no certificate is asked for")
                    .help("use `mode = \"accept\"` or `\"require\"`, or remove `trust`");
            }
            ClientCertMode::Accept | ClientCertMode::Require
                if trust.is_empty() && !check.lost_key(table, "trust") =>
            {
                let message = format!("`mode = \"{}\"` needs `trust`", mode.value.as_str());
                check
                    .error(&mode.span, message)
                    .help("add `trust = \"clients.pem\"` with the CA certificates of your clients");
            }
            _ => {}
        }
        Some(ClientCert {
            mode: mode.value,
            trust,
        })
    }
}
