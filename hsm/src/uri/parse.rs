//! The grammar of RFC 7512 section 2.3, and what it refuses.
//!
//! An error names the attribute, never its value: what was written in the wrong place may be a PIN.

use std::fmt;
use std::str::FromStr;

use super::{Attribute, ObjectType, Pkcs11Uri};

/// Why a text is not a PKCS#11 URI. No variant holds a value of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriError {
    /// It does not begin with `pkcs11:`.
    Scheme,
    /// The attribute at this place (counted from 1) has no `name=` or a name with a foreign character.
    Attribute(usize),
    /// An attribute is given twice.
    Duplicate(String),
    /// A query attribute stands in the path, or the other way round.
    Misplaced(String),
    /// A character that must be percent-encoded, or a broken escape.
    Encoding(String),
    /// The value of an attribute is not what RFC 7512 allows for it.
    Value {
        /// Whose value.
        name: String,
        /// What was expected.
        expected: &'static str,
    },
    /// `pin-value`: a PIN does not belong into a URI, which is logged and listed.
    PinValue,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UriError::Scheme => f.write_str("a PKCS#11 URI begins with `pkcs11:`"),
            UriError::Attribute(at) => write!(f, "attribute {at} is not of the form `name=value`"),
            UriError::Duplicate(name) => write!(f, "attribute `{name}` is given twice"),
            UriError::Misplaced(name) => write!(
                f,
                "attribute `{name}` is on the wrong side of `?`: only pin-source, module-name and \
                 module-path stand behind it"
            ),
            UriError::Encoding(name) => write!(
                f,
                "attribute `{name}` has a character that must be percent-encoded, or a broken `%` escape"
            ),
            UriError::Value { name, expected } => {
                write!(f, "attribute `{name}` must be {expected}")
            }
            UriError::PinValue => f.write_str(
                "a PIN must not stand in a URI: remove `pin-value` and name a PIN source instead",
            ),
        }
    }
}

impl std::error::Error for UriError {}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    /// Parses by the grammar of RFC 7512 section 2.3; the scheme is matched in any case (RFC 3986).
    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = match text.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("pkcs11:") => rest,
            _ => return Err(UriError::Scheme),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Pkcs11Uri::default();
        let mut at = 0;
        for attribute in path.split(';').filter(|_| !path.is_empty()) {
            at += 1;
            let (name, value) = split(attribute, at)?;
            uri.take_path(name, decode(name, value, is_path_char)?)?;
        }
        for attribute in query.split('&').filter(|_| !query.is_empty()) {
            at += 1;
            let (name, value) = split(attribute, at)?;
            uri.take_query(name, decode(name, value, is_query_char)?)?;
        }
        Ok(uri)
    }
}

impl Pkcs11Uri {
    fn take_path(&mut self, name: &str, value: Vec<u8>) -> Result<(), UriError> {
        if Attribute::QUERY.iter().any(|a| a.name() == name) {
            return Err(UriError::Misplaced(name.to_owned()));
        }
        let Some(attribute) = Attribute::PATH.into_iter().find(|a| a.name() == name) else {
            return set(
                name,
                self.vendor_path.insert(name.to_owned(), utf8(name, value)?),
            );
        };
        match attribute {
            Attribute::Id => set(name, self.id.replace(value)),
            Attribute::Type => set(name, self.object_type.replace(object_type(&value)?)),
            Attribute::SlotId => set(name, self.slot_id.replace(slot_id(&value)?)),
            Attribute::LibraryVersion => {
                let version = library_version(utf8(name, value)?)?;
                set(name, self.text.insert(attribute, version))
            }
            text => set(name, self.text.insert(text, utf8(name, value)?)),
        }
    }

    fn take_query(&mut self, name: &str, value: Vec<u8>) -> Result<(), UriError> {
        if Attribute::PATH.iter().any(|a| a.name() == name) {
            return Err(UriError::Misplaced(name.to_owned()));
        }
        let value = utf8(name, value)?;
        match Attribute::QUERY.into_iter().find(|a| a.name() == name) {
            Some(attribute) => set(name, self.text.insert(attribute, value)),
            None => {
                self.vendor_query.push((name.to_owned(), value));
                Ok(())
            }
        }
    }
}

/// `pk11-pchar` of RFC 7512 without its escapes.
pub(super) fn is_path_char(byte: u8) -> bool {
    is_common_char(byte) || byte == b'&'
}

/// `pk11-qchar` of RFC 7512 without its escapes.
pub(super) fn is_query_char(byte: u8) -> bool {
    is_common_char(byte) || b"/?|".contains(&byte)
}

fn is_common_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=".contains(&byte)
}

fn split(attribute: &str, at: usize) -> Result<(&str, &str), UriError> {
    let (name, value) = attribute.split_once('=').ok_or(UriError::Attribute(at))?;
    let name_char = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || !name.bytes().all(name_char) {
        return Err(UriError::Attribute(at));
    }
    // A near miss of the spelling would be kept as a vendor attribute, and printed.
    if name.replace('_', "-").eq_ignore_ascii_case("pin-value") {
        return Err(UriError::PinValue);
    }
    Ok((name, value))
}

fn decode(name: &str, value: &str, plain: fn(u8) -> bool) -> Result<Vec<u8>, UriError> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'%' => hex(bytes.next())
                .zip(hex(bytes.next()))
                .map(|(high, low)| high << 4 | low),
            byte => plain(byte).then_some(byte),
        };
        out.push(decoded.ok_or_else(|| UriError::Encoding(name.to_owned()))?);
    }
    Ok(out)
}

fn hex(digit: Option<u8>) -> Option<u8> {
    let value = char::from(digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

fn set<T>(name: &str, previous: Option<T>) -> Result<(), UriError> {
    match previous {
        Some(_) => Err(UriError::Duplicate(name.to_owned())),
        None => Ok(()),
    }
}

fn utf8(name: &str, value: Vec<u8>) -> Result<String, UriError> {
    let text = String::from_utf8(value)
        .ok()
        .filter(|text| !text.contains('\0'));
    text.ok_or_else(|| UriError::Value {
        name: name.to_owned(),
        expected: "UTF-8 text",
    })
}

fn object_type(value: &[u8]) -> Result<ObjectType, UriError> {
    use ObjectType::{Certificate, Data, Private, Public, SecretKey};
    let all = [Public, Private, Certificate, SecretKey, Data];
    let found = all.into_iter().find(|t| t.as_str().as_bytes() == value);
    found.ok_or_else(|| UriError::Value {
        name: "type".to_owned(),
        expected: "one of public, private, cert, secret-key, data",
    })
}

fn slot_id(value: &[u8]) -> Result<u64, UriError> {
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|v| v.parse().ok());
    number.ok_or_else(|| UriError::Value {
        name: "slot-id".to_owned(),
        expected: "a number",
    })
}

fn library_version(value: String) -> Result<String, UriError> {
    let (major, minor) = value.split_once('.').unwrap_or((&value, "0"));
    let number = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit());
    if number(major) && number(minor) {
        return Ok(value);
    }
    Err(UriError::Value {
        name: "library-version".to_owned(),
        expected: "`major` or `major.minor`",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{ObjectType, Pkcs11Uri, UriError};

    fn refused(text: &str) -> UriError {
        text.parse::<Pkcs11Uri>().expect_err(text)
    }

    #[test]
    fn examples_of_rfc_7512_section_3_are_read() {
        for text in [
            "pkcs11:",
            "pkcs11:object=my-pubkey;type=public",
            "pkcs11:object=my-key;type=private?pin-source=file:/etc/token",
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;\
             model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?\
             pin-source=file:/etc/token_pin",
            "pkcs11:object=my-sign-key;type=private?module-name=mypkcs11",
            "pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1",
            "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?\
             pin-source=%7Cprog-name",
            "pkcs11:slot-description=Sun%20Metaslot",
            "pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;\
             library-version=1.23",
            "pkcs11:vendor=aaa?vendor=bbb&vendor=ccc",
            "pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06",
            "pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert",
            "pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert",
            "pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a?\
             pin-source=file:/etc/token_pin&vendor-bbb=value-b",
        ] {
            let uri: Pkcs11Uri = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let canonical = uri.to_string();
            assert_eq!(
                canonical.parse::<Pkcs11Uri>().as_ref(),
                Ok(&uri),
                "{canonical}"
            );
        }
    }

    #[test]
    fn every_attribute_is_told() {
        let text = "pkcs11:token=t;manufacturer=m;serial=00ff;model=v;library-manufacturer=lm;\
                    library-description=ld;library-version=2.40;slot-manufacturer=sm;\
                    slot-description=sd;slot-id=721611277;object=o;type=secret-key;id=%00%FF;x-a=1?\
                    pin-source=/run/pin|a?b&module-name=n&module-path=/usr/lib/m.so&x-b=1&x-b=2";
        let uri: Pkcs11Uri = text.parse().unwrap();
        assert_eq!(uri.token(), Some("t"));
        assert_eq!(uri.manufacturer(), Some("m"));
        assert_eq!(uri.serial(), Some("00ff"));
        assert_eq!(uri.model(), Some("v"));
        assert_eq!(uri.library_manufacturer(), Some("lm"));
        assert_eq!(uri.library_description(), Some("ld"));
        assert_eq!(uri.library_version(), Some("2.40"));
        assert_eq!(uri.slot_manufacturer(), Some("sm"));
        assert_eq!(uri.slot_description(), Some("sd"));
        assert_eq!(uri.slot_id(), Some(721_611_277));
        assert_eq!(uri.object(), Some("o"));
        assert_eq!(uri.object_type(), Some(ObjectType::SecretKey));
        assert_eq!(uri.id(), Some(&[0, 255][..]));
        assert_eq!(uri.pin_source(), Some("/run/pin|a?b"));
        assert_eq!(uri.module_name(), Some("n"));
        assert_eq!(uri.module_path(), Some("/usr/lib/m.so"));
        assert_eq!(uri.vendor_path("x-a"), Some("1"));
        assert_eq!(uri.vendor_query("x-b").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(uri.to_string(), text);
    }

    #[test]
    fn broken_uris_are_refused() {
        assert_eq!(refused("pkcs1:token=a"), UriError::Scheme);
        assert_eq!(refused("é"), UriError::Scheme);
        assert_eq!(refused("pkcs11:token"), UriError::Attribute(1));
        assert_eq!(refused("pkcs11:token=a;"), UriError::Attribute(2));
        assert_eq!(refused("pkcs11:to ken=a"), UriError::Attribute(1));
        assert_eq!(
            refused("pkcs11:token=a;token=b"),
            UriError::Duplicate("token".into())
        );
        assert_eq!(refused("pkcs11:x=a;x=b"), UriError::Duplicate("x".into()));
        assert_eq!(
            refused("pkcs11:id=%01;id=%01"),
            UriError::Duplicate("id".into())
        );
        assert_eq!(
            refused("pkcs11:?module-path=a&module-path=b"),
            UriError::Duplicate("module-path".into())
        );
        assert_eq!(
            refused("pkcs11:module-path=a"),
            UriError::Misplaced("module-path".into())
        );
        assert_eq!(
            refused("pkcs11:?token=a"),
            UriError::Misplaced("token".into())
        );
        for value in ["a b", "a/b", "%", "%4", "%zz", "%+1", "é", "a\"", "a#"] {
            assert_eq!(
                refused(&format!("pkcs11:token={value}")),
                UriError::Encoding("token".into())
            );
        }
        for bad in [
            "token=%FF",
            "token=%00",
            "type=key",
            "type=",
            "slot-id=",
            "slot-id=+1",
            "slot-id=x",
            "slot-id=99999999999999999999",
            "library-version=",
            "library-version=1.",
            "library-version=a",
        ] {
            assert!(
                matches!(refused(&format!("pkcs11:{bad}")), UriError::Value { .. }),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_pin_is_refused_and_not_repeated() {
        for text in [
            "pkcs11:token=a?pin-value=4711",
            "pkcs11:pin-value=4711",
            "pkcs11:?PIN_VALUE=4711",
        ] {
            let error = refused(text);
            assert_eq!(error, UriError::PinValue);
            assert!(!format!("{error} {error:?}").contains("4711"));
        }
        let error = refused("pkcs11:token=4711 4711");
        assert!(!format!("{error} {error:?}").contains("4711"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            token in "[^\0]{0,32}",
            path in "[^\0]{0,32}",
            id in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let uri = Pkcs11Uri::default().with_token_label(&token).with_id(&id).with_module_path(&path);
            assert_eq!(uri.to_string().parse::<Pkcs11Uri>(), Ok(uri));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(pkcs11:)?\\PC{0,64}") {
            let _ = text.parse::<Pkcs11Uri>();
        }
    }
}
