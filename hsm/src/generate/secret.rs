//! Making a secret to derive from (`C_GenerateKey`), and raising the generation that is kept beside it.
//!
//! A generation is raised by a new object, after which the older ones are removed: what is interrupted in
//! between is read right, and a token whose data objects cannot be changed will do.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass};

use super::{Writer, id_or_random, names, refuse, refuse_taken};
use crate::error::HsmError;
use crate::key::Extractable;
use crate::secret::{Generation, MECHANISM, Secret, object};
use crate::token::Token;
use crate::uri::{ObjectType, Pkcs11Uri};

/// `CKA_APPLICATION` of the objects that keep a generation.
const APPLICATION: &[u8] = b"portcullis";

/// How far a generation is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raise {
    /// The next one derives from now on; what earlier ones derived still counts.
    Rotate,
    /// As [`Self::Rotate`], and what earlier ones derived counts no more.
    Revoke,
}

/// Makes a generic secret of 32 bytes in the token (`CKM_GENERIC_SECRET_KEY_GEN`): sensitive, not extractable,
/// for `CKM_SHA256_HMAC` and nothing else. Derives from it once, and removes it where that fails.
///
/// # Errors
/// When label or id are taken, [`HsmError::MechanismMissing`], or when a PKCS#11 call fails.
pub fn secret(token: &Token, label: &str, id: Option<&[u8]>) -> Result<Secret, HsmError> {
    let id = id_or_random(label, id)?;
    for (mechanism, name) in [
        (
            MechanismType::GENERIC_SECRET_KEY_GEN,
            "CKM_GENERIC_SECRET_KEY_GEN",
        ),
        (MechanismType::SHA256_HMAC, MECHANISM),
    ] {
        if !token.source()?.has(mechanism)? {
            return Err(HsmError::MechanismMissing {
                token: token.info().label.clone(),
                mechanism: name,
            });
        }
    }
    let writer = Writer::open(token)?;
    refuse_taken(&writer.session, ObjectClass::SECRET_KEY, label, &id)?;
    let mut template = vec![
        Attribute::ValueLen(object::LEAST_BYTES.into()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Verify(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    template.extend(names(label, &id));
    let made = writer
        .session
        .generate_key(&Mechanism::GenericSecretKeyGen, &template)?;
    let uri = Pkcs11Uri::default()
        .with_token_label(&token.info().label)
        .with_object(label)
        .with_object_type(ObjectType::SecretKey)
        .with_id(&id);
    // Finding it makes its check value.
    let found = token.secret(&uri, Extractable::Refuse);
    found.inspect_err(|_| writer.remove(&[made]))
}

/// Raises the generation that the token keeps beside the secret `root` names, and tells it.
///
/// # Errors
/// As [`Token::generation`]; when the secret is not there, or the token stores no data objects.
pub fn raise_generation(
    token: &Token,
    root: &Pkcs11Uri,
    raise: Raise,
) -> Result<Generation, HsmError> {
    let kept = token.generation(root)?;
    let Some(current) = kept.current.checked_add(1) else {
        return refuse("the generation cannot be raised any further".to_owned());
    };
    let floor = match raise {
        Raise::Rotate => kept.floor,
        Raise::Revoke => current,
    };
    keep_generation(token, root, Generation { current, floor })
}

/// Brings the generation in the token up to `least`, for the other members of a group; never back. Tells what is
/// kept now.
///
/// # Errors
/// As [`raise_generation`].
pub fn keep_generation(
    token: &Token,
    root: &Pkcs11Uri,
    least: Generation,
) -> Result<Generation, HsmError> {
    let writer = Writer::open(token)?;
    // A generation beside no secret would be one that a typing error raised.
    object::find_one(&writer.session, root, token.info())?;
    let label = object::generation_label(&writer.session, root, token.info())?;
    let (kept, objects) = object::generations(&writer.session, &label)?;
    let raised = kept.max(least);
    if raised == kept {
        return Ok(kept);
    }
    let login = token.source()?.wants_login()?;
    writer.session.create_object(&[
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        // Where nobody logs in, nobody would see a private object.
        Attribute::Private(login),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Label(label.into()),
        Attribute::Value(raised.to_bytes().to_vec()),
    ])?;
    for older in objects {
        writer.session.destroy_object(older)?;
    }
    Ok(raised)
}
