//! Certificate chains in the token: stored beside their key, found again, rotated, and removed with it.

use std::fs;
use std::path::Path;

use portcullis_hsm::generate::{
    DeleteScope, Names, Renewal, csr, delete, import_certificate, inventory, keygen, selfsign,
    stored_chain,
};
use portcullis_hsm::{HsmError, Key, KeyKind};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::harness::{Hsm, with_softhsm};
use crate::keys::{make, uri};
use crate::tools::{has, openssl, pkcs11_tool, private_key};

/// A root and an issuing CA made by openssl.
struct Authority<'a>(&'a Hsm);

impl<'a> Authority<'a> {
    fn new(hsm: &'a Hsm) -> Self {
        let at = |name: &str| hsm.file(name).display().to_string();
        for name in ["root.key", "issuing.key"] {
            let p256 = [
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ];
            private_key(Path::new(&at(name)), &p256);
        }
        let ca = "basicConstraints=critical,CA:TRUE";
        openssl(
            &[
                "req",
                "-x509",
                "-new",
                "-key",
                &at("root.key"),
                "-subj",
                "/CN=Test root",
                "-addext",
                ca,
                "-out",
                &at("root.pem"),
            ],
            b"",
        );
        let request = openssl(
            &[
                "req",
                "-new",
                "-key",
                &at("issuing.key"),
                "-subj",
                "/O=Example/CN=Test issuing",
                "-addext",
                ca,
            ],
            b"",
        );
        let issuing = sign(hsm, request.as_bytes(), "root");
        fs::write(at("issuing.pem"), issuing).unwrap();
        Authority(hsm)
    }

    /// A chain for the key: leaf, issuing CA, root.
    fn chain(&self, key: &Key) -> String {
        let names = Names {
            alternative: vec!["api.example".to_owned()],
            ..Names::default()
        };
        let leaf = sign(self.0, csr(key, &names).unwrap().as_bytes(), "issuing");
        let read = |name: &str| fs::read_to_string(self.0.file(name)).unwrap();
        leaf + &read("issuing.pem") + &read("root.pem")
    }
}

fn sign(hsm: &Hsm, request: &[u8], issuer: &str) -> String {
    let at = |name: String| hsm.file(&name).display().to_string();
    let (certificate, key) = (at(format!("{issuer}.pem")), at(format!("{issuer}.key")));
    openssl(
        &[
            "x509",
            "-req",
            "-CA",
            &certificate,
            "-CAkey",
            &key,
            "-days",
            "30",
            "-copy_extensions",
            "copyall",
        ],
        request,
    )
}

fn ders(pem: &str) -> Vec<CertificateDer<'static>> {
    let ders: Result<_, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    ders.unwrap()
}

#[test]
fn a_chain_of_another_key_is_refused_and_leaves_nothing() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let store = |pem: &str, key: &str| {
            import_certificate(&token, pem.as_bytes(), Some(&uri(key)), Renewal::Refuse)
        };
        let one = make(&token, KeyKind::EcdsaP256, "one");
        make(&token, KeyKind::EcdsaP256, "two");
        let pem = selfsign(&one, &["one.example".to_owned()], 30).unwrap();
        let error = store(&pem, "pkcs11:object=two").expect_err("another key");
        assert!(
            matches!(error, HsmError::CertificateMismatch { .. }),
            "{error}"
        );
        let error = store(&pem, "pkcs11:object=three").expect_err("no key");
        assert!(matches!(error, HsmError::KeySelection { .. }), "{error}");
        for garbage in [
            "",
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        ] {
            let error = store(garbage, "pkcs11:object=one").expect_err("garbage");
            assert!(
                matches!(error, HsmError::CertificateUnreadable(_)),
                "{error}"
            );
        }
        let stranger = rcgen::generate_simple_self_signed(["x.example".to_owned()]).unwrap();
        let pem = stranger.cert.pem();
        assert!(import_certificate(&token, pem.as_bytes(), None, Renewal::Refuse).is_err());
        assert!(inventory(&token).unwrap().certificates.is_empty());
    });
}

#[test]
fn a_chain_is_stored_once_and_read_back_leaf_first() {
    with_softhsm(|hsm| {
        if !has("openssl", "openssl") || !has("pkcs11-tool", "opensc") {
            return;
        }
        let token = hsm.token(hsm.softhsm());
        let authority = Authority::new(hsm);
        // Two keys under one CA: the issuer is shared.
        for (label, present) in [("api", 0), ("web", 1)] {
            let key = make(&token, KeyKind::EcdsaP256, label);
            let pem = authority.chain(&key);
            let store = || import_certificate(&token, pem.as_bytes(), None, Renewal::Refuse);
            let stored = store().unwrap();
            assert_eq!(
                (stored.stored.len(), stored.present),
                (2 - present, present)
            );
            assert_eq!(stored.leaf.id(), Some(&key.info().id[..]));
            assert_eq!(stored.leaf.object(), Some(label));
            let again = store().unwrap();
            assert_eq!(
                (again.stored.len(), again.present, again.replaced),
                (0, 2, 0)
            );

            // The root is left out: a server does not send it.
            let expected = &ders(&pem)[..2];
            for name in [
                stored.leaf.to_string(),
                format!("pkcs11:object={label}"),
                format!("pkcs11:object={label};type=cert"),
            ] {
                let chain = stored_chain(&token, &uri(&name)).unwrap();
                assert_eq!(chain, expected, "{name}");
            }
            key.certify(stored_chain(&token, &stored.leaf).unwrap())
                .unwrap();
        }
        for name in [
            "pkcs11:",
            "pkcs11:object=none",
            "pkcs11:object=api;type=private",
        ] {
            let error = stored_chain(&token, &uri(name)).expect_err(name);
            let told = error.to_string();
            assert!(matches!(error, HsmError::ObjectSelection { .. }), "{told}");
            assert!(
                told.contains("object=api") && told.contains("object=web"),
                "{told}"
            );
        }
        assert!(matches!(
            stored_chain(&token, &uri("pkcs11:token=west;object=api")),
            Err(HsmError::TokenSelection { .. })
        ));
    });
}

/// The conventions hold in the eyes of others: ids of keys, hashes of public keys.
#[test]
fn pkcs11_tool_finds_a_certificate_by_the_id_of_its_key() {
    with_softhsm(|hsm| {
        if !has("openssl", "openssl") || !has("pkcs11-tool", "opensc") {
            return;
        }
        let token = hsm.token(hsm.softhsm());
        let key = make(&token, KeyKind::EcdsaP256, "api");
        let pem = Authority::new(hsm).chain(&key);
        import_certificate(&token, pem.as_bytes(), None, Renewal::Refuse).unwrap();
        let listed = pkcs11_tool(hsm, &["--list-objects", "--type", "cert"]);
        assert_eq!(listed.matches("Certificate Object").count(), 2, "{listed}");
        let issuing = listed
            .split("Certificate Object")
            .find(|object| object.contains("Test issuing"));
        let der = hsm.file("issuing.pem");
        let hash = openssl(
            &[
                "x509",
                "-in",
                der.to_str().unwrap(),
                "-noout",
                "-ext",
                "subjectKeyIdentifier",
            ],
            b"",
        );
        let hash = hash
            .lines()
            .last()
            .unwrap()
            .trim()
            .replace(':', "")
            .to_lowercase();
        assert!(issuing.unwrap().contains(&hash), "{hash}: {listed}");
        let id: String = key
            .info()
            .id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let out = hsm.file("read.der").display().to_string();
        pkcs11_tool(
            hsm,
            &[
                "--read-object",
                "--type",
                "cert",
                "--id",
                &id,
                "--output-file",
                &out,
            ],
        );
        let subject = openssl(
            &["x509", "-inform", "DER", "-in", &out, "-noout", "-subject"],
            b"",
        );
        assert!(subject.contains("api.example"), "{subject}");
    });
}

#[test]
fn a_renewed_certificate_replaces_the_old_one_only_when_told() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let key = make(&token, KeyKind::EcdsaP384, "site");
        let sign = || selfsign(&key, &["site.example".to_owned()], 30).unwrap();
        let (old, new) = (sign(), sign());
        let store = |pem: &str, renewal| import_certificate(&token, pem.as_bytes(), None, renewal);
        store(&old, Renewal::Refuse).unwrap();
        let error = store(&new, Renewal::Refuse).expect_err("there is one");
        assert!(error.to_string().contains("replace"), "{error}");
        let name = uri("pkcs11:object=site;type=cert");
        assert_eq!(stored_chain(&token, &name).unwrap(), ders(&old));
        assert_eq!(store(&new, Renewal::Replace).unwrap().replaced, 1);
        // Self-signed, and yet in the chain: it is the leaf.
        assert_eq!(stored_chain(&token, &name).unwrap(), ders(&new));
    });
}

#[test]
fn what_is_deleted_is_one_key_with_what_belongs_to_it() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        for label in ["keep", "drop"] {
            let key = make(&token, KeyKind::EcdsaP256, label);
            let pem = selfsign(&key, &["site.example".to_owned()], 30).unwrap();
            import_certificate(&token, pem.as_bytes(), None, Renewal::Refuse).unwrap();
        }
        let remove = |name: &str, scope, yes| delete(&token, &uri(name), scope, |_| yes);
        let all = DeleteScope::KeyAndCertificates;
        for name in [
            "pkcs11:",
            "pkcs11:object=none",
            "pkcs11:token=west;object=drop",
        ] {
            let error =
                delete(&token, &uri(name), all, |_| panic!("nobody is asked")).expect_err(name);
            assert!(error.to_string().contains("token=edge"), "{error}");
        }
        assert!(remove("pkcs11:object=drop;type=public", all, true).is_err());
        assert!(remove("pkcs11:object=drop", all, false).unwrap().is_empty());
        assert_eq!(inventory(&token).unwrap().keys.len(), 2);

        let removed = remove("pkcs11:object=drop", all, true).unwrap();
        let types: Vec<_> = removed
            .iter()
            .map(|uri| uri.object_type().unwrap().as_str())
            .collect();
        assert_eq!(types, ["cert", "public", "private"]);
        let left = inventory(&token).unwrap();
        assert_eq!((left.keys.len(), left.certificates.len()), (1, 1));
        assert_eq!(left.keys[0].label, "keep");
        assert!(left.certificates[0].uri.to_string().contains("object=keep"));

        // The certificate alone, then the key alone.
        remove("pkcs11:object=keep;type=cert", all, true).unwrap();
        let removed = remove("pkcs11:object=keep", DeleteScope::Key, true).unwrap();
        assert_eq!(removed.len(), 2);
        assert!(inventory(&token).unwrap().keys.is_empty());
        // A name that is free again can be taken.
        keygen(&token, KeyKind::EcdsaP256, "drop", None).unwrap();
    });
}
