//! Secrets that derive: which are refused, what comes out, and what they do when their token fails.

mod generations;
mod outages;

use aws_lc_rs::hmac;
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use portcullis_hsm::generate::{self, DeleteScope, delete, inventory, keygen_wrapping};
use portcullis_hsm::{Extractable, HsmError, Provenance, Secret, Token, step};

use crate::harness::{Hsm, with_softhsm};
use crate::keys::uri;

const ROOT: &str = "pkcs11:object=root;type=secret-key";

/// What a generic secret of 32 bytes is made of, for a test that changes some of it.
fn template(label: &str, value: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.into()),
        Attribute::Value(value.to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]
}

/// A session beside those of `token`, in the same library: past what `generate` offers.
fn beside(module: &std::path::Path, token: &Token) -> Session {
    let slot = Slot::try_from(token.info().slot).unwrap();
    let pkcs11 = Pkcs11::new(module).unwrap();
    pkcs11.open_rw_session(slot).unwrap()
}

fn put(hsm: &Hsm, token: &Token, template: &[Attribute]) {
    let session = beside(hsm.softhsm(), token);
    session.create_object(template).unwrap();
}

fn derive(secret: &Secret, context: &[u8]) -> Result<[u8; 32], HsmError> {
    /// A task of another thread awaits it.
    fn sent<T: Send>(future: T) -> T {
        future
    }
    step::wait(sent(secret.derive(context))).map(|derived| *derived)
}

fn refused(token: &Token, text: &str) -> HsmError {
    let found = token.secret(&uri(text), Extractable::Refuse);
    found.expect_err(text)
}

#[test]
fn not_exactly_one_secret_lists_the_candidates() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let told = refused(&token, ROOT).to_string();
        assert!(told.contains("there are no secret keys"), "{told}");
        put(hsm, &token, &template("one", &[1; 32]));
        let told = refused(&token, ROOT).to_string();
        assert!(told.contains("object=one;type=secret-key"), "{told}");
        put(hsm, &token, &template("root", &[1; 32]));
        put(hsm, &token, &template("root", &[2; 32]));
        let error = refused(&token, ROOT);
        let HsmError::ObjectSelection { candidates, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(candidates.len(), 2, "{error}");
        for other in [
            "pkcs11:object=one;type=private",
            "pkcs11:token=west;object=one",
        ] {
            refused(&token, other);
        }
    });
}

#[test]
fn what_does_not_keep_its_secret_is_refused() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        for (label, change) in [
            ("leaves", Attribute::Extractable(true)),
            ("shows", Attribute::Sensitive(false)),
        ] {
            let mut template = template(label, &[1; 32]);
            template.retain(|one| one.attribute_type() != change.attribute_type());
            template.push(change);
            put(hsm, &token, &template);
            let text = format!("pkcs11:object={label}");
            let error = refused(&token, &text);
            assert!(matches!(error, HsmError::KeyExtractable { .. }), "{error}");
            let allowed = token.secret(&uri(&text), Extractable::Allow).unwrap();
            assert_eq!(allowed.info().provenance, Provenance::Extractable);
            assert!(derive(&allowed, b"context").is_ok());
        }
    });
}

#[test]
fn what_cannot_derive_is_refused_with_its_reason() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        keygen_wrapping(&token, "kek", None).unwrap();
        put(hsm, &token, &template("short", &[1; 31]));
        let mut no_sign = template("silent", &[1; 32]);
        no_sign.retain(|one| *one != Attribute::Sign(true));
        no_sign.push(Attribute::Sign(false));
        put(hsm, &token, &no_sign);
        for (label, reason) in [
            ("kek", "neither a generic secret"),
            ("short", "31 bytes"),
            ("silent", "CKA_SIGN is false"),
        ] {
            let error = refused(&token, &format!("pkcs11:object={label}"));
            assert!(matches!(error, HsmError::KeyUnsupported { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    });
}

#[test]
fn what_is_derived_is_hmac_over_a_beginning_of_ours_and_the_context() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        put(hsm, &token, &template("root", &[7; 32]));
        let root = token.secret(&uri(ROOT), Extractable::Refuse).unwrap();
        assert_eq!(root.info().provenance, Provenance::Imported);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        for context in [&b""[..], b"epoch 1", &[0; 500]] {
            let message = [b"portcullis derive v1\0", context].concat();
            let expected = hmac::sign(&key, &message);
            assert_eq!(derive(&root, context).unwrap(), expected.as_ref());
        }
        assert!(!format!("{root:?}").contains("check"), "{root:?}");
        assert_eq!(
            token.stats().signatures,
            0,
            "a derivation is not counted as one"
        );
    });
}

#[test]
fn a_secret_is_made_to_stay_and_to_derive_alone() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let made = generate::secret(&token, "root", None).unwrap();
        assert_eq!(made.info().provenance, Provenance::GeneratedInHsm);
        let taken = generate::secret(&token, "root", None).expect_err("taken");
        assert!(taken.to_string().contains("label"), "{taken}");
        let again = token.secret(&uri(&made.info().uri), Extractable::Refuse);
        let again = again.unwrap();
        let (one, two) = (derive(&made, b"x").unwrap(), derive(&again, b"x").unwrap());
        assert_eq!(one, two);
        assert_ne!(one, derive(&made, b"y").unwrap());

        let session = beside(hsm.softhsm(), &token);
        let wanted = [Attribute::Class(ObjectClass::SECRET_KEY)];
        let object = session.find_objects(&wanted).unwrap()[0];
        let uses = [
            Attribute::Encrypt(false),
            Attribute::Decrypt(false),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::Verify(false),
            Attribute::NeverExtractable(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Private(true),
        ];
        let kinds: Vec<_> = uses.iter().map(Attribute::attribute_type).collect();
        assert_eq!(session.get_attributes(object, &kinds).unwrap(), uses);

        keygen_wrapping(&token, "kek", None).unwrap();
        let found = inventory(&token).unwrap();
        assert_eq!((found.secrets.len(), found.wrapping_keys.len()), (1, 1));
        assert_eq!(found.secrets[0].uri.to_string(), made.info().uri);
        delete(&token, &uri(ROOT), DeleteScope::Key, |_| true).unwrap();
        assert!(inventory(&token).unwrap().secrets.is_empty());
    });
}
