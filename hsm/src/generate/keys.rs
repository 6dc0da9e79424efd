//! Making keys in the token (`C_GenerateKeyPair`, `C_GenerateKey`), and the templates of every private and
//! public key that we make.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};

use super::{Writer, id_or_random, names, refuse_taken};
use crate::der::{self, Reader};
use crate::error::HsmError;
use crate::key::{Extractable, KeyInfo, KeyKind, curve, object};
use crate::token::Token;
use crate::uri::{ObjectType, Pkcs11Uri};

/// AES-256: what wraps any of our keys without being the weakest link.
const WRAPPING_KEY_BYTES: u64 = 32;

/// Makes a key pair in the token (`C_GenerateKeyPair`): sensitive, not extractable, for signing only.
/// Without an id, a random one is chosen. Blocks as long as the token needs.
///
/// # Errors
/// When label or id are taken, or when a PKCS#11 call fails.
pub fn keygen(
    token: &Token,
    kind: KeyKind,
    label: &str,
    id: Option<&[u8]>,
) -> Result<KeyInfo, HsmError> {
    generate(token, kind, Extractable::Refuse, (label, id))
}

/// As [`keygen`], but the private key can be wrapped out of the token (`CKA_EXTRACTABLE`): for a backup
/// under [`super::wrap`]. Its provenance is `extractable` for ever, and the gateway refuses it unless the
/// configuration allows it by name.
///
/// # Errors
/// As [`keygen`].
pub fn keygen_extractable(
    token: &Token,
    kind: KeyKind,
    label: &str,
    id: Option<&[u8]>,
) -> Result<KeyInfo, HsmError> {
    generate(token, kind, Extractable::Allow, (label, id))
}

/// Makes an AES-256 key that wraps other keys and does nothing else (`C_GenerateKey`, `CKM_AES_KEY_GEN`).
/// It is sensitive and cannot leave the token.
///
/// # Errors
/// As [`keygen`].
pub fn keygen_wrapping(
    token: &Token,
    label: &str,
    id: Option<&[u8]>,
) -> Result<Pkcs11Uri, HsmError> {
    let id = id_or_random(label, id)?;
    let writer = Writer::open(token)?;
    refuse_taken(&writer.session, ObjectClass::SECRET_KEY, label, &id)?;
    let mut template = vec![
        Attribute::ValueLen(WRAPPING_KEY_BYTES.into()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
    ];
    template.extend(names(label, &id));
    writer
        .session
        .generate_key(&Mechanism::AesKeyGen, &template)?;
    Ok(Pkcs11Uri::default()
        .with_token_label(&token.info().label)
        .with_object(label)
        .with_object_type(ObjectType::SecretKey)
        .with_id(&id))
}

fn generate(
    token: &Token,
    kind: KeyKind,
    extractable: Extractable,
    (label, id): (&str, Option<&[u8]>),
) -> Result<KeyInfo, HsmError> {
    let id = id_or_random(label, id)?;
    let writer = Writer::open(token)?;
    refuse_taken(&writer.session, ObjectClass::PRIVATE_KEY, label, &id)?;
    let mut public = vec![Attribute::Private(false)];
    let mut private = private_uses(extractable);
    let mechanism = match kind {
        KeyKind::Rsa { bits } => {
            public.push(Attribute::ModulusBits(u64::from(bits).into()));
            public.push(Attribute::PublicExponent(vec![1, 0, 1]));
            Mechanism::RsaPkcsKeyPairGen
        }
        KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => Mechanism::EccKeyPairGen,
    };
    public.extend(curve(kind));
    for half in [&mut public, &mut private] {
        half.extend(names(label, &id));
    }
    let make = |uses: &[Attribute]| {
        let public = [&public[..], uses].concat();
        let session = &writer.session;
        session.generate_key_pair(&mechanism, &public, &private)
    };
    let made = match make(&PUBLIC_USES) {
        // tpm2-pkcs11 has one bit for verifying and decrypting, and another for signing and encrypting, so
        // that no key of it fits both templates. Only what the private half may do is worth insisting on.
        Err(error) if refuses_template(&error) => make(&[]),
        made => made,
    };
    let (_, handle) = made?;
    object::KeyObject::read(&writer.session, handle)?.info(&writer.session, token.info())
}

/// What a private key may be used for. Every other use is refused by name, for tokens differ in what they
/// allow by default.
pub(super) fn private_uses(extractable: Extractable) -> Vec<Attribute> {
    vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable == Extractable::Allow),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

/// What the public half may do. Anybody can do all of it elsewhere who has the public key.
const PUBLIC_USES: [Attribute; 3] = [
    Attribute::Verify(true),
    Attribute::Encrypt(false),
    Attribute::Wrap(false),
];

fn refuses_template(error: &Error) -> bool {
    let Error::Pkcs11(code, _) = error else {
        return false;
    };
    matches!(
        code,
        RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::TemplateInconsistent
            // What tpm2-pkcs11 says.
            | RvError::GeneralError
    )
}

/// The public key object of a SubjectPublicKeyInfo, without its names; `None` if it is none of this kind.
pub(super) fn public_object(kind: KeyKind, spki: &[u8]) -> Option<Vec<Attribute>> {
    let bits = der::public_key_bits(spki)?;
    let mut template = vec![Attribute::Private(false)];
    template.extend(PUBLIC_USES);
    template.push(Attribute::Class(ObjectClass::PUBLIC_KEY));
    template.push(Attribute::KeyType(key_type(kind)));
    if let KeyKind::Rsa { .. } = kind {
        let mut numbers = Reader::new(bits).sequence()?;
        template.push(Attribute::Modulus(numbers.unsigned()?.to_vec()));
        template.push(Attribute::PublicExponent(numbers.unsigned()?.to_vec()));
    } else {
        template.extend(curve(kind));
        template.push(Attribute::EcPoint(der::octet_string(bits)));
    }
    Some(template)
}

/// `CKA_KEY_TYPE` of a kind.
pub(super) fn key_type(kind: KeyKind) -> KeyType {
    match kind {
        KeyKind::Rsa { .. } => KeyType::RSA,
        KeyKind::Ed25519 => KeyType::EC_EDWARDS,
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => KeyType::EC,
    }
}

/// `CKA_EC_PARAMS` of a kind on a curve.
pub(super) fn curve(kind: KeyKind) -> Option<Attribute> {
    let params = match kind {
        KeyKind::EcdsaP256 => curve::P256,
        KeyKind::EcdsaP384 => curve::P384,
        KeyKind::EcdsaP521 => curve::P521,
        KeyKind::Ed25519 => curve::ED25519,
        KeyKind::Rsa { .. } => return None,
    };
    Some(Attribute::EcParams(params.to_vec()))
}
