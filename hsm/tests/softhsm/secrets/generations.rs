//! The generation beside a secret: absent, raised, half raised, and never back.

use cryptoki::object::{Attribute, ObjectClass};
use portcullis_hsm::generate::{self, Raise, inventory, keep_generation, raise_generation};
use portcullis_hsm::{Extractable, Generation, HsmError, Token, step};

use super::{ROOT, beside, put, template};
use crate::harness::{Hsm, with_softhsm};
use crate::keys::uri;

const fn of(current: u64, floor: u64) -> Generation {
    Generation { current, floor }
}

fn data(hsm: &Hsm, token: &Token, value: &[u8]) {
    let object = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(b"root.generation".to_vec()),
        Attribute::Value(value.to_vec()),
    ];
    put(hsm, token, &object);
}

#[test]
fn a_generation_is_not_raised_beside_no_secret() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let error = raise_generation(&token, &uri(ROOT), Raise::Rotate).expect_err("no secret");
        assert!(matches!(error, HsmError::ObjectSelection { .. }), "{error}");
        assert_eq!(token.generation(&uri(ROOT)).unwrap(), of(0, 0));
        let mut nameless = template("", &[1; 32]);
        nameless.push(Attribute::Id(vec![1]));
        put(hsm, &token, &nameless);
        let error = token
            .generation(&uri("pkcs11:id=%01"))
            .expect_err("nameless");
        assert!(error.to_string().contains("no label"), "{error}");
    });
}

#[test]
fn a_rotation_keeps_what_a_revocation_ends() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let root = generate::secret(&token, "root", Some(&[9])).unwrap();
        let read = || step::wait(root.generation()).unwrap();
        assert_eq!(read(), of(0, 0));
        for (raise, expected) in [
            (Raise::Rotate, of(1, 0)),
            (Raise::Rotate, of(2, 0)),
            (Raise::Revoke, of(3, 3)),
            (Raise::Rotate, of(4, 3)),
        ] {
            assert_eq!(
                raise_generation(&token, &uri(ROOT), raise).unwrap(),
                expected
            );
            assert_eq!(read(), expected);
        }
        // Named by its id alone, its label is looked up.
        assert_eq!(token.generation(&uri("pkcs11:id=%09")).unwrap(), of(4, 3));
        assert_eq!(inventory(&token).unwrap().secrets[0].generation, of(4, 3));
        for (least, kept) in [
            (of(2, 1), of(4, 3)),
            (of(4, 4), of(4, 4)),
            (of(9, 0), of(9, 4)),
        ] {
            assert_eq!(keep_generation(&token, &uri(ROOT), least).unwrap(), kept);
        }
        let session = beside(hsm.softhsm(), &token);
        let objects = session.find_objects(&[Attribute::Class(ObjectClass::DATA)]);
        assert_eq!(objects.unwrap().len(), 1, "older ones are removed");
    });
}

#[test]
fn a_raise_that_was_interrupted_counts_and_what_is_no_generation_does_not() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        generate::secret(&token, "root", None).unwrap();
        raise_generation(&token, &uri(ROOT), Raise::Revoke).unwrap();
        let mut next = [0; 16];
        next[7] = 2;
        data(hsm, &token, &next);
        // The newer one is there, the older one not yet removed.
        assert_eq!(token.generation(&uri(ROOT)).unwrap(), of(2, 1));
        raise_generation(&token, &uri(ROOT), Raise::Rotate).unwrap();
        assert_eq!(token.generation(&uri(ROOT)).unwrap(), of(3, 1));
        data(hsm, &token, b"notes");
        let error = token.generation(&uri(ROOT)).expect_err("another form");
        assert!(error.to_string().contains("root.generation"), "{error}");
        assert!(inventory(&token).unwrap().secrets[0].unfit.is_some());
        // The secret itself derives on.
        assert!(token.secret(&uri(ROOT), Extractable::Refuse).is_ok());
    });
}
