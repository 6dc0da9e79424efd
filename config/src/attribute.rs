//! Attributes of a distinguished name: the words the file has for them, and what they stand for.
//!
//! One table for both ways, so that a word of the file and a word of a log mean the same.

/// Short names of attributes with their object identifiers: what `subject` and `issuer` of a role take, and
/// what a name is written with. The names are those of RFC 4519 and RFC 2985, as registered with IANA.
pub const ATTRIBUTE_NAMES: [(&str, &str); 14] = [
    ("CN", "2.5.4.3"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("ST", "2.5.4.8"),
    ("L", "2.5.4.7"),
    ("STREET", "2.5.4.9"),
    ("serialNumber", "2.5.4.5"),
    ("title", "2.5.4.12"),
    ("givenName", "2.5.4.42"),
    ("SN", "2.5.4.4"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

/// The object identifier behind a short name, in whatever case it is written.
pub fn attribute_oid(name: &str) -> Option<&'static str> {
    let named = |entry: &&(&str, &str)| entry.0.eq_ignore_ascii_case(name);
    ATTRIBUTE_NAMES.iter().find(named).map(|(_, oid)| *oid)
}

/// The short name of an object identifier.
pub fn attribute_name(oid: &str) -> Option<&'static str> {
    let same = |entry: &&(&str, &str)| entry.1 == oid;
    ATTRIBUTE_NAMES.iter().find(same).map(|(name, _)| *name)
}
