//! DER, read strictly: what is not the one canonical encoding is malformed, and nothing is left over unread.
//!
//! A reader that stops early at something strange would take the half of a revocation list for the whole, so
//! every reader is asked at the end whether it [is at the end](Reader::end). No recursion, no copies, no panics.

use x509_parser::prelude::{ASN1Time, FromDer};

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// `[number]`, primitive.
pub(super) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// `[number]`, constructed.
pub(super) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// What was being read when the bytes made no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub(super) &'static str);

/// One value with its tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag and length included.
    pub(super) raw: &'a [u8],
}

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` is what errors say.
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(super) fn malformed<T>(&self) -> Result<T, Malformed> {
        Err(Malformed(self.what))
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is unread.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Everything has been read.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            self.malformed()
        }
    }

    /// Whether the next value has this tag.
    pub(super) fn is_next(&self, tag: u8) -> bool {
        self.rest.first() == Some(&tag)
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Result<Value<'a>, Malformed> {
        let malformed = Malformed(self.what);
        let (&[tag, first], behind) = self.rest.split_first_chunk::<2>().ok_or(malformed)?;
        // Tag numbers above 30 do not occur in what we read.
        if tag & 0x1f == 0x1f {
            return Err(malformed);
        }
        let (length, behind) = match first {
            0..=0x7f => (usize::from(first), behind),
            // Four bytes of length are more than any bound on sizes here.
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let (digits, behind) = behind.split_at_checked(count).ok_or(malformed)?;
                let length = digits
                    .iter()
                    .fold(0_u32, |length, digit| length << 8 | u32::from(*digit));
                let shortest = length >= 0x80 && digits[0] != 0;
                let length = usize::try_from(length).map_err(|_| malformed)?;
                (shortest.then_some(length).ok_or(malformed)?, behind)
            }
            _ => return Err(malformed),
        };
        let (content, rest) = behind.split_at_checked(length).ok_or(malformed)?;
        let raw = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Ok(Value { tag, content, raw })
    }

    /// The content of the next value, which must have this tag.
    pub(super) fn value(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        Ok(self.raw(tag)?.content)
    }

    /// The next value, which must have this tag.
    pub(super) fn raw(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        if !self.is_next(tag) {
            return self.malformed();
        }
        self.any()
    }

    /// What is inside the next value, which must have this tag.
    pub(super) fn inside(&mut self, tag: u8) -> Result<Reader<'a>, Malformed> {
        Ok(Reader::new(self.value(tag)?, self.what))
    }

    /// The content of the next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        self.is_next(tag).then(|| self.value(tag)).transpose()
    }

    /// What is inside the next value if it has this tag.
    pub(super) fn optional_inside(&mut self, tag: u8) -> Result<Option<Reader<'a>>, Malformed> {
        self.is_next(tag).then(|| self.inside(tag)).transpose()
    }

    /// A BOOLEAN with `DEFAULT FALSE` under this tag. DER never writes the default, but some do.
    pub(super) fn flag(&mut self, tag: u8) -> Result<bool, Malformed> {
        match self.optional(tag)? {
            None | Some([0]) => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => self.malformed(),
        }
    }

    /// The bytes of a BIT STRING of whole bytes.
    pub(super) fn bits(&mut self) -> Result<&'a [u8], Malformed> {
        match self.value(BIT_STRING)?.split_first() {
            Some((0, bits)) => Ok(bits),
            _ => self.malformed(),
        }
    }

    /// A UTCTime or GeneralizedTime as seconds since the Unix epoch.
    pub(super) fn time(&mut self) -> Result<i64, Malformed> {
        let malformed = Malformed(self.what);
        let value = self.any()?;
        if value.tag != UTC_TIME && value.tag != GENERALIZED_TIME {
            return Err(malformed);
        }
        // RFC 5280, section 4.1.2.5: in UTC, with seconds, without fractions.
        let (letter, digits) = value.content.split_last().ok_or(malformed)?;
        let length = if value.tag == UTC_TIME { 12 } else { 14 };
        if *letter != b'Z' || digits.len() != length || !digits.iter().all(u8::is_ascii_digit) {
            return Err(malformed);
        }
        let (_, time) = ASN1Time::from_der(value.raw).map_err(|_| malformed)?;
        Ok(time.timestamp())
    }
}

/// Identifier, whether critical, and content of an X.509 extension.
pub(super) fn read_extension<'a>(
    list: &mut Reader<'a>,
) -> Result<(&'a [u8], bool, &'a [u8]), Malformed> {
    let mut extension = list.inside(SEQUENCE)?;
    let oid = extension.value(OID)?;
    let critical = extension.flag(BOOLEAN)?;
    let content = extension.value(OCTET_STRING)?;
    extension.end()?;
    Ok((oid, critical, content))
}

/// An unsigned INTEGER without leading zeros, so that two encodings of one number are equal.
pub(super) fn unsigned(content: &[u8]) -> &[u8] {
    let zeros = content.iter().take_while(|byte| **byte == 0).count();
    &content[zeros..]
}

/// Named bits of a BIT STRING's content (ReasonFlags): bit 0 of the result is the first named bit.
pub(super) fn named_bits(content: &[u8], what: &'static str) -> Result<u16, Malformed> {
    let (unused, bytes) = content.split_first().ok_or(Malformed(what))?;
    if *unused > 7 || bytes.len() > 2 || (bytes.is_empty() && *unused != 0) {
        return Err(Malformed(what));
    }
    let bits = bytes
        .iter()
        .enumerate()
        .map(|(at, byte)| u16::from(byte.reverse_bits()) << (8 * at));
    Ok(bits.sum())
}

/// An object identifier in dots, for messages.
pub(super) fn dotted(oid: &[u8]) -> String {
    x509_parser::der_parser::Oid::new(oid.into()).to_id_string()
}

/// Writes one value around the given parts.
pub(super) fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let digits = unsigned(&bytes);
        out.push(0x80 | digits.len() as u8);
        out.extend_from_slice(digits);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(bytes: &[u8]) -> Result<Value<'_>, Malformed> {
        Reader::new(bytes, "test").any()
    }

    #[test]
    fn what_is_not_canonical_is_malformed() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x01",
            b"\x30\x80\x00\x00",             // indefinite length
            b"\x30\x81\x05\0\0\0\0\0",       // a short length in the long form
            b"\x30\x82\x00\x80",             // a leading zero
            b"\x30\x85\x01\0\0\0\0",         // five bytes of length
            b"\x30\x84\xff\xff\xff\xff\x00", // beyond the end
            b"\x3f\x81\x00\x00",             // a large tag number
        ] {
            assert!(any(bytes).is_err(), "{bytes:x?}");
        }
        for time in [
            &b"\x17\x0b2401010000Z"[..],  // without seconds
            b"\x17\x11240101000000+0000", // with a zone
            b"\x18\x1120240101000000.1Z", // with a fraction
            b"\x17\x0d241301000000Z",     // a thirteenth month
        ] {
            assert!(Reader::new(time, "test").time().is_err(), "{time:x?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let written = wrap(OCTET_STRING, &[&content]);
            let mut reader = Reader::new(&written, "test");
            assert_eq!(reader.value(OCTET_STRING), Ok(&content[..]));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn times_and_named_bits_are_read() {
        let mut reader = Reader::new(b"\x17\x0d240101000000Z", "test");
        assert_eq!(reader.time(), Ok(1_704_067_200));
        let mut reader = Reader::new(b"\x18\x0f20500101000000Z", "test");
        assert_eq!(reader.time(), Ok(2_524_608_000));
        // keyCompromise (1) and aACompromise (8).
        assert_eq!(named_bits(&[7, 0x40, 0x80], "test"), Ok(0b1_0000_0010));
    }
}
