//! gRPC through the gateway, under mutual TLS, with grpcio on both sides.
//!
//! `GRPC_PYTHON` names a Python that has grpcio, such as that of a venv; without one the test says so.

use std::path::Path;
use std::process::Stdio;

use portcullis_bench::pki::{write_file, write_secret};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::harness::tools::run;
use crate::harness::{Gateway, client_ca, client_leaf, server_ca, tell, within};

const CASES: usize = 14;

fn python() -> Command {
    let name = std::env::var_os("GRPC_PYTHON");
    let mut command = Command::new(name.unwrap_or_else(|| "python3".into()));
    command.kill_on_drop(true);
    command
}

fn peers(mode: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/peers/grpc_peers.py");
    let mut command = python();
    command.arg(script).arg(mode);
    command
}

async fn is_installed() -> bool {
    let mut command = python();
    command.args(["-c", "import grpc"]).stderr(Stdio::null());
    let found = command.status().await.is_ok_and(|status| status.success());
    if !found {
        tell(
            "SKIPPED grpc: no grpcio (python3 -m venv VENV; VENV/bin/pip install grpcio; GRPC_PYTHON=VENV/bin/python)",
        );
    }
    found
}

/// The service, and its port.
async fn service() -> (Child, u16) {
    let mut command = peers("server");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("the port of the service", lines.next_line()).await;
    let port = line.unwrap().unwrap().parse().unwrap();
    (child, port)
}

#[tokio::test]
async fn every_kind_of_call_goes_through() {
    if !is_installed().await {
        return;
    }
    let (_service, port) = service().await;
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream_at(
            "echo",
            &format!("http://127.0.0.1:{port}"),
            "protocol = 'h2'",
        )
        .allow("verified")
        .spawn()
        .await;
    let folder = gateway.folder();
    let leaf = client_leaf("orders");
    write_file(&folder.join("client.pem"), &leaf.chain_pem()).unwrap();
    write_secret(&folder.join("client.key"), leaf.key_pem()).unwrap();
    write_file(&folder.join("roots.pem"), server_ca().root_pem()).unwrap();
    let mut client = peers("client");
    client.arg(format!("localhost:{}", gateway.address().port()));
    client.arg(folder);
    let said = run(client, "").await;
    let passed = said.stdout.matches("ok ").count();
    assert!(
        said.status.success() && passed == CASES,
        "{passed}: {said:?}"
    );
    tell(&format!("grpc: {passed} of {CASES} cases"));
}
