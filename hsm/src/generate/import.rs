//! Keys from a file into the token (`C_CreateObject`): for what exists already and cannot be made anew.

use std::path::Path;

use cryptoki::object::{Attribute, ObjectClass};
use zeroize::Zeroize;

use super::parts::SecretAttributes;
use super::{Writer, id_or_random, keys, names, refuse_taken};
use crate::error::HsmError;
use crate::key::{Extractable, KeyInfo, KeyKind};
use crate::software;
use crate::token::Token;

/// What a key is called in its token.
#[derive(Debug, Clone, Copy)]
pub struct KeyName<'a> {
    /// `CKA_LABEL` of all its objects.
    pub label: &'a str,
    /// `CKA_ID` of all its objects; `None`: a random one.
    pub id: Option<&'a [u8]>,
}

/// Puts the private key of a PEM file (PKCS#8, PKCS#1 or SEC 1) and its public key into the token
/// (`C_CreateObject`), sensitive and not extractable; then signs with it and verifies. It was outside, so
/// its provenance is `imported`. What was half made when something failed is removed.
///
/// # Errors
/// [`HsmError::SoftwareKey`] for a file that holds no usable key; otherwise what the token refused, or that
/// label or id are taken.
pub fn import_key(token: &Token, file: &Path, name: KeyName<'_>) -> Result<KeyInfo, HsmError> {
    let mut der = software::read(file)?;
    let parsed = software::parse(file, &der).map(|(_, kind, spki)| (kind, spki));
    let parts = parsed.and_then(|(kind, spki)| {
        let secret = SecretAttributes::read(kind, &der);
        let public = keys::public_object(kind, &spki);
        match secret.zip(public) {
            Some((secret, public)) => Ok((kind, secret, public)),
            None => Err(software::unusable(file, "its form is not known")),
        }
    });
    der.zeroize();
    let (kind, secret, public) = parts?;
    create(token, kind, secret, public, name)
}

fn create(
    token: &Token,
    kind: KeyKind,
    mut secret: SecretAttributes,
    mut public: Vec<Attribute>,
    name: KeyName<'_>,
) -> Result<KeyInfo, HsmError> {
    let id = id_or_random(name.label, name.id)?;
    let writer = Writer::open(token)?;
    refuse_taken(&writer.session, ObjectClass::PRIVATE_KEY, name.label, &id)?;
    secret.extend([
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(keys::key_type(kind)),
    ]);
    secret.extend(keys::curve(kind));
    secret.extend(keys::private_uses(Extractable::Refuse));
    secret.extend(names(name.label, &id));
    public.extend(names(name.label, &id));
    let refused = |half: &str, error: cryptoki::error::Error| {
        let error = HsmError::from(error);
        HsmError::Generate(format!(
            "token `{}` takes no {half} {kind} key from outside: {error}",
            token.info().label
        ))
    };
    let private = writer
        .session
        .create_object(secret.template())
        .map_err(|error| refused("private", error))?;
    drop(secret);
    let public = match writer.session.create_object(&public) {
        Ok(public) => public,
        Err(error) => {
            writer.remove(&[private]);
            return Err(refused("public", error));
        }
    };
    writer.prove(token, private, &[private, public])
}
