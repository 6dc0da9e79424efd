//! Attributes of a distinguished name: the words the file has for them, and `{ O = "Acme", OU = "A" }` of a role.
//!
//! One table for both ways, so that a word of the file and a word of a log mean the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::Located;
use crate::check::Check;
use crate::schema::one_or_many;
use crate::value::{did_you_mean, quoted};

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

/// Attributes that a name must have, all of them. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// Object identifier (dotted) and exact value, sorted.
    pub attributes: Vec<(String, String)>,
}

/// `{ O = "Acme", OU = "Payments" }` as written.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct RawNamePattern(BTreeMap<Located<String>, Vec<Located<String>>>);

impl JsonSchema for RawNamePattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NamePattern".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = one_or_many::<String>(generator);
        json_schema!({ "type": "object", "additionalProperties": values })
    }
}

impl Located<RawNamePattern> {
    pub(crate) fn check(self, check: &mut Check<'_>) -> Option<NamePattern> {
        if self.value.0.is_empty() && !check.lost_tables() {
            check
                .error(&self.span, "this matches every name: it has no attribute")
                .help("write at least one, as in `{ O = \"Acme\" }`");
            return None;
        }
        let mut attributes = Vec::new();
        for (name, values) in self.value.0 {
            let oid = match attribute_oid(&name.value) {
                Some(oid) => oid.to_owned(),
                None if is_oid(&name.value) => name.value.clone(),
                None => {
                    let known = ATTRIBUTE_NAMES.map(|(name, _)| name);
                    let help = match did_you_mean(&name.value, known) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!(
                            "known are {}; or write a dotted OID in quotes",
                            known.join(", ")
                        ),
                    };
                    let message = format!("no attribute is called {}", quoted(&name.value));
                    check.error(&name.span, message).help(help);
                    continue;
                }
            };
            for value in values {
                if value.value.is_empty() {
                    check.error(&value.span, "the value of an attribute is not empty");
                }
                attributes.push((oid.clone(), value.value));
            }
        }
        attributes.sort();
        attributes.dedup();
        (!attributes.is_empty()).then_some(NamePattern { attributes })
    }
}

/// Whether this is a dotted object identifier, written the one way it is compared.
pub(crate) fn is_oid(text: &str) -> bool {
    let arc = |arc: &str| {
        let plain = arc == "0" || !arc.starts_with('0');
        (1..=39).contains(&arc.len()) && plain && arc.bytes().all(|byte| byte.is_ascii_digit())
    };
    let arcs: Vec<_> = text.split('.').collect();
    arcs.len() >= 2 && matches!(arcs[0], "0" | "1" | "2") && arcs.iter().all(|text| arc(text))
}
