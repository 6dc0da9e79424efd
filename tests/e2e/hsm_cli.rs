//! `portcullis hsm ...` through the real binary, against SoftHSM, read by openssl and pkcs11-tool.

mod machine;

use serde_json::json;

use crate::harness::{Desk, SHIM, Token, text};

#[tokio::test]
async fn every_refusal_has_its_exit_code() {
    let desk = Desk::new().await;
    desk.done("keygen --label api").await;
    for (words, code, told) in [
        ("list --pin 174711", 2, "PIN source"),
        ("list --token edge --slot 1", 2, "cannot be used with"),
        ("keygen", 2, "--label"),
        (
            "keygen --label k --kind aes256 --extractable",
            2,
            "--extractable",
        ),
        ("check --key pkcs11:object=a;object=b", 2, "object"),
        ("list --token west", 3, "choose one with --token"),
        ("check --key pkcs11:token=west;object=api", 3, "edge"),
        (
            "csr --key pkcs11:object=none --name a.example",
            3,
            "object=api",
        ),
        ("delete --yes --key pkcs11:object=none", 3, "object=api"),
        (
            "unwrap --in a --with pkcs11:object=kek --label b",
            1,
            "cannot read",
        ),
        ("keygen --label api", 1, "label already"),
        ("init --label edge --so-pin file:so-pin", 1, "already"),
        (
            "import --key-file nothing.pem --label new",
            1,
            "nothing.pem",
        ),
        ("list --pin file:nothing", 5, "file:nothing"),
        ("list --pin file:wrong", 5, "refused the PIN"),
        // SoftHSM says now that a try was lost; none is spent by us.
        ("list", 5, "few PIN tries"),
    ] {
        let said = desk.hsm(words).await;
        assert_eq!(said.status.code(), Some(code), "{words}: {said:?}");
        assert!(said.stderr.contains(told), "{words}: {said:?}");
        assert!(said.stdout.is_empty(), "{words}: {said:?}");
    }
    // The flags are read without a login, so that they tell why there is none.
    let (code, report) = desk.json("check").await;
    assert_eq!((code, &report["ok"]), (Some(5), &json!(false)));
    assert!(
        report["pin"].to_string().contains("CKF_USER_PIN_COUNT_LOW"),
        "{report}"
    );
    desk.pkcs11_tool("--list-objects").await;
    desk.done("list").await;
}

#[tokio::test]
async fn a_key_lives_from_an_empty_slot_to_a_rotated_certificate() {
    let desk = Desk::new().await;
    let made = desk.done("keygen --kind p384 --label api").await;
    let key = text(&made["key"]["uri"]).to_owned();
    let names = "--name api.example --name 192.0.2.7 --name spiffe://example/api";
    desk.done(&format!("csr --key {key} {names} --out api.csr"))
        .await;
    desk.openssl("genpkey -algorithm ED25519 -out ca.key").await;
    desk.openssl(
        "req -x509 -new -key ca.key -subj /CN=Test -addext keyUsage=keyCertSign -out ca.pem",
    )
    .await;
    for serial in ["1", "2"] {
        let out = format!("-set_serial {serial} -out api{serial}.pem");
        let sign = "x509 -req -in api.csr -CA ca.pem -CAkey ca.key -copy_extensions copyall";
        desk.openssl(&format!("{sign} {out}")).await;
    }
    let names = desk
        .openssl("x509 -in api1.pem -noout -ext subjectAltName")
        .await;
    assert!(names.contains("URI:spiffe://example/api"), "{names}");

    let (_, before) = desk.json(&format!("check --key {key}")).await;
    assert!(before.to_string().contains("none in the token"), "{before}");
    desk.done("import --cert api1.pem").await;
    let refused = desk.hsm("import --cert api2.pem").await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let stored = desk.done("import --cert api2.pem --replace").await;
    assert_eq!(stored["certificate"]["replaced"], 1);
    assert_eq!(
        stored["certificate"]["leaf"],
        key.replace("private", "cert")
    );

    let checked = desk.done("check").await;
    assert_eq!(checked["ok"], true);
    assert_eq!(checked["keys"][0]["tls13_ready"], true);
    for words in [
        "ECDSA_NISTP384_SHA384",
        "is for this key",
        "generated-in-hsm",
    ] {
        assert!(checked.to_string().contains(words), "{words}: {checked}");
    }
    let id = text(&made["key"]["id"]);
    desk.pkcs11_tool(&format!(
        "--read-object --type cert --id {id} --output-file read.der"
    ))
    .await;
    let serial = desk
        .openssl("x509 -inform DER -in read.der -noout -serial")
        .await;
    assert_eq!(serial.trim(), "serial=02");

    // Nobody to ask: no terminal, no --yes, nothing is deleted.
    let module = Token::shared().module().display().to_string();
    let asked = [
        "-w", SHIM, "hsm", "delete", "--module", &module, "--pin", "file:pin", "--key", &key,
    ];
    let refused = desk.run("setsid", &asked).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert_eq!(desk.done("list").await["keys"].as_array().unwrap().len(), 1);
    let deleted = desk.done(&format!("delete --yes --key {key}")).await;
    assert_eq!(deleted["deleted"].as_array().unwrap().len(), 3);
    let left = desk.pkcs11_tool("--list-objects").await;
    assert!(!left.contains("Object"), "{left}");
}

#[tokio::test]
async fn a_key_from_a_file_comes_with_its_certificate_or_not_at_all() {
    let desk = Desk::new().await;
    for name in ["one", "two"] {
        let new = "req -x509 -newkey rsa:2048 -nodes -days 9 -subj";
        desk.openssl(&format!(
            "{new} /CN={name} -keyout {name}.key -out {name}.pem"
        ))
        .await;
    }
    let refused = desk
        .hsm("import --key-file one.key --label one --cert two.pem")
        .await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(
        desk.done("list").await["keys"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let done = desk
        .done("import --key-file one.key --label one --cert one.pem --id 0a0b")
        .await;
    assert_eq!(done["key"]["provenance"], "imported");
    assert_eq!(done["key"]["id"], "0a0b");
    let listed = desk.pkcs11_tool("--list-objects").await;
    assert_eq!(listed.matches("ID:         0a0b").count(), 3, "{listed}");
    let checked = desk.done("check --cert one.pem").await;
    assert!(checked.to_string().contains("RSA_PSS_SHA256"), "{checked}");
    // The certificate of another key: found out for one key, and for all.
    for words in [
        "check --cert two.pem",
        "check --key pkcs11:object=one --cert two.pem",
    ] {
        assert_eq!(desk.json(words).await.0, Some(4), "{words}");
    }
}

#[tokio::test]
async fn a_backup_brings_a_deleted_key_back() {
    let desk = Desk::new().await;
    let kek = desk.done("keygen --kind aes256 --label kek").await;
    let with = text(&kek["wrapping_key"]);
    let made = desk.done("keygen --label stays").await;
    let stays = format!(
        "wrap --key {} --with {with} --out x",
        text(&made["key"]["uri"])
    );
    let refused = desk.hsm(&stays).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("keygen --extractable"),
        "{refused:?}"
    );
    assert!(!desk.path("x").exists());

    let made = desk.done("keygen --label goes --extractable").await;
    assert_eq!(made["key"]["provenance"], "extractable");
    let key = text(&made["key"]["uri"]);
    desk.done(&format!("wrap --key {key} --with {with} --out backup"))
        .await;
    desk.done(&format!("delete --yes --key {key}")).await;
    let back = desk
        .done(&format!("unwrap --in backup --with {with} --label back"))
        .await;
    assert_eq!(back["key"]["provenance"], "imported");
    desk.done("csr --key pkcs11:object=back --name a.example --out back.csr")
        .await;
    let public = desk
        .openssl("req -in back.csr -noout -pubkey -verify")
        .await;
    let beside = desk.openssl("pkey -pubin -inform DER -in backup.pub").await;
    assert_eq!(public, beside);
}

#[tokio::test]
async fn a_secret_for_ticket_keys_is_made_listed_and_deleted() {
    let desk = Desk::new().await;
    let refused = "keygen --kind secret --label root --extractable";
    assert_eq!(desk.json(refused).await.0, Some(2));
    let made = desk.done("keygen --kind secret --label root").await;
    assert_eq!(made["provenance"], "generated-in-hsm");
    let next = text(&made["next"][0]);
    assert!(
        next.starts_with("[tickets] keys = { hsm = \"pkcs11:"),
        "{next}"
    );
    let taken = desk.hsm("keygen --kind secret --label root").await;
    assert_eq!(taken.status.code(), Some(1), "{taken:?}");
    let listed = desk.done("list").await;
    assert_eq!(listed["secrets"][0]["uri"], made["secret"]);
    assert_eq!(listed["secrets"][0]["generation"], 0);
    assert_eq!(listed["wrapping_keys"], serde_json::json!([]));
    let key = "pkcs11:object=root;type=secret-key";
    desk.done(&format!("delete --yes --key {key}")).await;
    assert_eq!(
        desk.json(&format!("delete --yes --key {key}")).await.0,
        Some(3)
    );
}

#[tokio::test]
async fn a_key_is_deleted_when_its_label_is_typed() {
    let desk = Desk::new().await;
    let made = desk.done("keygen --label api").await;
    let module = Token::shared().module().display().to_string();
    let key = text(&made["key"]["uri"]);
    // `script` gives the command a terminal of its own and types what it is given.
    let line = format!("{SHIM} hsm delete --module {module} --pin file:pin --key '{key}'");
    for (typed, code, left) in [("yes\n", 1, 1), ("api\n", 0, 0)] {
        let said = desk
            .typed("script", &["-qec", &line, "/dev/null"], typed)
            .await;
        assert_eq!(said.status.code(), Some(code), "{said:?}");
        assert!(said.stdout.contains("This cannot be undone"), "{said:?}");
        let listed = desk.done("list").await;
        assert_eq!(listed["keys"].as_array().unwrap().len(), left);
    }
}
