//! Distinguished names: as text of RFC 4514, and attribute by attribute for roles.
//!
//! The text is the RFC's: the last RDN first, short names where they are registered, `#` and the bytes where
//! there is none or the value is no text. What could break a line or a quotation is escaped.

use std::fmt::Write as _;

use portcullis_config::attribute_name;
use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::hex;

/// One attribute of a subject or an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// What it is, as a dotted object identifier.
    pub oid: String,
    /// Its value, where that is text.
    pub value: String,
}

/// The attributes of a name whose values are text, in the order of the certificate.
pub(super) fn attributes(name: &X509Name<'_>) -> Vec<Attribute> {
    let read = |attribute: &AttributeTypeAndValue<'_>| {
        Some(Attribute {
            oid: attribute.attr_type().to_id_string(),
            value: text_of(attribute.attr_value())?,
        })
    };
    name.iter_attributes().filter_map(read).collect()
}

/// The name as text of RFC 4514.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let rdns: Vec<_> = name.iter_rdn().collect();
    for (at, rdn) in rdns.iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in rdn.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    match (attribute_name(&oid), text_of(value)) {
        (Some(name), Some(value)) => {
            text.push_str(name);
            text.push('=');
            push_escaped(text, &value);
        }
        (name, _) => {
            // An encoding that was read can be written again; an empty one would say the value is not there.
            let der = value.to_der_vec().unwrap_or_default();
            let _ = write!(text, "{}=#{}", name.unwrap_or(&oid), hex(&der)); // A String takes everything.
        }
    }
}

/// Section 2.4, and control characters besides.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, c) in value.char_indices() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            _ if c.is_control() => {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    let _ = write!(text, "\\{byte:02X}"); // A String takes everything.
                }
            }
            _ => text.push(c),
        }
    }
}

/// The text of a value of one of the string types of RFC 5280.
fn text_of(value: &Any<'_>) -> Option<String> {
    let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match value.tag() {
        Tag::Utf8String => utf8(value.data),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            utf8(value.data).filter(|text| text.is_ascii())
        }
        Tag::BmpString => {
            let (pairs, rest) = value.data.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::FromDer;

    use super::*;

    /// One attribute of an RDN: object identifier (DER), tag and content of the value.
    type Part<'a> = (&'a [u8], u8, &'a [u8]);

    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];
    const UNKNOWN: &[u8] = &[0x2a, 3, 4];
    const UTF8: u8 = 0x0c;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128);
        [&[tag, length], content].concat()
    }

    fn name(rdns: &[&[Part<'_>]]) -> Vec<u8> {
        let part =
            |(oid, tag, value): &Part<'_>| tlv(0x30, &[tlv(6, oid), tlv(*tag, value)].concat());
        let rdn =
            |parts: &&[Part<'_>]| tlv(0x31, &parts.iter().map(part).collect::<Vec<_>>().concat());
        tlv(0x30, &rdns.iter().map(rdn).collect::<Vec<_>>().concat())
    }

    fn written(rdns: &[&[Part<'_>]]) -> String {
        rfc4514(&X509Name::from_der(&name(rdns)).unwrap().1)
    }

    #[test]
    fn what_could_break_out_of_a_value_is_escaped() {
        for (value, expected) in [
            ("a,b+c\"d\\e<f>g;h=i", "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"),
            (" a ", "\\ a\\ "),
            (" ", "\\ "),
            ("#a#", "\\#a#"),
            ("a b", "a b"),
            ("a\r\n\0b", "a\\0D\\0A\\00b"),
            ("L\u{fc}", "L\u{fc}"),
            ("", ""),
        ] {
            let text = written(&[&[(CN, UTF8, value.as_bytes())]]);
            assert_eq!(text, format!("CN={expected}"));
        }
    }

    #[test]
    fn the_last_rdn_stands_first_and_one_of_several_attributes_stays_together() {
        let rdns: [&[Part<'_>]; 3] = [
            &[(O, UTF8, b"Acme")],
            &[(CN, UTF8, b"a"), (O, UTF8, b"b")],
            &[(CN, 0x13, b"orders")],
        ];
        assert_eq!(written(&rdns), "CN=orders,CN=a+O=b,O=Acme");
        assert_eq!(written(&[]), "");
    }

    #[test]
    fn a_type_without_a_name_and_a_value_that_is_no_text_are_written_as_bytes() {
        assert_eq!(written(&[&[(UNKNOWN, UTF8, b"a")]]), "1.2.3.4=#0c0161");
        assert_eq!(written(&[&[(CN, 4, b"a")]]), "CN=#040161");
        assert_eq!(written(&[&[(CN, 0x1e, &[0, 0x41])]]), "CN=A");
        assert_eq!(written(&[&[(CN, 0x1e, &[0])]]), "CN=#1e0100");
    }

    #[test]
    fn attributes_are_those_with_text() {
        let der = name(&[
            &[(O, UTF8, b"Acme"), (CN, 4, b"a")],
            &[(UNKNOWN, UTF8, b"x")],
        ]);
        let found = attributes(&X509Name::from_der(&der).unwrap().1);
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.oid.as_str(), found.value.as_str()))
            .collect();
        assert_eq!(found, [("2.5.4.10", "Acme"), ("1.2.3.4", "x")]);
    }
}
