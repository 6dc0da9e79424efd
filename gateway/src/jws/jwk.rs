//! Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037) and their thumbprints (RFC 7638).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_hsm::KeyKind;
use serde_json::{Map, Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::ecdsa;

/// The members that make the key, and no other. `None` for a SubjectPublicKeyInfo that is none of its kind.
pub(super) fn members(kind: KeyKind, spki: &[u8]) -> Option<Map<String, Value>> {
    let (rest, spki) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let text = |bytes: &[u8]| Value::String(URL_SAFE_NO_PAD.encode(bytes));
    let members = match kind {
        KeyKind::Rsa { .. } => {
            let PublicKey::RSA(key) = spki.parsed().ok()? else {
                return None;
            };
            json!({ "kty": "RSA", "n": text(trim(key.modulus)), "e": text(trim(key.exponent)) })
        }
        KeyKind::Ed25519 => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": text(&spki.subject_public_key.data) })
        }
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
            let width = ecdsa::width(kind)?;
            // SEC 1, section 2.3.3: an uncompressed point.
            let point = spki.subject_public_key.data.strip_prefix(&[4])?;
            let (x, y) = point.split_at_checked(width)?;
            if y.len() != width {
                return None;
            }
            let crv = curve(kind)?;
            json!({ "kty": "EC", "crv": crv, "x": text(x), "y": text(y) })
        }
    };
    match members {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// SHA-256 of the members in the order of their names, without spaces.
pub(super) fn thumbprint(members: &Map<String, Value>) -> String {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let text: Vec<String> = sorted
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    let text = format!("{{{}}}", text.join(","));
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn curve(kind: KeyKind) -> Option<&'static str> {
    match kind {
        KeyKind::EcdsaP256 => Some("P-256"),
        KeyKind::EcdsaP384 => Some("P-384"),
        KeyKind::EcdsaP521 => Some("P-521"),
        KeyKind::Ed25519 | KeyKind::Rsa { .. } => None,
    }
}

fn trim(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_of_key_is_not_misread() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
        assert!(members(KeyKind::EcdsaP256, &spki).is_some());
        assert_eq!(members(KeyKind::EcdsaP384, &spki), None);
        assert_eq!(members(KeyKind::Rsa { bits: 2048 }, &spki), None);
        assert_eq!(members(KeyKind::EcdsaP256, &spki[1..]), None);
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP\
            ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQ\
            MicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcR\
            wr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = json!({ "n": n, "kty": "RSA", "e": "AQAB" });
        let Value::Object(key) = key else { panic!() };
        assert_eq!(
            thumbprint(&key),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }
}
