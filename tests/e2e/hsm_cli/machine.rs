//! What commands ask of the machine: its modules, its speed, its running gateway.

use std::fs;
use std::path::Path;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::write_file;
use serde_json::{Value, json};

use crate::harness::{Desk, Gateway, Token, text};

#[tokio::test]
async fn modules_are_found_and_one_that_hangs_or_is_none_is_told() {
    let desk = Desk::new().await;
    let registry = desk.path(".config/pkcs11/modules");
    fs::create_dir_all(&registry).unwrap();
    // A loader that opens a pipe waits for ever, as a vendor's library may.
    let made = desk.run("mkfifo", &["hangs.so"]).await;
    assert!(made.status.success(), "{made:?}");
    write_file(&desk.path("none.so"), "no library\n").unwrap();
    let softhsm = Token::shared().module().to_owned();
    for (name, path) in [
        ("hangs", desk.path("hangs.so")),
        ("none", desk.path("none.so")),
        ("soft", softhsm),
    ] {
        let line = format!("module: {}\n", path.display());
        write_file(&registry.join(format!("{name}.module")), &line).unwrap();
    }
    let found = desk.done("modules").await;
    let named = |path: &Path| {
        let modules = found["modules"].as_array().unwrap();
        let real = fs::canonicalize(path).unwrap();
        let same = |module: &&Value| fs::canonicalize(text(&module["path"])).unwrap() == real;
        modules
            .iter()
            .find(same)
            .unwrap_or_else(|| panic!("{}: {found}", path.display()))
            .clone()
    };
    let soft = named(Token::shared().module());
    assert_eq!(soft["tokens"][0]["label"], "edge");
    assert!(soft["free_slots"].as_u64().unwrap() >= 1, "{soft}");
    let hangs = named(&desk.path("hangs.so"));
    assert!(
        text(&hangs["error"]).contains("no answer within 5 s"),
        "{hangs}"
    );
    assert!(text(&hangs["source"]).contains("hangs.module"), "{hangs}");
    assert!(
        text(&named(&desk.path("none.so"))["error"]).contains("cannot load"),
        "{found}"
    );
}

#[tokio::test]
async fn a_bench_recommends_sessions_and_says_what_they_mean() {
    let desk = Desk::new().await;
    desk.done("keygen --label api").await;
    let bench = "bench --key pkcs11:token=edge;object=api --seconds 1 --sessions 1,2";
    let told = desk.done(bench).await;
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(
            row["signatures_per_second"].as_f64().unwrap() > 10.0,
            "{row}"
        );
        assert!(row["p50_us"].as_u64() <= row["p99_us"].as_u64(), "{row}");
    }
    let sessions = told["recommended_sessions"].as_u64().unwrap();
    assert_eq!(told["config"], format!("sessions = {sessions}"));
    assert!(
        text(&told["meaning"]).contains("full handshakes/s"),
        "{told}"
    );
    let refused = desk.hsm("bench --key pkcs11:object=none --seconds 1").await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let plain = desk.hsm(bench).await;
    assert!(plain.stdout.contains("sessions  signatures/s"), "{plain:?}");
    assert!(
        plain.stderr.is_empty(),
        "a bar is drawn on terminals only: {plain:?}"
    );
}

#[tokio::test]
async fn status_asks_the_running_gateway() {
    let desk = Desk::empty();
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .token(Token::shared())
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let url = format!("http://{}", gateway.admin());
    let (code, told) = desk.json(&format!("status --url {url}")).await;
    assert_eq!((code, &told["ok"]), (Some(0), &json!(true)), "{told}");
    assert_eq!(told["hsm"][0]["name"], "main");
    // The address is found in the configuration too.
    gateway.rewrite_config(|text| {
        text.replacen(
            "bind = '127.0.0.1:0'",
            &format!("bind = '{}'", gateway.admin()),
            1,
        )
    });
    let config = gateway.folder().join("portcullis.toml");
    let said = desk
        .hsm(&format!("status --config {}", config.display()))
        .await;
    assert!(
        said.status.success() && said.stdout.contains("main"),
        "{said:?}"
    );

    drop(gateway);
    assert_eq!(desk.json(&format!("status --url {url}")).await.0, Some(1));
    assert_eq!(desk.json("status --config nothing.toml").await.0, Some(3));
    assert_eq!(
        desk.json("status --url https://localhost:1").await.0,
        Some(2)
    );
}
