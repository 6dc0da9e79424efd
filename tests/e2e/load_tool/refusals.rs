//! What is not measured, and how that is said.

use std::fs;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::Ca;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{bench, brief, demanding, open, said};
use crate::harness::{Gateway, client_ca};

#[tokio::test]
async fn without_a_word_on_whom_to_believe_nothing_is_sent() {
    let (_echo, gateway) = open().await;
    let target = gateway.address().to_string();
    let output = bench(&["handshake", &target]).await;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("--insecure"), "{}", said(&output));
    assert_eq!(gateway.metric("portcullis_connections_total").await, 0.0);
}

#[tokio::test]
async fn a_server_that_is_not_believed_gets_no_requests() {
    let (_echo, gateway) = open().await;
    let folder = TempDir::new().unwrap();
    let stranger = folder.path().join("stranger.pem");
    fs::write(&stranger, Ca::root("stranger").unwrap().pem()).unwrap();
    let target = format!("https://{}/", gateway.address());
    let output = brief("request", &target, &["--ca", stranger.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_measured_and_the_kind_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let output = brief("handshake", &address, &["--insecure"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("connect"), "{}", said(&output));
}

#[tokio::test]
async fn a_client_that_is_turned_away_is_an_error_and_not_a_handshake() {
    let (_echo, gateway) = demanding(client_ca()).await;
    let target = gateway.address().to_string();
    // Over TLS 1.3 the client has finished before it learns that it is turned away.
    for (mode, tls) in [
        ("handshake", "1.2"),
        ("handshake", "1.3"),
        ("request", "1.3"),
    ] {
        let output = brief(mode, &target, &["--insecure", "--tls", tls]).await;
        assert_eq!(
            output.status.code(),
            Some(3),
            "{mode} {tls}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains("alert:"),
            "{mode} {tls}: {}",
            said(&output)
        );
    }
    gateway.wait_for_refusal("CLIENT_CERT_MISSING").await;
}

#[tokio::test]
async fn an_answer_that_is_an_error_is_counted_by_its_status() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .upstream(&echo)
        .rule("roles = ['anyone']\npaths = ['/allowed']")
        .spawn()
        .await;
    let target = format!("https://{}/", gateway.address());
    let output = brief("keepalive", &target, &["--insecure"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("403"), "{}", said(&output));
}

#[tokio::test]
async fn a_condition_that_holds_ends_with_one() {
    let (_echo, gateway) = open().await;
    let target = gateway.address().to_string();
    for (condition, code) in [("p99>0us", 1), ("p99>100s", 0)] {
        let more = ["--insecure", "--fail-if", condition];
        let output = brief("handshake", &target, &more).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{condition}: {}",
            said(&output)
        );
    }
}
