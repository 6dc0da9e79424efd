//! SHA-256 fingerprints, as tools print them, and SPIFFE trust domains.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Located;
use crate::check::Check;
use crate::role::{parse_sha256, patterns};

const SHAPE: &str =
    "a SHA-256 has 64 hex digits, with or without colons between bytes, or 44 base64 characters";

/// A list of SHA-256 sums.
pub(super) fn fingerprints(
    check: &mut Check<'_>,
    written: Option<Vec<Located<String>>>,
) -> Vec<[u8; 32]> {
    patterns(check, written, parse)
}

/// A list of trust domains (SPIFFE ID, section 2.1).
pub(super) fn trust_domains(
    check: &mut Check<'_>,
    written: Option<Vec<Located<String>>>,
) -> Vec<String> {
    patterns(check, written, |text| {
        let in_domain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        match text {
            _ if text.starts_with("spiffe://") => {
                Err("write the trust domain alone, as in \"example.org\"")
            }
            _ if text.is_empty() || text.len() > 255 || !text.bytes().all(in_domain) => {
                Err("a trust domain has lower-case letters, digits, `.`, `-` and `_`")
            }
            _ => Ok(text.to_owned()),
        }
    })
}

/// Hex (`openssl x509 -fingerprint`), or base64 (RFC 7469 pins, with or without `sha256/`).
fn parse(text: &str) -> Result<[u8; 32], &'static str> {
    let text = text.strip_prefix("sha256/").unwrap_or(text);
    if text.len() != 44 {
        return parse_sha256(text).map_err(|_| SHAPE);
    }
    let bytes = STANDARD.decode(text).map_err(|_| SHAPE)?;
    bytes.try_into().map_err(|_| SHAPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_sum_is_refused() {
        for text in [
            "",
            "ab",
            &"g".repeat(64),
            &"A".repeat(44),
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
            &"a:".repeat(47),
        ] {
            assert_eq!(parse(text), Err(SHAPE), "{text}");
        }
    }

    #[test]
    fn hex_colons_and_base64_say_the_same() {
        let sum: [u8; 32] = std::array::from_fn(|at| at as u8 * 7);
        let hex: Vec<String> = sum.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(parse(&hex.concat()), Ok(sum));
        assert_eq!(parse(&hex.join(":")), Ok(sum));
        assert_eq!(
            parse("sha256/AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk="),
            Ok(sum)
        );
    }
}
