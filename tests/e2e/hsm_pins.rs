//! A wrong PIN: tried once, whoever starts the gateway how often, and mended by mending its source.

use std::fs;
use std::path::Path;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::write_secret;
use tokio::process::Command;

use crate::harness::tools::{Said, run};
use crate::harness::{Client, Gateway, GatewayBuilder, SHIM, Vault, until};
use crate::hsm_faults::{Faults, module};

const RIGHT: &str = "471147\n";
const WRONG: &str = "174711\n";

#[tokio::test]
async fn ten_restarts_with_a_wrong_pin_are_one_login_and_the_right_pin_mends_it() {
    let vault = Vault::new().await;
    let echo = Echo::start().await.unwrap();
    let pin = vault.desk().path("pin");
    write_secret(&pin, WRONG).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::new("");
    let unserved = served(&vault, &faults, "").upstream(&echo);
    unserved.write(folder.path());
    let mut logins = Vec::new();
    for _ in 0..10 {
        let said = start(folder.path(), &vault, &faults).await;
        assert_eq!(said.status.code(), Some(3), "{said:?}");
        assert!(said.stderr.contains("portcullis.toml:"), "{said:?}");
        assert!(said.stderr.contains("PIN"), "{said:?}");
        assert!(!said.stderr.contains(WRONG.trim()), "{said:?}");
        logins.push(faults.take_count("C_Login"));
    }
    assert_eq!(logins, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // The token says since then that few tries are left, so even the right PIN is not tried unasked.
    write_secret(&pin, RIGHT).unwrap();
    let said = start(folder.path(), &vault, &faults).await;
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    assert!(said.stderr.contains("few PIN tries"), "{said:?}");
    assert_eq!(faults.take_count("C_Login"), 0);
    let asked = served(&vault, &faults, "login_at_count_low = true");
    let gateway = asked.upstream(&echo).spawn().await;
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
    assert_eq!(faults.take_count("C_Login"), 1);
}

#[tokio::test]
async fn a_wrong_pin_of_a_running_gateway_is_one_login_and_correcting_its_file_is_enough() {
    let vault = Vault::new().await;
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let gateway = served(
        &vault,
        &faults,
        "login_at_count_low = true\nidle_check = '50ms'\nisolation = 'none'",
    );
    let gateway = gateway.upstream(&echo).spawn().await;
    let mut standing = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(faults.count("C_Login"), 1);
    let pin = vault.desk().path("pin");
    write_secret(&pin, WRONG).unwrap();
    faults.set("dead_sessions = 1\n");
    until("the token is refused", async || {
        let (_, body) = gateway.probe("/readyz").await;
        (body.contains("\"state\":\"refused\"") && body.contains("PIN")).then_some(())
    })
    .await;
    // It goes on looking, and does not ask again.
    until("the PIN is looked at again", async || {
        let (_, body) = gateway.probe("/readyz").await;
        body.contains("earlier").then_some(())
    })
    .await;
    assert_eq!(faults.count("C_Login"), 2);
    let refused = Client::new().connect(gateway.address()).await.unwrap_err();
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "HSM_UNAVAILABLE", "{line}");
    assert_eq!(standing.get("/").await.unwrap().status, 200);
    write_secret(&pin, RIGHT).unwrap();
    until("the token is back", async || {
        Client::new().connect(gateway.address()).await.ok()
    })
    .await;
    assert_eq!(faults.count("C_Login"), 3);
    assert_eq!(standing.get("/").await.unwrap().status, 200);
}

fn served(vault: &Vault, faults: &Faults, lines: &str) -> GatewayBuilder {
    let mut builder = vault.steer(Gateway::builder());
    for (name, value) in faults.environment() {
        builder = builder.env(name, value);
    }
    let lines = format!("sessions = 2\n{lines}");
    builder
        .site(vault.site("main"))
        .extra_toml(&vault.hsm("main", &module(), &lines))
        .allow("anyone")
}

/// A gateway that is not expected to start.
async fn start(folder: &Path, vault: &Vault, faults: &Faults) -> Said {
    let mut command = Command::new(SHIM);
    command
        .args(["run", "--config", "portcullis.toml"])
        .current_dir(folder)
        .env("SOFTHSM2_CONF", vault.conf())
        .envs(faults.environment());
    run(command, "").await
}

impl Faults {
    /// What one process counted; the next one begins anew.
    fn take_count(&self, function: &str) -> u64 {
        let count = self.count(function);
        let _ = fs::remove_file(self.counts()); // A process that calls nothing makes none.
        count
    }
}
