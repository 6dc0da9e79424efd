//! Keys as tokens hold them: where they came from, with chains beside them, made while the gateway runs, and
//! those that want the PIN each time.

use std::fs;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::write_file;
use tokio::process::Command;

use crate::harness::tools::run;
use crate::harness::{Client, Gateway, GatewayBuilder, SHIM, Token, Vault, server_ca};

#[tokio::test]
async fn an_imported_key_is_refused_at_load_where_the_site_wants_generated_ones() {
    let vault = Vault::new().await;
    let folder = tempfile::tempdir().unwrap();
    let site = vault.site("main").line("key_policy = 'generated'");
    let echo = "[upstream.echo]\nendpoint = 'http://127.0.0.1:1'";
    plain(&vault)
        .extra_toml(echo)
        .site(site)
        .write(folder.path());
    let toml = fs::read_to_string(folder.path().join("portcullis.toml")).unwrap();
    let line = 1 + toml
        .lines()
        .position(|line| line.starts_with("certificate"))
        .unwrap();
    let mut command = Command::new(SHIM);
    command
        .args(["run", "--config", "portcullis.toml"])
        .current_dir(folder.path())
        .env("SOFTHSM2_CONF", vault.conf());
    let said = run(command, "").await;
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    let place = format!("portcullis.toml:{line}");
    for word in [place.as_str(), "imported", "key_policy", "object=api"] {
        assert!(said.stderr.contains(word), "{word}: {said:?}");
    }
}

#[tokio::test]
async fn a_chain_in_the_token_is_served_with_its_intermediate() {
    let vault = Vault::new().await;
    let echo = Echo::start().await.unwrap();
    vault.desk().done("import --cert chain.pem").await;
    let site = vault.site_of(
        "{ chain = 'pkcs11:object=api;type=cert', key = 'pkcs11:object=api;type=private' }",
    );
    let gateway = plain(&vault).upstream(&echo).site(site).spawn().await;
    // The client knows the root alone.
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_key_made_while_the_gateway_runs_serves_after_a_reload() {
    let vault = Vault::new().await;
    let echo = Echo::start().await.unwrap();
    let site = vault.site("main").line("key_policy = 'imported'");
    let gateway = plain(&vault).upstream(&echo).site(site).spawn().await;
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
    let desk = vault.desk();
    desk.done("keygen --label fresh").await;
    let chain = certified(&vault, "fresh").await;
    gateway.rewrite_config(|toml| {
        let toml = toml.replace("object=api", "object=fresh");
        toml.replace(&desk.path("chain.pem").display().to_string(), &chain)
            .replace("key_policy = 'imported'", "key_policy = 'generated'")
    });
    gateway.reload().await.unwrap();
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
    // The old key could not have signed for it.
    assert_eq!(gateway.metric("portcullis_config_generation").await, 2.0);
}

#[tokio::test]
async fn a_key_that_wants_the_pin_for_each_signature_signs_again_and_again() {
    let vault = Vault::new().await;
    let echo = Echo::start().await.unwrap();
    let desk = vault.desk();
    let kind = "--keypairgen --key-type EC:prime256v1 --label strict --id 5e";
    desk.pkcs11_tool(&format!("{kind} --always-auth --usage-sign"))
        .await;
    let listed = desk.pkcs11_tool("--list-objects --type privkey").await;
    assert!(
        listed.to_lowercase().contains("always authenticate"),
        "{listed}"
    );
    let chain = certified(&vault, "strict").await;
    for isolation in ["none", "process"] {
        let site = vault.site_of(&format!(
            "{{ chain = '{chain}', key = 'pkcs11:object=strict;type=private' }}"
        ));
        let lines = format!("sessions = 2\nisolation = '{isolation}'");
        let gateway = vault
            .steer(Gateway::builder())
            .extra_toml(&vault.hsm("main", Token::shared().module(), &lines))
            .allow("anyone")
            .upstream(&echo)
            .site(site)
            .spawn()
            .await;
        for client in [Client::new().tls12(), Client::new().tls13()] {
            for _ in 0..3 {
                assert_eq!(client.clone().get(&gateway, "/").await.unwrap().status, 200);
            }
        }
    }
}

fn plain(vault: &Vault) -> GatewayBuilder {
    vault
        .steer(Gateway::builder())
        .extra_toml(&vault.hsm("main", Token::shared().module(), "sessions = 2"))
        .allow("anyone")
}

/// Has a key of the token certified for `localhost`; where its chain is.
async fn certified(vault: &Vault, label: &str) -> String {
    let desk = vault.desk();
    let (der, pem) = (format!("{label}.der"), format!("{label}.pem"));
    let read = format!("--read-object --type pubkey --label {label} --output-file {der}");
    desk.pkcs11_tool(&read).await;
    let public_key = fs::read(desk.path(&der)).unwrap();
    let chain = server_ca()
        .server_chain(&["localhost"], &public_key)
        .unwrap();
    write_file(&desk.path(&pem), &chain).unwrap();
    desk.path(&pem).display().to_string()
}
