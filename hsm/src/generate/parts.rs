//! The numbers of a private key, as `C_CreateObject` wants them, in memory that is wiped.

use cryptoki::object::Attribute;
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroize;

use crate::der::Reader;
use crate::key::KeyKind;

/// Attributes of a private key that is not in its token yet: wiped when dropped, never shown.
pub(super) struct SecretAttributes(Vec<Attribute>);

impl SecretAttributes {
    /// The secret numbers of a key of this kind (PKCS#8: RFC 5958, PKCS#1: RFC 8017, SEC 1: RFC 5915,
    /// Ed25519: RFC 8410); `None` if it has another shape.
    pub(super) fn read(kind: KeyKind, key: &PrivateKeyDer<'_>) -> Option<Self> {
        let inner = match key {
            PrivateKeyDer::Pkcs8(key) => {
                let mut members = Reader::new(key.secret_pkcs8_der()).sequence()?;
                members.value(0x02)?; // version
                members.value(0x30)?; // algorithm: `kind` says it
                members.value(0x04)?
            }
            PrivateKeyDer::Pkcs1(key) => key.secret_pkcs1_der(),
            PrivateKeyDer::Sec1(key) => key.secret_sec1_der(),
            _ => return None,
        };
        let numbers = match kind {
            KeyKind::Rsa { .. } => rsa(inner)?,
            KeyKind::Ed25519 => vec![Attribute::Value(Reader::new(inner).value(0x04)?.to_vec())],
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
                let mut members = Reader::new(inner).sequence()?;
                members.value(0x02)?; // version
                vec![Attribute::Value(members.value(0x04)?.to_vec())]
            }
        };
        Some(SecretAttributes(numbers))
    }

    /// Adds what is not secret.
    pub(super) fn extend(&mut self, attributes: impl IntoIterator<Item = Attribute>) {
        for attribute in attributes {
            // A vector that grows leaves its old place as it was; this only moves the pointers to the
            // numbers, which stay where they are.
            self.0.push(attribute);
        }
    }

    /// The template of `C_CreateObject`.
    pub(super) fn template(&self) -> &[Attribute] {
        &self.0
    }
}

/// RSAPrivateKey (RFC 8017 appendix A.1.2).
fn rsa(key: &[u8]) -> Option<Vec<Attribute>> {
    let mut numbers = Reader::new(key).sequence()?;
    numbers.unsigned()?; // version
    let attributes: [fn(Vec<u8>) -> Attribute; 8] = [
        Attribute::Modulus,
        Attribute::PublicExponent,
        Attribute::PrivateExponent,
        Attribute::Prime1,
        Attribute::Prime2,
        Attribute::Exponent1,
        Attribute::Exponent2,
        Attribute::Coefficient,
    ];
    // Read first, so that nothing is left behind by a key that ends early.
    let mut read = [&[][..]; 8];
    for number in &mut read {
        *number = numbers.unsigned()?;
    }
    let pairs = attributes.into_iter().zip(read);
    Some(pairs.map(|(make, number)| make(number.to_vec())).collect())
}

impl Drop for SecretAttributes {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            match attribute {
                Attribute::Value(number)
                | Attribute::PrivateExponent(number)
                | Attribute::Prime1(number)
                | Attribute::Prime2(number)
                | Attribute::Exponent1(number)
                | Attribute::Exponent2(number)
                | Attribute::Coefficient(number) => number.zeroize(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::SecretAttributes;
    use crate::key::KeyKind;

    #[test]
    fn a_key_of_another_kind_or_cut_short_is_refused() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let der = key.serialize_der();
        let read = |kind, der: &[u8]| {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.to_vec()));
            SecretAttributes::read(kind, &key)
        };
        assert!(read(KeyKind::EcdsaP256, &der).is_some());
        assert!(read(KeyKind::Rsa { bits: 2048 }, &der).is_none());
        assert!(read(KeyKind::Ed25519, &der).is_none());
        for len in 0..der.len() {
            assert!(read(KeyKind::EcdsaP256, &der[..len]).is_none(), "{len}");
        }
    }
}
