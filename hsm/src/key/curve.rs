//! `CKA_EC_PARAMS` of the curves that serve TLS: DER object identifiers (RFC 5480, RFC 8410).

use super::KeyKind;

/// NIST P-256, prime256v1.
pub(crate) const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// NIST P-384, secp384r1.
pub(crate) const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";

/// NIST P-521, secp521r1.
pub(crate) const P521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";

/// Ed25519 (RFC 8410).
pub(crate) const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

/// Ed25519 by its name, a PrintableString, as PKCS#11 3.0 section 2.3.10 has it.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// Ed25519 by the identifier from before RFC 8410, which some tokens still return.
const ED25519_OLD: &[u8] = b"\x06\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01";

/// The kind of a key on this curve, if it serves TLS.
pub(crate) fn kind(params: &[u8]) -> Option<KeyKind> {
    match params {
        P256 => Some(KeyKind::EcdsaP256),
        P384 => Some(KeyKind::EcdsaP384),
        P521 => Some(KeyKind::EcdsaP521),
        ED25519 | ED25519_NAME | ED25519_OLD => Some(KeyKind::Ed25519),
        _ => None,
    }
}
