//! `portcullis-bench` against a real gateway: what it counts is what happened.

mod refusals;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::Ca;
use portcullis_bench::report::model::{Report, Run};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{Client, Gateway, Token, client_ca, client_leaf, server_ca, within};

const BENCH: &str = env!("CARGO_BIN_EXE_portcullis-bench-shim");
/// Short: nothing here is about speed.
const BRIEF: [&str; 7] = [
    "--seconds",
    "0.8",
    "--warmup",
    "0.2",
    "--threads",
    "1",
    "--quiet",
];

async fn bench(words: &[&str]) -> Output {
    let mut command = Command::new(BENCH);
    command.args(words).kill_on_drop(true);
    within("the load tool ends", command.output())
        .await
        .unwrap()
}

/// A brief run against `localhost`.
async fn brief(mode: &str, target: &str, more: &[&str]) -> Output {
    let words = [&[mode, target, "--sni", "localhost"][..], &BRIEF, more];
    bench(&words.concat()).await
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a mode against `address` and reads its report.
async fn run(mode: &str, address: SocketAddr, more: &[&str]) -> Run {
    let folder = TempDir::new().unwrap();
    let json = folder.path().join("report.json");
    let target = format!("https://{address}/");
    let mut words = vec!["--insecure", "--json", json.to_str().unwrap()];
    words.extend(more);
    if !more.contains(&"--concurrency") {
        words.extend(["--concurrency", "4"]);
    }
    let output = brief(mode, &target, &words).await;
    assert!(output.status.success(), "{}", said(&output));
    report(&json).runs.remove(0)
}

fn report(file: &Path) -> Report {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

async fn open() -> (Echo, Gateway) {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    (echo, gateway)
}

async fn demanding(ca: &Ca) -> (Echo, Gateway) {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .client_cert("require", ca)
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    (echo, gateway)
}

#[tokio::test]
async fn full_and_resumed_handshakes_are_told_apart_as_the_gateway_tells_them() {
    let (_echo, gateway) = open().await;
    for tls in ["1.2", "1.3"] {
        let full = run("handshake", gateway.address(), &["--tls", tls]).await;
        assert!(full.done > 0 && full.errors.is_empty(), "{:?}", full.errors);
        assert_eq!(full.resumed, 0, "TLS {tls}");
        let metric = format!("portcullis_handshakes_total{{version=\"{tls}\",kind=\"resumed\"}}");
        let before = gateway.metric(&metric).await;
        let resumed = run("handshake", gateway.address(), &["--tls", tls, "--resume"]).await;
        assert!(resumed.resumed * 100 >= resumed.done * 95, "{resumed:?}");
        // Those of the warm-up are in the metric as well.
        let after = gateway.metric(&metric).await;
        assert!(
            after - before >= resumed.resumed as f64,
            "{before} {after} {}",
            resumed.resumed
        );
    }
}

#[tokio::test]
async fn group_suite_and_a_forced_second_hello_are_what_was_asked_for() {
    let (_echo, gateway) = open().await;
    let hybrid = ["--group", "mlkem", "--suite", "aes256"];
    assert!(run("request", gateway.address(), &hybrid).await.done > 0);
    let line = gateway
        .wait_for_access(|line| line["tls.curve"] == "X25519MLKEM768")
        .await;
    assert_eq!(line["tls.cipher"], "TLS_AES_256_GCM_SHA384");
    let retried = run("handshake", gateway.address(), &["--force-hello-retry"]).await;
    assert_eq!((retried.retried_hello, retried.resumed), (retried.done, 0));
}

#[tokio::test]
async fn every_certificate_of_a_folder_comes_to_its_turn() {
    let (_echo, gateway) = demanding(client_ca()).await;
    let folder = TempDir::new().unwrap();
    for name in ["orders", "billing", "stock"] {
        client_leaf(name).write(folder.path(), name).unwrap();
    }
    let certificates = ["--client-certs", folder.path().to_str().unwrap()];
    let run = run("request", gateway.address(), &certificates).await;
    assert!(run.done > 3 && run.errors.is_empty(), "{:?}", run.errors);
    for name in ["orders", "billing", "stock"] {
        gateway
            .wait_for_access(|line| line.to_string().contains(name))
            .await;
    }
}

#[tokio::test]
async fn requests_on_standing_connections_are_counted_over_each_protocol() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    for (protocol, streams, version) in [("h1", "1", "1.1"), ("h2", "5", "2"), ("h3", "5", "3")] {
        let more = ["--protocol", protocol, "--streams", streams];
        let run = run("keepalive", gateway.address(), &more).await;
        assert!(
            run.done > 0 && run.errors.is_empty(),
            "{protocol}: {:?}",
            run.errors
        );
        gateway
            .wait_for_access(|line| line["network.protocol.version"] == version)
            .await;
    }
}

#[tokio::test]
async fn what_a_handshake_costs_the_server_and_its_token_is_told() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .token(Token::shared())
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let pid = gateway.pid().to_string();
    let metrics = format!("http://{}/metrics", gateway.admin());
    let more = ["--server", &pid, "--metrics", &metrics];
    let full = run("handshake", gateway.address(), &more)
        .await
        .server
        .unwrap();
    assert!(full.cpu_us_per_unit > 0.0, "{full:?}");
    assert!(
        (0.9..1.1).contains(&full.hsm_calls_per_unit.unwrap()),
        "{full:?}"
    );
    let more = [&more[..], &["--resume"]].concat();
    let resumed = run("handshake", gateway.address(), &more)
        .await
        .server
        .unwrap();
    assert!(resumed.hsm_calls_per_unit.unwrap() < 0.1, "{resumed:?}");
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate() {
    let (_echo, gateway) = open().await;
    let run = run("keepalive", gateway.address(), &["--rate", "100"]).await;
    assert!((60..=100).contains(&run.done), "{}", run.done);
}

#[tokio::test]
async fn bulk_counts_the_bytes_of_answers() {
    let (_echo, gateway) = open().await;
    let target = format!("https://{}/bytes/100000", gateway.address());
    let folder = TempDir::new().unwrap();
    let json = folder.path().join("report.json");
    let more = ["--insecure", "--json", json.to_str().unwrap()];
    let output = brief("bulk", &target, &more).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(report(&json).runs[0].bytes >= 100_000);
}

#[tokio::test]
async fn idle_connections_are_alive_at_the_end_and_their_memory_is_told() {
    let (_echo, gateway) = open().await;
    let pid = gateway.pid().to_string();
    let run = run(
        "idle",
        gateway.address(),
        &["--concurrency", "50", "--server", &pid],
    )
    .await;
    assert_eq!((run.done, run.errors.len()), (50, 0), "{:?}", run.errors);
    assert!(run.server.unwrap().rss_kib > 1_000);
}

#[tokio::test]
async fn a_bystander_is_measured_beside_a_flood() {
    let (_echo, gateway) = open().await;
    let run = run("mixed", gateway.address(), &["--rate", "50"]).await;
    assert!(run.done > 0 && run.bystander.is_some_and(|latency| latency.count > 10));
}

#[tokio::test]
async fn a_ramp_tells_each_of_its_steps() {
    let (_echo, gateway) = open().await;
    let more = ["--from", "20", "--step", "300ms", "--bound", "1us"];
    let run = run("ramp", gateway.address(), &more).await;
    assert!(
        !run.steps.is_empty() && run.steps.iter().all(|step| !step.kept),
        "{:?}",
        run.steps
    );
}

#[tokio::test]
async fn a_believed_server_is_measured_and_two_reports_are_compared() {
    let (_echo, gateway) = open().await;
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("ca.pem"), server_ca().pem()).unwrap();
    let target = format!("https://{}/", gateway.address());
    for name in ["a.json", "b.json"] {
        let (ca, json, html) = (path("ca.pem"), path(name), path("page.html"));
        let more = ["--ca", &ca, "--json", &json, "--html", &html];
        let output = brief("request", &target, &more).await;
        assert!(output.status.success(), "{}", said(&output));
    }
    let page = fs::read_to_string(path("page.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http://cdn"));
    let output = bench(&["compare", &path("a.json"), &path("b.json")]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("p99"));
    let missing = bench(&["compare", &path("a.json"), &path("none.json")]).await;
    assert_eq!(missing.status.code(), Some(2));
    // Nothing of this left the gateway in a bad state.
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
}
