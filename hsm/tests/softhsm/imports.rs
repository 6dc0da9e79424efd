//! Keys and requests: what comes into a token from files, and what a CA is asked.

use std::fs;

use portcullis_hsm::generate::{
    KeyName, Names, csr, import_key, inventory, keygen, sign_every_scheme,
};
use portcullis_hsm::{Extractable, HsmError, KeyKind, Provenance};

use crate::harness::with_softhsm;
use crate::keys::{make, uri};
use crate::tools::{has, openssl, pkcs11_tool, private_key};

/// How openssl makes each kind, in the forms that keys come in.
const FILES: [(&str, &[&str], KeyKind); 8] = [
    (
        "pkcs8-p256",
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ],
        KeyKind::EcdsaP256,
    ),
    (
        "sec1-p256",
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout"],
        KeyKind::EcdsaP256,
    ),
    (
        "pkcs8-p384",
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
        ],
        KeyKind::EcdsaP384,
    ),
    (
        "pkcs8-p521",
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-521",
        ],
        KeyKind::EcdsaP521,
    ),
    (
        "pkcs8-rsa",
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ],
        KeyKind::Rsa { bits: 2048 },
    ),
    (
        "pkcs1-rsa",
        &["genrsa", "-traditional", "3072"],
        KeyKind::Rsa { bits: 3072 },
    ),
    (
        "pkcs8-rsa4096",
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:4096",
        ],
        KeyKind::Rsa { bits: 4096 },
    ),
    (
        "pkcs8-ed25519",
        &["genpkey", "-algorithm", "ED25519"],
        KeyKind::Ed25519,
    ),
];

#[test]
fn what_is_no_key_or_is_taken_is_refused_and_leaves_nothing() {
    with_softhsm(|hsm| {
        if !has("openssl", "openssl") {
            return;
        }
        let token = hsm.token(hsm.softhsm());
        let file = hsm.file("key.pem");
        let refused =
            |label: &str| import_key(&token, &file, KeyName { label, id: None }).expect_err(label);

        assert!(matches!(refused("missing"), HsmError::SoftwareKey { .. }));
        fs::write(
            &file,
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        let error = refused("garbage");
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
        private_key(
            &file,
            &[
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:1024",
            ],
        );
        refused("short");
        private_key(
            &file,
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:secp256k1",
            ],
        );
        refused("curve");
        private_key(
            &file,
            &[
                "genpkey",
                "-algorithm",
                "ED25519",
                "-aes-256-cbc",
                "-pass",
                "pass:secret",
            ],
        );
        let error = refused("encrypted");
        assert!(error.to_string().contains("decrypt it first"), "{error}");

        private_key(&file, &["genpkey", "-algorithm", "ED25519"]);
        assert!(matches!(refused(""), HsmError::Generate(_)));
        assert!(inventory(&token).unwrap().keys.is_empty());
        keygen(&token, KeyKind::EcdsaP256, "taken", Some(&[1])).unwrap();
        assert!(refused("taken").to_string().contains("label"));
        let id = Some(&[1_u8][..]);
        let error = import_key(&token, &file, KeyName { label: "new", id }).expect_err("id");
        assert!(error.to_string().contains("id"), "{error}");
        assert_eq!(inventory(&token).unwrap().keys.len(), 1);
    });
}

#[test]
fn every_form_of_key_is_imported_and_signs() {
    with_softhsm(|hsm| {
        if !has("openssl", "openssl") || !has("pkcs11-tool", "opensc") {
            return;
        }
        let token = hsm.token(hsm.softhsm());
        for (label, arguments, kind) in FILES {
            let file = hsm.file(label);
            private_key(&file, arguments);
            let info = import_key(&token, &file, KeyName { label, id: None }).unwrap();
            assert_eq!(
                (info.kind, info.provenance),
                (kind, Provenance::Imported),
                "{label}"
            );
            assert!(
                info.sensitive && !info.extractable && !info.local,
                "{info:?}"
            );
            let key = token.key(&uri(&info.uri), Extractable::Refuse).unwrap();
            let tried = sign_every_scheme(&key);
            assert!(
                !tried.is_empty() && tried.iter().all(|(_, result)| result.is_ok()),
                "{tried:?}"
            );
            // The public half of the file is that of the token, in the eyes of openssl.
            let told = openssl(&["pkey", "-in", file.to_str().unwrap(), "-pubout"], b"");
            let ours = openssl(&["pkey", "-pubin", "-inform", "DER"], key.spki());
            assert_eq!(told, ours, "{label}");
        }
        let listed = pkcs11_tool(hsm, &["--list-objects"]);
        for (label, ..) in FILES {
            // Both halves under one label.
            assert_eq!(
                listed.matches(&format!("label:      {label}\n")).count(),
                2,
                "{listed}"
            );
        }
    });
}

#[test]
fn a_request_names_what_it_is_for_and_is_signed_by_the_key() {
    with_softhsm(|hsm| {
        if !has("openssl", "openssl") {
            return;
        }
        let token = hsm.token(hsm.softhsm());
        for kind in [
            KeyKind::EcdsaP256,
            KeyKind::EcdsaP384,
            KeyKind::EcdsaP521,
            KeyKind::Rsa { bits: 2048 },
            KeyKind::Ed25519,
        ] {
            let key = make(&token, kind, &kind.to_string());
            let names = |alternative: &[&str]| Names {
                alternative: alternative.iter().map(|name| (*name).to_owned()).collect(),
                common: None,
                organization: Some("Example Ltd".to_owned()),
            };
            for wrong in [&[][..], &["two words"], &["-x.example"], &["http://ä"]] {
                assert!(csr(&key, &names(wrong)).is_err(), "{wrong:?}");
            }
            let alternative = [
                "api.example",
                "*.api.example",
                "192.0.2.7",
                "2001:db8::7",
                "spiffe://example/api",
            ];
            let pem = csr(&key, &names(&alternative)).unwrap();
            // -verify: openssl checks the signature of the request with its public key.
            let told = openssl(&["req", "-verify", "-noout", "-text"], pem.as_bytes());
            for wanted in [
                "DNS:api.example",
                "DNS:*.api.example",
                "IP Address:192.0.2.7",
                "IP Address:2001:DB8:0:0:0:0:0:7",
                "URI:spiffe://example/api",
                "O = Example Ltd",
                "CN = api.example",
            ] {
                assert!(told.contains(wanted), "{wanted}: {told}");
            }
            let public = openssl(&["req", "-noout", "-pubkey"], pem.as_bytes());
            let ours = openssl(&["pkey", "-pubin", "-inform", "DER"], key.spki());
            assert_eq!(public, ours);
        }
    });
}
