//! `[deny]`: clients that are turned away whatever their certificate says.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::Check;
use crate::role::{parse_sha256, parse_spiffe, patterns};
use crate::schema::one_or_many;

/// `[deny]`: the part of the deny list that is in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deny {
    /// SHA-256 of client certificates (DER).
    pub sha256: Vec<[u8; 32]>,
    /// Serial numbers, lower-case hex without leading zeros.
    pub serial: Vec<String>,
    /// SPIFFE IDs, exact, or with a last segment `*` or `**`, as in roles.
    pub spiffe: Vec<String>,
}

/// `[deny]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDeny {
    /// SHA-256 of client certificates (DER), in hex, with or without colons.
    #[schemars(schema_with = "one_or_many::<String>")]
    sha256: Option<Vec<Located<String>>>,
    /// Serial numbers in hex, with or without colons, of whatever issuer.
    #[schemars(schema_with = "one_or_many::<String>")]
    serial: Option<Vec<Located<String>>>,
    /// SPIFFE IDs, exact, or with `*` (one segment) or `**` (one or more) as last segment.
    #[schemars(schema_with = "one_or_many::<String>")]
    spiffe: Option<Vec<Located<String>>>,
}

impl RawDeny {
    pub(crate) fn check(self, check: &mut Check<'_>) -> Deny {
        Deny {
            sha256: patterns(check, self.sha256, parse_sha256),
            serial: patterns(check, self.serial, parse_serial),
            spiffe: patterns(check, self.spiffe, parse_spiffe),
        }
    }
}

/// The one way a serial number is compared. For the command line, too.
pub fn parse_serial(text: &str) -> Result<String, &'static str> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    // RFC 5280, section 4.1.2.2: at most 20 octets.
    if digits.is_empty()
        || digits.len() > 40
        || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Err("a serial number has 1 to 40 hex digits, with or without colons");
    }
    match digits.trim_start_matches('0') {
        "" => Ok("0".to_owned()),
        digits => Ok(digits.to_owned()),
    }
}
