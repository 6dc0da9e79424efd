//! `X-Forwarded-Client-Cert` in Envoy's form: elements with `,` between them, parts with `;`, each
//! `KEY=VALUE`, a value with delimiters in double quotes.
//!
//! What [`element`] writes, [`parse`] reads back to the same values. Inside quotes both `"` and `\` are
//! escaped: Envoy leaves `\` alone, which a name that ends in one could break out of.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_config::XfccDetail;
use rustls_pki_types::CertificateDer;

use crate::identity::Identity;

/// Longest value that is kept or made.
pub const MAX: usize = 64 * 1024;
/// Longest certificate or chain in an element, as it is written.
const MAX_PEM: usize = 32 * 1024;
/// Elements of a value that is kept: proxies on the way.
const MAX_ELEMENTS: usize = 64;
/// Parts of a value that is kept.
const MAX_PARTS: usize = 8192;
const MAX_KEY: usize = 16;

/// Parts of an element, keys as they were written, values without quotes and escapes.
pub type Parts<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// The element for a verified client; `by` are the URI names of our own certificate. Where it would be longer
/// than [`MAX`] it says `By` and `Hash` alone; where a certificate or chain is too long, it is left out.
pub fn element(
    identity: &Identity,
    chain: &[CertificateDer<'_>],
    by: &[String],
    details: &[XfccDetail],
) -> String {
    let mut text = String::new();
    for uri in by {
        part(&mut text, "By", uri);
    }
    part(&mut text, "Hash", &identity.sha256_hex());
    let short = text.len();
    let has = |detail| details.contains(&detail);
    if has(XfccDetail::Cert) {
        pem(&mut text, "Cert", chain.get(..1).unwrap_or_default());
    }
    if has(XfccDetail::Chain) {
        pem(&mut text, "Chain", chain);
    }
    if has(XfccDetail::Subject) {
        quoted(&mut text, "Subject", &identity.subject);
    }
    if has(XfccDetail::Uri) {
        // As Envoy: the key is there also without a URI.
        let none = [String::new()];
        let uris = Some(&*identity.uris).filter(|uris| !uris.is_empty());
        for uri in uris.unwrap_or(&none) {
            part(&mut text, "URI", uri);
        }
    }
    if has(XfccDetail::Dns) {
        for name in &identity.dns {
            part(&mut text, "DNS", name);
        }
    }
    if text.len() > MAX {
        tracing::debug!(
            bytes = text.len(),
            "x-forwarded-client-cert says the hash alone"
        );
        text.truncate(short);
    }
    text
}

/// Quotes a value where it holds a delimiter.
fn part(text: &mut String, key: &str, value: &str) {
    if value.contains([',', ';', '=', '"', '\\', ' ']) {
        return quoted(text, key, value);
    }
    begin(text, key);
    value.chars().for_each(|c| push(text, c));
}

fn quoted(text: &mut String, key: &str, value: &str) {
    begin(text, key);
    text.push('"');
    value.chars().for_each(|c| push(text, c));
    text.push('"');
}

fn begin(text: &mut String, key: &str) {
    let gap = if text.is_empty() { "" } else { ";" };
    let _ = write!(text, "{gap}{key}="); // Writing to a String cannot fail.
}

/// What cannot stand in a header is percent-encoded; the hash in front tells apart what might look the same.
fn push(text: &mut String, c: char) {
    match c {
        '"' | '\\' => text.extend(['\\', c]),
        ' '..='~' => text.push(c),
        _ => {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                let _ = write!(text, "%{byte:02X}"); // Writing to a String cannot fail.
            }
        }
    }
}

/// PEM with lines of 64 characters, URL-encoded as Envoy does. Nothing where there is no certificate, or too much.
fn pem(text: &mut String, key: &str, certificates: &[CertificateDer<'_>]) {
    let mut value = String::new();
    for certificate in certificates {
        value.push_str("-----BEGIN%20CERTIFICATE-----%0A");
        for line in certificate.chunks(48) {
            for c in STANDARD.encode(line).chars() {
                match c {
                    '+' => value.push_str("%2B"),
                    '/' => value.push_str("%2F"),
                    '=' => value.push_str("%3D"),
                    _ => value.push(c),
                }
            }
            value.push_str("%0A");
        }
        value.push_str("-----END%20CERTIFICATE-----%0A");
        if value.len() > MAX_PEM {
            let bytes = certificate.len();
            tracing::debug!(
                key,
                bytes,
                "a certificate is too large for x-forwarded-client-cert"
            );
            return;
        }
    }
    if !value.is_empty() {
        quoted(text, key, &value);
    }
}

/// The elements of a value, if it is a well-formed list within the bounds.
pub fn parse(value: &str) -> Option<Vec<Parts<'_>>> {
    if value.len() > MAX || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let mut elements = vec![Parts::new()];
    let (mut rest, mut count) = (value.trim_matches(' '), 0);
    loop {
        let (found, after) = read_part(rest)?;
        count += 1;
        elements.last_mut()?.push(found);
        if count > MAX_PARTS || elements.len() > MAX_ELEMENTS {
            return None;
        }
        rest = match after.trim_start_matches(' ').strip_prefix(',') {
            Some(next) => {
                elements.push(Parts::new());
                next.trim_start_matches(' ')
            }
            None if after.is_empty() => return Some(elements),
            None => after.strip_prefix(';')?,
        };
    }
}

/// `KEY=VALUE` and what follows it.
fn read_part(text: &str) -> Option<((&str, Cow<'_, str>), &str)> {
    let (key, rest) = text.split_once('=')?;
    let plain = key.bytes().all(|byte| byte.is_ascii_alphabetic());
    if key.is_empty() || key.len() > MAX_KEY || !plain {
        return None;
    }
    if let Some(rest) = rest.strip_prefix('"') {
        let (value, rest) = read_quoted(rest)?;
        return Some(((key, value), rest));
    }
    let end = rest.find([',', ';', '"', '\\', ' ']).unwrap_or(rest.len());
    let (value, rest) = rest.split_at(end);
    Some(((key, Cow::Borrowed(value)), rest))
}

/// The inside of a quoted string whose first quote was read, and what follows the last.
fn read_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        let (before, found) = rest.split_at(at);
        if let Some(after) = found.strip_prefix('"') {
            return Some(match value.is_empty() {
                true => (Cow::Borrowed(before), after),
                false => (Cow::Owned(value + before), after),
            });
        }
        let escaped = found[1..].chars().next()?;
        value.push_str(before);
        value.push(escaped);
        rest = &found[1 + escaped.len_utf8()..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [XfccDetail; 5] = [
        XfccDetail::Dns,
        XfccDetail::Uri,
        XfccDetail::Subject,
        XfccDetail::Chain,
        XfccDetail::Cert,
    ];

    fn identity(subject: &str, uris: &[&str], dns: &[&str]) -> Identity {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Identity {
            uris: owned(uris),
            dns: owned(dns),
            subject: subject.to_owned(),
            sha256: [0xab; 32],
            ..Identity::default()
        }
    }

    fn plain(details: &[XfccDetail], identity: &Identity) -> String {
        element(
            identity,
            &[CertificateDer::from(vec![0xfb; 50])],
            &[],
            details,
        )
    }

    #[test]
    fn what_is_no_list_of_elements_is_not_read() {
        for value in [
            "",
            " ",
            ",",
            ";",
            "Hash",
            "=a",
            "Hash=a;",
            "Hash=a,",
            ",Hash=a",
            "Hash=a;;URI=b",
            "Subject=\"a",
            "Subject=\"a\\\"",
            "Subject=\"a\"b",
            "Subject=\"a\" ;URI=b",
            "Hash=a b",
            "Hash=a\"b\"",
            "Hash=a\\,b",
            "Ha sh=a",
            "Hash =a",
            "H\u{e9}=a",
            "Subject=\"\u{e9}\"",
            "Subject=\"a\r\nX: y\"",
            "Hash=a\tb",
            "ABCDEFGHIJKLMNOPQ=a",
        ] {
            assert_eq!(parse(value), None, "{value:?}");
        }
        assert_eq!(parse(&"H=a,".repeat(MAX_ELEMENTS + 1)), None);
        let many = vec!["H=a"; MAX_ELEMENTS].join(",");
        assert!(parse(&many).is_some());
        assert_eq!(parse(&format!("{many},H=a")), None);
        assert_eq!(parse(&vec!["D=a"; MAX_PARTS + 1].join(";")), None);
        assert_eq!(parse(&format!("H={}", "a".repeat(MAX))), None);
    }

    #[test]
    fn envoys_own_example_is_read() {
        let value = "By=http://frontend.lyft.com;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a\
            02dd8de688;Subject=\"/C=US/ST=CA/L=San Francisco/OU=Lyft/CN=Test Client\";URI=http://testclient\
            .lyft.com,By=http://backend.lyft.com;Hash=9ba61d6425303443c0748a02dd8de688468ed33be74eee6556d90c\
            0149c1309e;URI=http://frontend.lyft.com?a=b;DNS=";
        let elements = parse(value).unwrap();
        assert_eq!(elements.len(), 2);
        assert_eq!(
            elements[0][2].1,
            "/C=US/ST=CA/L=San Francisco/OU=Lyft/CN=Test Client"
        );
        assert_eq!(
            elements[1][2],
            ("URI", "http://frontend.lyft.com?a=b".into())
        );
        assert_eq!(elements[1][3], ("DNS", "".into()));
    }

    #[test]
    fn delimiters_and_control_characters_cannot_break_out() {
        let names = identity(
            "CN=a\"b\\c\r\nX: y, O=\u{e9}",
            &["spiffe://a/b;By=x"],
            &["a.example"],
        );
        let expected = format!(
            "Hash={};Subject=\"CN=a\\\"b\\\\c%0D%0AX: y, O=%C3%A9\";URI=\"spiffe://a/b;By=x\";DNS=a.example",
            "ab".repeat(32)
        );
        assert_eq!(plain(&ALL[..3], &names), expected);
    }

    #[test]
    fn parts_stand_in_envoys_order_and_certificates_in_its_encoding() {
        let text = element(
            &identity("CN=a", &[], &[]),
            &[
                CertificateDer::from(vec![0xfb; 50]),
                CertificateDer::from(vec![1]),
            ],
            &["spiffe://gateway".to_owned()],
            &ALL,
        );
        let line = "%2B%2Fv7".repeat(16);
        let cert = format!(
            "-----BEGIN%20CERTIFICATE-----%0A{line}%0A%2B%2Fs%3D%0A-----END%20CERTIFICATE-----%0A"
        );
        let issuer = "-----BEGIN%20CERTIFICATE-----%0AAQ%3D%3D%0A-----END%20CERTIFICATE-----%0A";
        let hash = "ab".repeat(32);
        assert_eq!(
            text,
            format!(
                "By=spiffe://gateway;Hash={hash};Cert=\"{cert}\";Chain=\"{cert}{issuer}\";Subject=\"CN=a\";URI="
            )
        );
    }

    #[test]
    fn what_is_too_large_is_left_out_and_the_hash_is_not() {
        let many: Vec<String> = (0..5000).map(|n| format!("host-{n}.example.com")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text = plain(&ALL, &identity("CN=a", &[], &many));
        assert_eq!(text, format!("Hash={}", "ab".repeat(32)));
        let large = [CertificateDer::from(vec![1; MAX_PEM])];
        let text = element(&identity("CN=a", &[], &[]), &large, &[], &ALL);
        assert!(text.ends_with(";Subject=\"CN=a\";URI="), "{text}");
        assert!(!text.contains("Cert") && !text.contains("Chain"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            subject in "\\PC*|[\"\\\\,;= a]*", uri in "[ -~]*", dns in "[ -~]{0,9}", by in "[!-~]+",
        ) {
            let names = identity(&subject, &[&uri], &[&dns, "x"]);
            let text = element(&names, &[], std::slice::from_ref(&by), &ALL);
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let elements = parse(&text).unwrap();
            prop_assert_eq!(elements.len(), 1);
            let keys: Vec<_> = elements[0].iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(keys, ["By", "Hash", "Subject", "URI", "DNS", "DNS"]);
            prop_assert_eq!(&*elements[0][0].1, by);
            prop_assert_eq!(&*elements[0][3].1, uri);
            prop_assert_eq!(&*elements[0][4].1, dns);
            if subject.is_ascii() {
                prop_assert_eq!(&*elements[0][2].1, subject);
            }
        }

        #[test]
        fn what_is_read_appends_to_a_list_that_is_read(value in "[A-C]{1,2}=[a\",;=\\\\ ]{0,12}") {
            if let Some(elements) = parse(&value) {
                let both = format!("{value},Hash=00");
                let all = parse(&both).unwrap();
                prop_assert_eq!(all.len(), elements.len() + 1);
                prop_assert_eq!(&all[..elements.len()], &elements[..]);
            }
        }
    }
}
