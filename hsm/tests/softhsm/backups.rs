//! Wrapped keys: what may leave a token, what comes back, and what other tools make of it.

use std::fs;

use portcullis_hsm::generate::{
    DeleteScope, KeyName, WrappedKey, delete, inventory, keygen, keygen_extractable,
    keygen_wrapping, sign_every_scheme, unwrap, wrap,
};
use portcullis_hsm::{Extractable, HsmError, KeyKind, Provenance, Token};

use crate::harness::with_softhsm;
use crate::keys::uri;
use crate::tools::{has, openssl, pkcs11_tool};

const KEK: &str = "pkcs11:object=kek;type=secret-key";

#[test]
fn a_key_that_must_not_leave_is_not_wrapped() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        keygen(&token, KeyKind::EcdsaP256, "stays", None).unwrap();
        keygen_extractable(&token, KeyKind::EcdsaP256, "goes", None).unwrap();
        let wrapped = |key: &str, with: &str| wrap(&token, &uri(key), &uri(with));
        let error = wrapped("pkcs11:object=goes", KEK).expect_err("no wrapping key");
        assert!(error.to_string().contains("no wrapping keys"), "{error}");
        keygen_wrapping(&token, "kek", None).unwrap();
        assert!(keygen_wrapping(&token, "kek", None).is_err(), "taken");
        let error = wrapped("pkcs11:object=stays", KEK).expect_err("stays");
        assert!(matches!(error, HsmError::KeyStays { .. }), "{error}");
        assert!(error.to_string().contains("--extractable"), "{error}");
        // SoftHSM 2.6 has no PKCS#8 for Ed25519; the error names the token's own words.
        keygen_extractable(&token, KeyKind::Ed25519, "ed", None).unwrap();
        let error = wrapped("pkcs11:object=ed", KEK).expect_err("not this kind");
        let told = error.to_string();
        assert!(
            told.contains("ed25519") && told.contains("CKR_KEY_NOT_WRAPPABLE"),
            "{told}"
        );
        assert!(told.contains("CKM_AES_KEY_WRAP_PAD"), "{told}");
        assert!(wrapped("pkcs11:object=none", KEK).is_err());
        assert!(wrapped("pkcs11:object=goes", "pkcs11:object=other").is_err());
        assert!(wrapped("pkcs11:object=goes", "pkcs11:token=west;object=kek").is_err());
    });
}

#[test]
fn every_kind_goes_out_and_comes_back_as_the_same_key() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        keygen_wrapping(&token, "kek", None).unwrap();
        for kind in [
            KeyKind::EcdsaP256,
            KeyKind::EcdsaP384,
            KeyKind::EcdsaP521,
            KeyKind::Rsa { bits: 2048 },
            KeyKind::Rsa { bits: 3072 },
        ] {
            let label = kind.to_string();
            let made = keygen_extractable(&token, kind, &label, None).unwrap();
            assert_eq!(made.provenance, Provenance::Extractable);
            let key = uri(&made.uri);
            let backup = wrap(&token, &key, &uri(KEK)).unwrap();
            damaged(&token, &backup);
            delete(&token, &key, DeleteScope::Key, |_| true).unwrap();

            let name = KeyName {
                label: &label,
                id: Some(&made.id),
            };
            let back = unwrap(&token, &backup, &uri(KEK), name, Extractable::Refuse).unwrap();
            assert_eq!((back.kind, back.provenance), (kind, Provenance::Imported));
            let key = token.key(&uri(&back.uri), Extractable::Refuse).unwrap();
            assert_eq!(key.spki(), backup.spki);
            let tried = sign_every_scheme(&key);
            assert!(tried.iter().all(|(_, result)| result.is_ok()), "{tried:?}");
        }
    });
}

/// A backup that is not what it was, or has another public key, leaves nothing in the token.
fn damaged(token: &Token, backup: &WrappedKey) {
    let before = inventory(token).unwrap().keys.len();
    let refused = |backup: &WrappedKey| {
        let name = KeyName {
            label: "damaged",
            id: None,
        };
        unwrap(token, backup, &uri(KEK), name, Extractable::Refuse).expect_err("damaged")
    };
    let mut flipped = backup.clone();
    flipped.wrapped[9] ^= 1;
    refused(&flipped);
    let mut other = backup.clone();
    let end = other.spki.len() - 10;
    other.spki[end] ^= 1;
    refused(&other);
    let none = WrappedKey {
        wrapped: backup.wrapped.clone(),
        spki: vec![0x30, 0],
    };
    refused(&none);
    assert_eq!(inventory(token).unwrap().keys.len(), before);
    assert!(
        token
            .key(&uri("pkcs11:object=damaged"), Extractable::Allow)
            .is_err()
    );
}

/// The format is that of the standard: openssl unwraps it with the same AES key.
#[test]
fn openssl_reads_a_wrapped_key() {
    with_softhsm(|hsm| {
        if !has("openssl", "openssl") || !has("pkcs11-tool", "opensc") {
            return;
        }
        let token = hsm.token(hsm.softhsm());
        let (kek, wrapped) = (hsm.file("kek"), hsm.file("wrapped"));
        fs::write(&kek, [0x5a; 32]).unwrap();
        let kek = kek.display().to_string();
        let write = [
            "--write-object",
            &kek,
            "--type",
            "secrkey",
            "--key-type",
            "AES:32",
            "--label",
            "kek",
            "--usage-wrap",
        ];
        pkcs11_tool(hsm, &write);
        keygen_extractable(&token, KeyKind::EcdsaP256, "goes", None).unwrap();
        let backup = wrap(&token, &uri("pkcs11:object=goes"), &uri(KEK)).unwrap();
        fs::write(&wrapped, &backup.wrapped).unwrap();
        let (plain, wrapped) = (
            hsm.file("plain").display().to_string(),
            wrapped.display().to_string(),
        );
        let key = "5a".repeat(32);
        openssl(
            &[
                "enc",
                "-d",
                "-id-aes256-wrap-pad",
                "-K",
                &key,
                "-iv",
                "A65959A6",
                "-in",
                &wrapped,
                "-out",
                &plain,
            ],
            b"",
        );
        let public = openssl(&["pkey", "-inform", "DER", "-in", &plain, "-pubout"], b"");
        let ours = openssl(&["pkey", "-pubin", "-inform", "DER"], &backup.spki);
        assert_eq!(public, ours);
    });
}
