//! `tls = { versions, suites, groups }`: what is negotiated.
/// TLS policy of a site.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsPolicy {
    /// Never empty. Default both.
    pub versions: Vec<TlsVersion>,
    /// In order of preference, never empty, at least one for every version. Default all.
    pub suites: Vec<Suite>,
    /// In order of preference, never empty. Default `X25519MLKEM768, X25519, secp256r1, secp384r1`.
    pub groups: Vec<Group>,
}

/// A TLS version: `"1.2"`, `"1.3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246, with extended master secret (RFC 7627) required.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A cipher suite, by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the IANA names say it")]
pub enum Suite {
    Tls13Aes128GcmSha256,
    Tls13Aes256GcmSha384,
    Tls13Chacha20Poly1305Sha256,
    Tls12EcdheEcdsaAes128GcmSha256,
    Tls12EcdheEcdsaAes256GcmSha384,
    Tls12EcdheEcdsaChacha20Poly1305,
    Tls12EcdheRsaAes128GcmSha256,
    Tls12EcdheRsaAes256GcmSha384,
    Tls12EcdheRsaChacha20Poly1305,
}

/// A key exchange group, by its IANA name (`X25519MLKEM768`, `X25519`, `secp256r1`, `secp384r1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the IANA names say it")]
pub enum Group {
    X25519MlKem768,
    X25519,
    Secp256r1,
    Secp384r1,
}
