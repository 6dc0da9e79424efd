//! A writer of DER, for what no library makes: deltas, lists that ran out, answers of responders.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// AlgorithmIdentifier of ecdsa-with-SHA256: what the keys of a [`super::Ca`] sign with.
pub(super) const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";

/// The tag `[NUMBER]` of a primitive value.
pub(super) fn context(number: u8) -> u8 {
    0x80 | number
}

/// The tag `[NUMBER]` of a constructed value.
pub(super) fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// A value with this tag and these contents.
pub(super) fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let mut out = vec![tag];
    if content.len() < 0x80 {
        out.extend(&length[length.len() - 1..]);
    } else {
        let length = &length[zeros..];
        out.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
        out.extend(length);
    }
    out.extend(content);
    out
}

/// An INTEGER.
pub(super) fn integer(number: u128) -> Vec<u8> {
    let bytes = [&[0][..], &number.to_be_bytes()].concat();
    let pairs = bytes.windows(2);
    let leading = pairs.take_while(|pair| pair[0] == 0 && pair[1] < 0x80);
    let leading = leading.count();
    wrap(INTEGER, &[&bytes[leading..]])
}

/// A GeneralizedTime, from seconds since the Unix epoch.
pub(super) fn time(seconds: i64) -> Vec<u8> {
    let time = x509_parser::time::ASN1Time::from_timestamp(seconds).map(|time| time.to_datetime());
    let text = time.map_or_else(
        |_| "19700101000000Z".to_owned(),
        |time| {
            let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
            let (hour, minute, second) = (time.hour(), time.minute(), time.second());
            format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
        },
    );
    wrap(GENERALIZED_TIME, &[text.as_bytes()])
}

/// An Extension (RFC 5280, section 4.1).
pub(super) fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { b"\x01\x01\xff" } else { b"" };
    let (oid, content) = (wrap(OID, &[oid]), wrap(OCTET_STRING, &[content]));
    wrap(SEQUENCE, &[&oid, critical, &content])
}

/// A DistributionPointName with one address.
pub(super) fn point(address: &str) -> Vec<u8> {
    let names = wrap(constructed(0), &[&wrap(context(6), &[address.as_bytes()])]);
    wrap(constructed(0), &[&names])
}

/// `tbs`, its algorithm and its signature, as everything signed is put together.
pub(super) fn signed(tbs: &[u8], signature: &[u8], rest: &[u8]) -> Vec<u8> {
    let bits = wrap(BIT_STRING, &[&[0], signature]);
    wrap(SEQUENCE, &[tbs, ECDSA_SHA256, &bits, rest])
}

/// The content of the value at the beginning of `bytes`, which must have this tag, and what follows the value.
pub(super) fn split(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *bytes {
        [found, short @ 0..=0x7f, ref rest @ ..] if found == tag => (usize::from(short), rest),
        [found, 0x81, one, ref rest @ ..] if found == tag => (usize::from(one), rest),
        [found, 0x82, high, low, ref rest @ ..] if found == tag => {
            (usize::from(u16::from_be_bytes([high, low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
