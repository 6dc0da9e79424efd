//! The deny list: clients turned away at once, whatever their CA says of them.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Leaf};
use rustls::AlertDescription as Alert;

use crate::harness::judge::{assert_refused, assert_served};
use crate::harness::tools::run;
use crate::harness::{Client, Gateway, GatewayBuilder, SHIM, Site, client_ca, until};

const DENIED: &str = "CLIENT_CERT_DENIED";

fn describe(echo: &Echo) -> GatewayBuilder {
    Gateway::builder()
        .trust("clients", client_ca(), "")
        .demand("require", "clients")
        .upstream(echo)
        .allow("anyone")
}

async fn gateway(echo: &Echo) -> Gateway {
    describe(echo).spawn().await
}

/// `spiffe://test.portcullis/shop/NAME`.
fn leaf(name: &str, serial: u64) -> Leaf {
    let id = format!("spiffe://test.portcullis/shop/{name}");
    let client = pki::Client::new(name).serial(serial).uri(&id);
    client.unwrap().issued_by(client_ca()).unwrap()
}

fn sha256(leaf: &Leaf) -> String {
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf.chain_der().unwrap()[0]);
    let bytes = sum.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

async fn assert_denied(gateway: &Gateway, leaf: &Leaf) {
    assert_refused(gateway, leaf, Alert::AccessDenied, DENIED).await;
}

#[tokio::test]
async fn a_client_is_denied_by_name_pattern_fingerprint_or_serial_until_it_is_removed() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    let (stolen, other) = (leaf("stolen", 0x5a3c), leaf("other", 0x15a3c));
    for value in [
        "spiffe://test.portcullis/shop/stolen",
        "spiffe://test.portcullis/shop/stolen/**",
        &sha256(&stolen),
        "5a3c",
        "00:5A:3C",
    ] {
        let said = gateway.ask(&["deny", "add", value]).await;
        if value.ends_with("**") {
            assert_served(&gateway, &stolen).await; // Below it, not itself.
        } else {
            assert_denied(&gateway, &stolen).await;
        }
        assert_served(&gateway, &other).await;
        let list = gateway.ask(&["deny", "list"]).await;
        assert!(list.contains(said.trim()), "{said}: {list}");
        assert!(list.contains("1 entries in force"), "{list}");
        gateway.ask(&["deny", "remove", value]).await;
        assert_served(&gateway, &stolen).await;
    }
    gateway
        .ask(&["deny", "add", "spiffe://test.portcullis/shop/**"])
        .await;
    assert_denied(&gateway, &stolen).await;
    assert_denied(&gateway, &other).await;
}

#[tokio::test]
async fn an_entry_that_means_nothing_is_refused_and_so_is_removing_what_is_not_there() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    for arguments in [
        ["add", "orders"],
        ["add", ""],
        ["add", "http://a"],
        ["remove", "5a3c"],
    ] {
        let mut command = tokio::process::Command::new(SHIM);
        command.arg("deny").args(arguments);
        command.args(["--socket", "admin.sock"]);
        command.current_dir(gateway.folder());
        let said = run(command, "").await;
        assert!(!said.status.success(), "{arguments:?}: {said:?}");
        assert!(!said.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(gateway.metric("portcullis_deny_entries").await, 0.0);
}

#[tokio::test]
async fn an_entry_for_a_time_lets_in_again_by_itself() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    let client = leaf("paused", 9);
    let value = "spiffe://test.portcullis/shop/paused";
    let said = gateway.ask(&["deny", "add", value, "--for", "3s"]).await;
    assert!(said.contains("until"), "{said}");
    let way = Client::new().certificate(&client);
    let refused = way.get(&gateway, "/").await.unwrap_err();
    assert_eq!(refused.alert, Some(Alert::AccessDenied));
    until("the time of the entry is over", async || {
        way.get(&gateway, "/").await.ok()
    })
    .await;
    assert_served(&gateway, &client).await;
}

#[tokio::test]
async fn the_list_outlives_a_restart_and_what_was_removed_does_not_come_back() {
    let echo = Echo::start().await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let top = format!("state_dir = {:?}", state.path());
    let mut gateway = describe(&echo).top(&top).spawn().await;
    let (stolen, forgiven) = (leaf("stolen", 1), leaf("forgiven", 2));
    for name in ["stolen", "forgiven"] {
        let id = format!("spiffe://test.portcullis/shop/{name}");
        gateway.ask(&["deny", "add", &id]).await;
    }
    let id = "spiffe://test.portcullis/shop/forgiven";
    gateway.ask(&["deny", "remove", id]).await;
    assert!(gateway.terminate().await.success());
    let gateway = describe(&echo).top(&top).spawn().await;
    assert_denied(&gateway, &stolen).await;
    assert_served(&gateway, &forgiven).await;
}

#[tokio::test]
async fn a_broken_list_on_disk_refuses_the_start() {
    let echo = Echo::start().await.unwrap();
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("deny.json"), "[{\"kind\":").unwrap();
    let top = format!("state_dir = {:?}", state.path());
    let said = describe(&echo).top(&top).spawn_refused().await;
    assert!(said.contains("deny.json"), "{said}");
}

#[tokio::test]
async fn the_configured_part_changes_with_a_reload_and_leaves_the_rest() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    let [retired, stolen] = [("retired", 1), ("stolen", 2)].map(|(name, at)| leaf(name, at));
    gateway.ask(&["deny", "add", &sha256(&stolen)]).await;
    assert_served(&gateway, &retired).await;
    let table = "[deny]\nspiffe = ['spiffe://test.portcullis/shop/retired']\n";
    gateway.rewrite_config(|text| text + table);
    gateway.reload().await.unwrap();
    assert_denied(&gateway, &retired).await;
    assert_denied(&gateway, &stolen).await;
    gateway.rewrite_config(|text| text.replace(table, ""));
    gateway.reload().await.unwrap();
    assert_served(&gateway, &retired).await;
    assert_denied(&gateway, &stolen).await;
}

#[tokio::test]
async fn an_unverified_client_is_denied_too() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .site(Site::new("localhost").line("client_cert = { mode = 'unverified' }"))
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let client = leaf("stolen", 1);
    assert_served(&gateway, &client).await;
    gateway
        .ask(&["deny", "add", "spiffe://test.portcullis/shop/stolen"])
        .await;
    assert_denied(&gateway, &client).await;
}
