//! Certificates are as described: read back by another parser, and by the `openssl` program's
//! verifier.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use x509_parser::extensions::GeneralName;

use super::*;

const NAME: &str = "Portcullis test root";

/// What `openssl verify` says of a client chain below `root`: nothing when it is fine.
fn complaint(leaf: &Leaf, root: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("root.pem"), root).unwrap();
    let files = leaf.write(folder.path(), "leaf").unwrap();
    let output = Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-purpose",
            "sslclient",
            "-CAfile",
            "root.pem",
        ])
        .arg("-untrusted")
        .args([&files.chain, &files.chain])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(said)
}

#[test]
fn each_flaw_that_openssl_looks_for_is_found_by_it() {
    let root = Ca::root(NAME).unwrap();
    let client = Client::new("client")
        .uri("spiffe://demo.portcullis/client")
        .unwrap();
    for flaw in Flaw::ALL {
        let leaf = flaw.forge(&client, &root, NAME).unwrap();
        let expected = match flaw {
            Flaw::Expired => "has expired",
            Flaw::NotYetValid => "not yet valid",
            Flaw::WrongUsage | Flaw::IsCa => "purpose",
            Flaw::UnknownCa | Flaw::ForgedCa => "unable to get local issuer",
            Flaw::SelfSigned => "self",
            Flaw::IssuedByLeaf => "invalid CA certificate",
            Flaw::PathLength => "path length",
            // openssl decides the form that our verifier does not, and minds the client's other URI.
            Flaw::NameConstraint | Flaw::UriConstraint => "permitted subtree",
            // The verifier of openssl minds none of these at its default security level.
            Flaw::Sha1 | Flaw::Rsa1024 | Flaw::TenDeep | Flaw::ManyNames => {
                assert_eq!(complaint(&leaf, root.root_pem()), None, "{flaw:?}");
                continue;
            }
        };
        let said = complaint(&leaf, root.root_pem()).unwrap_or_default();
        assert!(said.contains(expected), "{flaw:?}: {said}");
    }
}

#[test]
fn right_clients_are_right() {
    let root = Ca::root(NAME).unwrap();
    let client = Client::new("client")
        .uri("spiffe://demo.portcullis/client")
        .unwrap();
    let issuing = root.intermediate("issuing").unwrap();
    let bound = issuing
        .intermediate_for_domain("bound", "allowed.example")
        .unwrap();
    let within = client.clone().dns("a.allowed.example").unwrap();
    let last = root.intermediate_with_path_length("last", 0).unwrap();
    for leaf in [
        client.issued_by(&root),
        client.issued_by(&issuing),
        client.issued_by(&last),
        within.issued_by(&bound),
        client.clone().key(KeyKind::Rsa2048).issued_by(&root),
        client.clone().usage(Usage::Unsaid).issued_by(&root),
    ] {
        assert_eq!(complaint(&leaf.unwrap(), root.root_pem()), None);
    }
}

#[test]
fn weak_and_large_certificates_are_what_they_say() {
    let root = Ca::root(NAME).unwrap();
    let client = Client::new("client");
    let der = |flaw: Flaw| {
        let leaf = flaw.forge(&client, &root, NAME).unwrap();
        (leaf.chain_der().unwrap().remove(0), leaf.chain.len())
    };
    let (sha1, _) = der(Flaw::Sha1);
    let algorithm = parse_x509_certificate(&sha1)
        .unwrap()
        .1
        .signature_algorithm
        .algorithm;
    assert_eq!(algorithm.to_id_string(), "1.2.840.10045.4.1");
    let (rsa, _) = der(Flaw::Rsa1024);
    let key = parse_x509_certificate(&rsa)
        .unwrap()
        .1
        .public_key()
        .parsed()
        .unwrap()
        .key_size();
    assert_eq!(key, 1024);
    let (many, _) = der(Flaw::ManyNames);
    let certificate = parse_x509_certificate(&many).unwrap().1;
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 3_000);
    assert_eq!(der(Flaw::TenDeep).1, 11);
}

#[test]
fn a_server_is_certified_by_its_public_key_alone() {
    let root = Ca::root(NAME).unwrap();
    let issuing = root.intermediate("issuing").unwrap();
    // Stands for a key in a token: only its self-signed certificate is seen.
    let own = Flaw::SelfSigned
        .forge(&Client::new("token"), &root, NAME)
        .unwrap();
    let public_key = public_key_of(&own.chain_pem()).unwrap();
    let chain = issuing
        .server_chain(&["localhost", "127.0.0.1"], &public_key)
        .unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(public_key_of(&chain).unwrap(), public_key);
    let der = certificate_der(&chain).unwrap();
    let (_, leaf) = parse_x509_certificate(&der).unwrap();
    let names = leaf
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names
        .clone();
    let expected = [
        GeneralName::DNSName("localhost"),
        GeneralName::IPAddress(&[127, 0, 0, 1]),
    ];
    assert_eq!(names, expected);
}

#[test]
fn keys_are_readable_by_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.key");
    write_file(&path, "old and open to all").unwrap();
    let root = Ca::root(NAME).unwrap();
    let files = Client::new("a")
        .issued_by(&root)
        .unwrap()
        .write(folder.path(), "a")
        .unwrap();
    assert_eq!(files.key, path);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn lists_and_answers_are_read_by_openssl() {
    let root = Ca::root(NAME).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_file(&path("root.pem"), root.pem()).unwrap();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace());
        let output = command.current_dir(folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    };
    let list = List::new(7).revoke_for(0x1234_u64, 6).delta_of(5);
    let list = list.scope(Scope::Users).signed_by(&root).unwrap();
    fs::write(path("list"), list).unwrap();
    let said = openssl("crl -inform DER -in list -CAfile root.pem -noout -text");
    for word in [
        "verify OK",
        "1234",
        "Certificate Hold",
        "Delta CRL",
        "Only User",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let leaf = Client::new("leaf")
        .serial(0xabcdef)
        .responder_at("http://127.0.0.1:1/");
    let leaf = leaf.issued_by(&root).unwrap();
    write_file(&path("leaf.pem"), &leaf.chain_pem()).unwrap();
    openssl("ocsp -issuer root.pem -cert leaf.pem -reqout question -no_nonce");
    let question = fs::read(path("question")).unwrap();
    assert_eq!(serial_asked(&question), Some(0x00ab_cdef));
    let answer = Answer::new(Standing::Revoked).signed_by(&root, &question);
    fs::write(path("answer"), answer.unwrap()).unwrap();
    let said = openssl("ocsp -issuer root.pem -cert leaf.pem -respin answer -CAfile root.pem");
    assert!(
        said.contains("verify OK") && said.contains("leaf.pem: revoked"),
        "{said}"
    );
    assert!(openssl("x509 -in leaf.pem -noout -ocsp_uri").contains("http://127.0.0.1:1/"));
}
