//! Ticket keys that every gateway derives from one secret in a token.

use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;

use crate::harness::{Client, Gateway, GatewayBuilder, Token};

const ROOT: &str = "pkcs11:token=e2e;object=ticket-root";

/// A gateway whose ticket keys come from the token.
fn fleet(echo: &Echo, isolation: &str) -> GatewayBuilder {
    Gateway::builder()
        .token(Token::shared())
        .hsm(&format!("isolation = '{isolation}'"))
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!(
            "[tickets]\nkeys = {{ hsm = '{ROOT}' }}\nrotate = '1s'\n[resumption]\nmode = 'tickets'\n"
        ))
}

/// Whether a request was answered over a resumed session.
async fn resumes(client: &Client, gateway: &Gateway, path: &str) -> bool {
    assert_eq!(client.get(gateway, path).await.unwrap().status, 200);
    let line = gateway
        .wait_for_access(|line| line["url.path"] == path)
        .await;
    line["tls.resumed"] == true
}

#[tokio::test]
async fn a_root_that_is_not_there_is_told_at_start() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::builder()
        .token(Token::shared())
        .upstream(&echo)
        .extra_toml("[tickets]\nkeys = { hsm = 'pkcs11:token=e2e;object=none' }\n");
    gateway.write(folder.path());
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_portcullis-shim"))
        .args(["run", "--config", "portcullis.toml"])
        .env("SOFTHSM2_CONF", Token::shared().conf())
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("exactly one secret key"), "{said}");
    assert!(said.contains("object=ticket-root"), "{said}");
}

#[tokio::test]
async fn a_ticket_of_one_gateway_resumes_on_another_through_rotations() {
    let echo = Echo::start().await.unwrap();
    // One has the library in a signer, the other in itself.
    let here = fleet(&echo, "process").spawn().await;
    let there = fleet(&echo, "none").spawn().await;
    let client = Client::new().tls13();
    assert!(!resumes(&client, &here, "/first").await);
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < Duration::from_millis(3500) {
        let gateway = [&there, &here][round % 2];
        let path = format!("/{round}");
        assert!(resumes(&client, gateway, &path).await, "{path}");
        round += 1;
    }
    assert!(round > 6, "{round}");
    let restarted = fleet(&echo, "process").spawn().await;
    assert!(resumes(&client, &restarted, "/restarted").await);
}
