//! ECDSA signatures as JSON wants them: `r‖s`, each as long as the field (RFC 7518, section 3.4).

use portcullis_hsm::KeyKind;

/// Bytes of a coordinate; `None` for kinds whose signatures need no other form.
pub(super) fn width(kind: KeyKind) -> Option<usize> {
    match kind {
        KeyKind::EcdsaP256 => Some(32),
        KeyKind::EcdsaP384 => Some(48),
        KeyKind::EcdsaP521 => Some(66),
        KeyKind::Ed25519 | KeyKind::Rsa { .. } => None,
    }
}

/// From DER (RFC 3279, section 2.2.3). `None` for anything but two positive numbers that fit.
pub(super) fn fixed(der: &[u8], width: usize) -> Option<Vec<u8>> {
    let (members, rest) = value(0x30, der)?;
    let (r, after) = value(0x02, members)?;
    let (s, end) = value(0x02, after)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut out = vec![0; 2 * width];
    for (number, place) in [r, s].into_iter().zip(out.chunks_mut(width)) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros..];
        let at = width.checked_sub(number.len())?;
        place[at..].copy_from_slice(number);
    }
    Some(out)
}

/// The value of the first element, which must have this tag, and what follows it. No signature is longer than
/// 255 bytes of contents.
fn value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    match der.strip_prefix(&[tag])? {
        [0x81, length, rest @ ..] => rest.split_at_checked((*length).into()),
        [length, rest @ ..] if *length < 0x80 => rest.split_at_checked((*length).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_signature_has_no_form() {
        for der in [
            &[][..],
            &[0x30, 0],
            &[0x30, 3, 2, 1, 1],
            &[0x30, 6, 2, 1, 1, 2, 1],
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0],
            &[0x30, 7, 2, 1, 1, 2, 1, 1, 0],
            &[0x30, 8, 2, 3, 1, 1, 1, 2, 1, 1],
            &[0x30, 0x82, 0, 6, 2, 1, 1, 2, 1, 1],
        ] {
            assert_eq!(fixed(der, 2), None, "{der:?}");
        }
    }

    #[test]
    fn numbers_are_padded_and_lose_their_sign_byte() {
        let der = [0x30, 8, 2, 2, 0, 0x80, 2, 2, 1, 2];
        assert_eq!(fixed(&der, 2), Some(vec![0, 0x80, 1, 2]));
        let long = [&[0x30, 0x81, 6][..], &[2, 1, 1, 2, 1, 2]].concat();
        assert_eq!(fixed(&long, 2), Some(vec![0, 1, 0, 2]));
    }
}
