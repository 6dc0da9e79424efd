//! RFC 7512.
/// A PKCS#11 URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Uri {}
