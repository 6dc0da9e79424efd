//! `tls = { versions, suites, groups }`: what is negotiated.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};

/// TLS policy of a site.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsPolicy {
    /// Never empty. Default both.
    pub versions: Vec<TlsVersion>,
    /// In order of preference, never empty, at least one for every version. Default all.
    pub suites: Vec<Suite>,
    /// Never empty; which one is used the client's order says. Default `X25519MLKEM768, X25519, secp256r1, secp384r1`.
    pub groups: Vec<Group>,
}

/// A TLS version: `"1.2"`, `"1.3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246, with extended master secret (RFC 7627) required.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// A cipher suite, by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the IANA names say it")]
pub enum Suite {
    #[serde(rename = "TLS_AES_128_GCM_SHA256")]
    Tls13Aes128GcmSha256,
    #[serde(rename = "TLS_AES_256_GCM_SHA384")]
    Tls13Aes256GcmSha384,
    #[serde(rename = "TLS_CHACHA20_POLY1305_SHA256")]
    Tls13Chacha20Poly1305Sha256,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")]
    Tls12EcdheEcdsaAes128GcmSha256,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")]
    Tls12EcdheEcdsaAes256GcmSha384,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")]
    Tls12EcdheEcdsaChacha20Poly1305,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")]
    Tls12EcdheRsaAes128GcmSha256,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")]
    Tls12EcdheRsaAes256GcmSha384,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")]
    Tls12EcdheRsaChacha20Poly1305,
}

/// A key exchange group, by its IANA name (`X25519MLKEM768`, `X25519`, `secp256r1`, `secp384r1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the IANA names say it")]
pub enum Group {
    #[serde(rename = "X25519MLKEM768")]
    X25519MlKem768,
    #[serde(rename = "X25519")]
    X25519,
    #[serde(rename = "secp256r1")]
    Secp256r1,
    #[serde(rename = "secp384r1")]
    Secp384r1,
}

impl TlsVersion {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        }
    }
}

impl Suite {
    /// All suites, in the default order of preference.
    pub const ALL: [Suite; 9] = [
        Suite::Tls13Aes128GcmSha256,
        Suite::Tls13Aes256GcmSha384,
        Suite::Tls13Chacha20Poly1305Sha256,
        Suite::Tls12EcdheEcdsaAes128GcmSha256,
        Suite::Tls12EcdheEcdsaAes256GcmSha384,
        Suite::Tls12EcdheEcdsaChacha20Poly1305,
        Suite::Tls12EcdheRsaAes128GcmSha256,
        Suite::Tls12EcdheRsaAes256GcmSha384,
        Suite::Tls12EcdheRsaChacha20Poly1305,
    ];

    /// The version it belongs to.
    pub fn version(self) -> TlsVersion {
        if self.as_str().contains("_WITH_") {
            TlsVersion::Tls12
        } else {
            TlsVersion::Tls13
        }
    }

    /// The IANA name.
    pub fn as_str(self) -> &'static str {
        match self {
            Suite::Tls13Aes128GcmSha256 => "TLS_AES_128_GCM_SHA256",
            Suite::Tls13Aes256GcmSha384 => "TLS_AES_256_GCM_SHA384",
            Suite::Tls13Chacha20Poly1305Sha256 => "TLS_CHACHA20_POLY1305_SHA256",
            Suite::Tls12EcdheEcdsaAes128GcmSha256 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Suite::Tls12EcdheEcdsaAes256GcmSha384 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Suite::Tls12EcdheEcdsaChacha20Poly1305 => {
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
            }
            Suite::Tls12EcdheRsaAes128GcmSha256 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Suite::Tls12EcdheRsaAes256GcmSha384 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Suite::Tls12EcdheRsaChacha20Poly1305 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }
}

impl Group {
    /// All groups, in the default order.
    pub const ALL: [Group; 4] = [
        Group::X25519MlKem768,
        Group::X25519,
        Group::Secp256r1,
        Group::Secp384r1,
    ];

    /// The IANA name.
    pub fn as_str(self) -> &'static str {
        match self {
            Group::X25519MlKem768 => "X25519MLKEM768",
            Group::X25519 => "X25519",
            Group::Secp256r1 => "secp256r1",
            Group::Secp384r1 => "secp384r1",
        }
    }
}

impl Default for TlsPolicy {
    fn default() -> Self {
        TlsPolicy {
            versions: vec![TlsVersion::Tls12, TlsVersion::Tls13],
            suites: Suite::ALL.to_vec(),
            groups: Group::ALL.to_vec(),
        }
    }
}

/// `tls` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    /// TLS versions.
    versions: Option<Vec<Located<TlsVersion>>>,
    /// Cipher suites by IANA name, in order of preference. Default: all that fit the versions.
    suites: Option<Vec<Located<Suite>>>,
    /// Key exchange groups by IANA name. The first of the client's that is listed is used.
    groups: Option<Vec<Located<Group>>>,
}

impl RawTls {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span) -> TlsPolicy {
        let default = TlsPolicy::default();
        let mut versions = chosen(check, table, self.versions, ("versions", default.versions));
        // The order in the file says nothing: the newest common version wins.
        versions.sort();
        let written = self.suites.is_some();
        for suite in self.suites.iter().flatten() {
            if !versions.contains(&suite.value.version()) {
                let version = suite.value.version().as_str();
                let message =
                    format!("this suite is of TLS {version}, which is not among the versions");
                check
                    .error(&suite.span, message)
                    .help("remove it, or add the version");
            }
        }
        let mut suites = chosen(check, table, self.suites, ("suites", default.suites));
        if !written {
            suites.retain(|suite| versions.contains(&suite.version()));
        }
        for version in &versions {
            let served = suites.iter().any(|suite| suite.version() == *version);
            if !served && !suites.is_empty() && !check.lost_key(table, "suites") {
                let version = version.as_str();
                check
                    .error(
                        table,
                        format!("no suite is of TLS {version}, so that version cannot work"),
                    )
                    .help(format!(
                        "add a suite of TLS {version}, or leave it out of `versions`"
                    ));
            }
        }
        let groups = chosen(check, table, self.groups, ("groups", default.groups));
        TlsPolicy {
            versions,
            suites,
            groups,
        }
    }
}

/// A written list, neither empty nor with repetitions, or the default.
fn chosen<T: Copy + Eq + std::hash::Hash>(
    check: &mut Check<'_>,
    table: &Span,
    written: Option<Vec<Located<T>>>,
    (key, default): (&str, Vec<T>),
) -> Vec<T> {
    let Some(written) = written else {
        return default;
    };
    check.distinct(&written, "this");
    if written.is_empty() {
        check
            .error(table, format!("`{key}` is empty"))
            .help("leave the key out for the default");
    }
    written.iter().map(|item| item.value).collect()
}
