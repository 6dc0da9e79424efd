//! `X-Forwarded-Client-Cert`, in Envoy's form, from a verified identity.

use std::fmt::Write as _;

use http::HeaderValue;

use crate::identity::{ClientIdentity, Identity};

/// The header's value for a client; `None` where no identity was verified.
pub(super) fn value(client: &ClientIdentity) -> Option<HeaderValue> {
    let identity = client.verified()?;
    HeaderValue::try_from(text(identity)).ok()
}

fn text(identity: &Identity) -> String {
    let mut text = format!("Hash={}", identity.sha256_hex());
    push(&mut text, "Subject", &identity.subject, true);
    for uri in &identity.uris {
        push(&mut text, "URI", uri, false);
    }
    for name in &identity.dns {
        push(&mut text, "DNS", name, false);
    }
    text
}

/// Quotes a value where it holds a delimiter. What cannot stand in a header is percent-encoded;
/// the hash in front tells apart what might look the same.
fn push(text: &mut String, key: &str, value: &str, quote: bool) {
    let quote = quote || value.contains([',', ';', '=', '"', '\\', ' ']);
    let _ = write!(text, ";{key}="); // Writing to a String cannot fail.
    if quote {
        text.push('"');
    }
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    let _ = write!(text, "%{byte:02X}");
                }
            }
        }
    }
    if quote {
        text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn delimiters_and_control_characters_cannot_break_out() {
        let identity = Identity {
            uris: vec!["spiffe://a/b;By=x".to_owned()],
            dns: vec!["a.example".to_owned()],
            subject: "CN=a\"b\\c\r\nX: y, O=\u{e9}".to_owned(),
            sha256: [0xab; 32],
            ..Identity::default()
        };
        let expected = format!(
            "Hash={};Subject=\"CN=a\\\"b\\\\c%0D%0AX: y, O=%C3%A9\";URI=\"spiffe://a/b;By=x\";DNS=a.example",
            "ab".repeat(32)
        );
        assert_eq!(text(&identity), expected);
    }

    #[test]
    fn only_a_verified_identity_is_told() {
        let identity = Arc::new(Identity::default());
        assert!(value(&ClientIdentity::Absent).is_none());
        assert!(value(&ClientIdentity::Unverified(Arc::clone(&identity))).is_none());
        assert!(value(&ClientIdentity::Verified(identity)).is_some());
    }
}
