//! SHA-256 fingerprints, as tools print them, and SPIFFE trust domains.
use crate::Located;
use crate::check::Check;
use crate::role::patterns;

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
    if text.len() == 44 {
        return base64(text).ok_or(SHAPE);
    }
    let digits = match text.len() {
        64 => text.to_owned(),
        95 if text.bytes().skip(2).step_by(3).all(|byte| byte == b':') => text.replace(':', ""),
        _ => return Err(SHAPE),
    };
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(SHAPE);
    }
    let mut sum = [0; 32];
    for (index, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).map_err(|_| SHAPE)?;
    }
    Ok(sum)
}

/// 32 bytes in standard base64 (RFC 4648, section 4).
fn base64(text: &str) -> Option<[u8; 32]> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let text = text.strip_suffix('=')?;
    let (mut sum, mut filled) = ([0; 32], 0);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes() {
        bits = bits << 6 | u32::from(value(byte)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            *sum.get_mut(filled)? = u8::try_from(bits >> held & 0xff).ok()?;
            filled += 1;
        }
    }
    // The last character carries two bits that must be zero.
    (filled == 32 && bits & ((1 << held) - 1) == 0).then_some(sum)
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
