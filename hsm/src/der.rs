//! The few DER shapes that PKCS#11 leaves to its user (X.690).

/// INTEGER from an unsigned big-endian number.
pub(crate) fn integer(number: &[u8]) -> Vec<u8> {
    let mut value = trim(number).to_vec();
    // The first bit is the sign, and zero has one byte.
    if value.first().is_none_or(|byte| byte & 0x80 != 0) {
        value.insert(0, 0);
    }
    wrap(0x02, &value)
}

/// SEQUENCE around encoded members.
pub(crate) fn sequence(members: &[u8]) -> Vec<u8> {
    wrap(0x30, members)
}

/// OCTET STRING.
pub(crate) fn octet_string(value: &[u8]) -> Vec<u8> {
    wrap(0x04, value)
}

/// Length of an unsigned big-endian number in bits.
pub(crate) fn bits(number: &[u8]) -> u32 {
    let number = trim(number);
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(number.len())
        .unwrap_or(u32::MAX)
        .saturating_mul(8)
        - first
}

/// The subjectPublicKey of a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), without the count of unused
/// bits. `None` if it is none.
pub(crate) fn public_key_bits(spki: &[u8]) -> Option<&[u8]> {
    let (members, _) = unwrap(0x30, spki)?;
    let (_algorithm, rest) = unwrap(0x30, members)?;
    let (bits, _) = unwrap(0x03, rest)?;
    bits.strip_prefix(&[0])
}

/// Reads elements one after another. It is for DER that came through a parser or is matched against a key
/// afterwards; what does not fit is `None`, never a guess.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first element.
    pub(crate) fn new(der: &'a [u8]) -> Self {
        Reader(der)
    }

    /// The value of the next element if it has this tag; otherwise nothing is read.
    pub(crate) fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (value, rest) = unwrap(tag, self.0)?;
        self.0 = rest;
        Some(value)
    }

    /// The next element with its tag and length.
    pub(crate) fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.value(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// The next element as a reader of its members.
    pub(crate) fn sequence(&mut self) -> Option<Reader<'a>> {
        self.value(0x30).map(Reader)
    }

    /// An INTEGER that is not negative, without leading zeros.
    pub(crate) fn unsigned(&mut self) -> Option<&'a [u8]> {
        self.value(0x02).map(trim)
    }
}

/// The value of the first element, which must have this tag, and what follows the element.
fn unwrap(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(first.into());
    }
    // No key and no certificate of TLS is longer than two bytes of length can say.
    let (len, rest) = rest
        .split_at_checked((first & 0x7f).into())
        .filter(|(len, _)| len.len() <= 2)?;
    let len = len
        .iter()
        .fold(0, |len, byte| len << 8 | usize::from(*byte));
    rest.split_at_checked(len)
}

fn trim(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn wrap(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = value.len().to_be_bytes();
    match value.len() {
        // The cast cannot lose: the arm says so.
        short @ 0..0x80 => out.push(short as u8),
        _ => {
            let len = trim(&len);
            out.push(0x80 | len.len() as u8);
            out.extend_from_slice(len);
        }
    }
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::{Reader, bits, integer, octet_string, public_key_bits, sequence};

    #[test]
    fn elements_are_read_in_order_and_nothing_else_is() {
        let der = sequence(&[integer(&[0, 200]), octet_string(&[7, 8])].concat());
        let mut outer = Reader::new(&der);
        let mut members = outer.sequence().unwrap();
        assert!(outer.value(4).is_none());
        assert!(members.value(0xa0).is_none());
        assert_eq!(members.unsigned(), Some(&[200][..]));
        assert_eq!(members.element(4), Some(&[4, 2, 7, 8][..]));
        assert!(members.value(4).is_none());
        assert!(Reader::new(&der[..der.len() - 1]).sequence().is_none());
    }

    #[test]
    fn integers_are_minimal_and_positive() {
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }

    #[test]
    fn long_values_have_long_lengths() {
        assert_eq!(octet_string(&[7; 127])[..2], [4, 127]);
        assert_eq!(octet_string(&[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(sequence(&[7; 300])[..4], [0x30, 0x82, 1, 44]);
    }

    #[test]
    fn bits_are_counted_from_the_first_one() {
        assert_eq!(bits(&[0, 0x80, 0]), 16);
        assert_eq!(bits(&[1, 0]), 9);
        assert_eq!(bits(&[]), 0);
    }

    #[test]
    fn the_key_is_found_in_its_spki() {
        for len in [32, 127, 128, 300] {
            let key = vec![9; len];
            let mut bits = octet_string(&[&[0], &key[..]].concat());
            bits[0] = 3;
            let spki = sequence(&[sequence(&[5, 0]), bits].concat());
            assert_eq!(public_key_bits(&spki), Some(&key[..]));
            assert_eq!(public_key_bits(&spki[..spki.len() - 1]), None);
        }
        assert_eq!(public_key_bits(&[0x30, 0x85, 1, 1, 1, 1, 1]), None);
    }
}
