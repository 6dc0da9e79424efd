//! Keys of every kind: found, refused, matched with certificates, and signing.

use std::fs;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::slot::Slot;
use portcullis_hsm::generate::{keygen, selfsign};
use portcullis_hsm::uri::{ObjectType, Pkcs11Uri};
use portcullis_hsm::{Extractable, HsmError, Key, KeyKind, Provenance, Token};
use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::harness::{Hsm, LABEL, with_softhsm};

const KINDS: [KeyKind; 6] = [
    KeyKind::EcdsaP256,
    KeyKind::EcdsaP384,
    KeyKind::EcdsaP521,
    KeyKind::Rsa { bits: 2048 },
    KeyKind::Rsa { bits: 3072 },
    KeyKind::Ed25519,
];

const SCHEMES: [(SignatureScheme, &dyn VerificationAlgorithm); 10] = [
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        &signature::ECDSA_P256_SHA256_ASN1,
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        &signature::ECDSA_P384_SHA384_ASN1,
    ),
    (
        SignatureScheme::ECDSA_NISTP521_SHA512,
        &signature::ECDSA_P521_SHA512_ASN1,
    ),
    (
        SignatureScheme::RSA_PSS_SHA256,
        &signature::RSA_PSS_2048_8192_SHA256,
    ),
    (
        SignatureScheme::RSA_PSS_SHA384,
        &signature::RSA_PSS_2048_8192_SHA384,
    ),
    (
        SignatureScheme::RSA_PSS_SHA512,
        &signature::RSA_PSS_2048_8192_SHA512,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA256,
        &signature::RSA_PKCS1_2048_8192_SHA256,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA384,
        &signature::RSA_PKCS1_2048_8192_SHA384,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA512,
        &signature::RSA_PKCS1_2048_8192_SHA512,
    ),
    (SignatureScheme::ED25519, &signature::ED25519),
];

pub(crate) fn uri(text: &str) -> Pkcs11Uri {
    text.parse().unwrap()
}

/// Makes a key and finds it by the URI that keygen told.
pub(crate) fn make(token: &Token, kind: KeyKind, label: &str) -> Key {
    let info = keygen(token, kind, label, None).unwrap();
    let key = token.key(&uri(&info.uri), Extractable::Refuse).unwrap();
    assert_eq!(key.info(), &info);
    key
}

fn certificate(key: &Key) -> CertificateDer<'static> {
    let pem = selfsign(key, &["site.example".to_owned()], 30).unwrap();
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Signs with each scheme the key offers, and verifies; how many there were.
fn signs_and_verifies(key: &Key) -> usize {
    let mut offered = 0;
    for (scheme, algorithm) in SCHEMES {
        let Some(signer) = key.signing_key().choose_scheme(&[scheme]) else {
            continue;
        };
        offered += 1;
        assert_eq!(signer.scheme(), scheme);
        // ECDSA numbers have leading zeros now and then; several signatures meet some.
        for message in 0..20_u32 {
            let message = message.to_be_bytes();
            let signature = signer.sign(&message).unwrap();
            let public = UnparsedPublicKey::new(algorithm, key.spki());
            public
                .verify(&message, &signature)
                .unwrap_or_else(|_| panic!("{scheme:?}"));
        }
    }
    offered
}

#[test]
fn every_kind_of_key_signs_with_every_scheme_it_offers() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        for kind in KINDS {
            let key = make(&token, kind, &kind.to_string());
            let info = key.info();
            assert_eq!(info.kind, kind);
            assert_eq!(info.provenance, Provenance::GeneratedInHsm);
            assert!(info.sensitive && info.always_sensitive && info.local);
            assert!(info.never_extractable && !info.extractable);
            let expected = if matches!(kind, KeyKind::Rsa { .. }) {
                6
            } else {
                1
            };
            assert_eq!(signs_and_verifies(&key), expected);
            key.certify(vec![certificate(&key)]).unwrap();
        }
        let listed = token.list().unwrap();
        assert_eq!(listed.len(), KINDS.len());
        for info in listed {
            assert!(
                token.key(&uri(&info.uri), Extractable::Refuse).is_ok(),
                "{}",
                info.uri
            );
        }
        let stats = token.stats();
        assert!(stats.signatures > 300 && stats.errors == 0);
        assert_eq!(stats.latency.iter().sum::<u64>(), stats.signatures);
    });
}

#[test]
fn a_key_that_is_not_alone_lists_its_candidates() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let told = |text: &str| {
            token
                .key(&uri(text), Extractable::Refuse)
                .expect_err(text)
                .to_string()
        };
        assert!(told("pkcs11:object=site").contains("there are no keys"));
        keygen(&token, KeyKind::EcdsaP256, "old", Some(&[1])).unwrap();
        keygen(&token, KeyKind::EcdsaP256, "new", Some(&[2])).unwrap();
        for text in [
            "pkcs11:",
            "pkcs11:token=edge",
            "pkcs11:object=other",
            "pkcs11:object=old;id=%02",
        ] {
            let told = told(text);
            assert!(told.contains(text), "{told}");
            assert!(
                told.contains("\n  pkcs11:token=edge;object=old;type=private;id=%01"),
                "{told}"
            );
            assert!(
                told.contains("\n  pkcs11:token=edge;object=new;type=private;id=%02"),
                "{told}"
            );
        }
        assert!(told("pkcs11:token=west;object=old").contains("token=edge"));
        assert!(told("pkcs11:object=old;type=public").contains("`private`"));
        assert!(
            token
                .key(&uri("pkcs11:id=%02"), Extractable::Refuse)
                .is_ok()
        );
        for (label, id) in [("old", 3), ("newer", 2)] {
            let error = keygen(&token, KeyKind::EcdsaP256, label, Some(&[id])).expect_err("taken");
            assert!(matches!(error, HsmError::Generate(_)), "{error}");
        }
    });
}

/// Makes a P-256 key with attributes of its own, past our `keygen`.
fn foreign_key(hsm: &Hsm, token: &Token, label: &str, attributes: &[Attribute]) {
    // The module is loaded and logged in by `token` already; this is another handle of the same library.
    let pkcs11 = Pkcs11::new(hsm.softhsm()).unwrap();
    let session = pkcs11
        .open_rw_session(Slot::try_from(token.info().slot).unwrap())
        .unwrap();
    let names = [
        Attribute::Token(true),
        Attribute::Label(label.into()),
        Attribute::Id(label.into()),
    ];
    let p256 = Attribute::EcParams(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec());
    let public = [&names[..], &[p256, Attribute::Verify(true)]].concat();
    let private = [&names[..], &[Attribute::Private(true)], attributes].concat();
    session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .unwrap();
}

#[test]
fn a_key_that_can_leave_its_token_must_be_allowed() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let sign = Attribute::Sign(true);
        foreign_key(
            hsm,
            &token,
            "wrappable",
            &[sign.clone(), Attribute::Extractable(true)],
        );
        foreign_key(
            hsm,
            &token,
            "plain",
            &[
                sign,
                Attribute::Extractable(false),
                Attribute::Sensitive(false),
            ],
        );
        for label in ["wrappable", "plain"] {
            let uri = Pkcs11Uri::default()
                .with_object(label)
                .with_object_type(ObjectType::Private);
            let error = token.key(&uri, Extractable::Refuse).expect_err(label);
            assert!(matches!(error, HsmError::KeyExtractable { .. }), "{error}");
            let key = token.key(&uri, Extractable::Allow).unwrap();
            assert_eq!(key.info().provenance, Provenance::Extractable);
            assert_eq!(signs_and_verifies(&key), 1);
        }
    });
}

#[test]
fn a_key_that_may_not_sign_is_refused() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        foreign_key(
            hsm,
            &token,
            "derive",
            &[Attribute::Sign(false), Attribute::Extractable(false)],
        );
        let error = token
            .key(&uri("pkcs11:object=derive"), Extractable::Refuse)
            .expect_err("no use");
        assert!(error.to_string().contains("CKA_SIGN"), "{error}");
    });
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let (one, two) = (
            make(&token, KeyKind::EcdsaP256, "one"),
            make(&token, KeyKind::EcdsaP256, "two"),
        );
        let error = one
            .certify(vec![certificate(&two)])
            .expect_err("another key");
        assert!(
            matches!(&error, HsmError::CertificateMismatch { key } if key.contains("one")),
            "{error}"
        );
        assert!(matches!(
            one.certify(Vec::new()),
            Err(HsmError::CertificateUnreadable(_))
        ));
        let garbage = CertificateDer::from(vec![0x30, 0]);
        assert!(matches!(
            one.certify(vec![garbage]),
            Err(HsmError::CertificateUnreadable(_))
        ));
    });
}

/// A public key object that belongs to another private key: the certificate fits it, the signature does not.
#[test]
fn halves_that_do_not_belong_together_are_found_out() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        make(&token, KeyKind::EcdsaP256, "victim");
        let other = make(&token, KeyKind::EcdsaP256, "other");
        let certificate = certificate(&other);
        let pkcs11 = Pkcs11::new(hsm.softhsm()).unwrap();
        let session = pkcs11
            .open_rw_session(Slot::try_from(token.info().slot).unwrap())
            .unwrap();
        let find = |class, label: &str| {
            session
                .find_objects(&[Attribute::Class(class), Attribute::Label(label.into())])
                .unwrap()[0]
        };
        use cryptoki::object::ObjectClass;
        let id = &token
            .key(&uri("pkcs11:object=victim"), Extractable::Refuse)
            .unwrap()
            .info()
            .id
            .clone();
        session
            .destroy_object(find(ObjectClass::PUBLIC_KEY, "victim"))
            .unwrap();
        let swapped = [Attribute::Id(id.clone())];
        session
            .update_attributes(find(ObjectClass::PUBLIC_KEY, "other"), &swapped)
            .unwrap();

        let victim = token
            .key(&uri("pkcs11:object=victim"), Extractable::Refuse)
            .unwrap();
        assert_eq!(victim.spki(), other.spki());
        let error = victim.certify(vec![certificate]).expect_err("wrong half");
        assert!(matches!(error, HsmError::ProofFailed { .. }), "{error}");
    });
}

#[test]
fn a_software_key_signs_behind_the_same_signer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    for (algorithm, kind) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, KeyKind::EcdsaP256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, KeyKind::EcdsaP384),
        (&rcgen::PKCS_ECDSA_P521_SHA512, KeyKind::EcdsaP521),
        (&rcgen::PKCS_ED25519, KeyKind::Ed25519),
        (&rcgen::PKCS_RSA_SHA256, KeyKind::Rsa { bits: 2048 }),
    ] {
        fs::write(
            &path,
            rcgen::KeyPair::generate_for(algorithm)
                .unwrap()
                .serialize_pem(),
        )
        .unwrap();
        let key = Key::software(&path).unwrap();
        assert_eq!(
            (key.info().kind, key.info().provenance),
            (kind, Provenance::Software)
        );
        assert_eq!(key.info().uri, format!("file:{}", path.display()));
        assert!(signs_and_verifies(&key) > 0);
        key.certify(vec![certificate(&key)]).unwrap();
    }
    fs::write(
        &path,
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXNlY3JldA==\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let error = Key::software(&path).expect_err("no key");
    assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    assert!(Key::software(&folder.path().join("missing")).is_err());
}

#[test]
fn the_label_of_the_token_is_part_of_the_uri() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let info = keygen(&token, KeyKind::EcdsaP256, "näme; of/key", Some(&[0xff])).unwrap();
        assert_eq!(
            info.uri,
            "pkcs11:token=edge;object=n%C3%A4me%3B%20of%2Fkey;type=private;id=%FF"
        );
        let key = token.key(&uri(&info.uri), Extractable::Refuse).unwrap();
        assert_eq!(key.info().label, "näme; of/key");
        assert!(info.uri.contains(LABEL));
    });
}
