//! HTTP/3 served: to whom, resumed or not, until when, and while a token takes its time.

use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::Leaf;

use crate::harness::{Client, Gateway, client_ca, client_leaf, until};
use crate::hsm_faults::{Faults, behind};

async fn resumed(gateway: &Gateway, path: &str) -> bool {
    let line = gateway
        .wait_for_access(|line| line["url.path"] == path)
        .await;
    assert_eq!(line["network.protocol.version"], "3", "{line}");
    line["tls.resumed"] == true
}

fn fingerprint(leaf: &Leaf) -> String {
    let chain = leaf.chain_der().unwrap();
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &chain[0]);
    let bytes = sum.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_client_that_returns_resumes_and_one_that_was_denied_meanwhile_does_not() {
    let echo = Echo::start().await.unwrap();
    // Where there is early data over TCP there is none here, and sessions are resumed all the same.
    for (mode, early) in [("tickets", "off"), ("stateful", "8KiB")] {
        let gateway = Gateway::with_h3(&echo)
            .client_cert("require", client_ca())
            .extra_toml(&format!(
                "[resumption]\nmode = '{mode}'\nearly_data = '{early}'\n"
            ))
            .spawn()
            .await;
        let leaf = client_leaf("comes-back");
        let client = Client::new().certificate(&leaf).over_h3();
        for round in 0..3 {
            let path = format!("/{mode}/{round}");
            let answer = client.get_h3(&gateway, &path).await.unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(resumed(&gateway, &path).await, round > 0, "{path}");
            let told = answer.upstream_saw("x-forwarded-client-cert");
            assert!(
                told.iter().any(|told| told.contains("comes-back")),
                "{told:?}"
            );
        }
        gateway.ask(&["deny", "add", &fingerprint(&leaf)]).await;
        let refused = client.get_h3(&gateway, "/denied").await;
        let _ = refused.unwrap_err();
        gateway.wait_for_refusal("CLIENT_CERT_DENIED").await;
    }
}

#[tokio::test]
async fn a_connection_whose_client_is_denied_is_told_to_leave_and_cut() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo)
        .client_cert("require", client_ca())
        .extra_toml("[timeouts]\nrevoked = '200ms'\n")
        .spawn()
        .await;
    let leaf = client_leaf("leaves");
    let link = Client::new()
        .certificate(&leaf)
        .over_h3()
        .h3(gateway.address())
        .await
        .unwrap();
    assert_eq!(link.get("/").await.unwrap().status, 200);
    gateway.ask(&["deny", "add", &fingerprint(&leaf)]).await;
    until("the end of the connection", async || {
        link.quic.close_reason()
    })
    .await;
}

#[tokio::test]
async fn answers_over_tcp_say_that_there_is_http_3_where_the_port_is_known() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    // The system chose the port: no line can name it.
    let answer = Client::new().get(&gateway, "/").await.unwrap();
    assert_eq!(answer.headers.get("alt-svc"), None);
    let port = gateway.address().port();
    let bind = |port: u16| format!("name = 'main'\nbind = '127.0.0.1:{port}'\n");
    gateway.rewrite_config(|toml| toml.replace(&bind(0), &bind(port)));
    gateway.reload().await.unwrap();
    let told = format!("h3=\":{port}\"; ma=86400");
    for client in [Client::new(), Client::new().h2()] {
        let answer = client.get(&gateway, "/").await.unwrap();
        assert_eq!(answer.headers["alt-svc"], told);
    }
    let answer = Client::new().over_h3().get_h3(&gateway, "/").await.unwrap();
    assert_eq!(answer.headers.get("alt-svc"), None);
    let silent = "http3 = true\nalt_svc = false";
    gateway.rewrite_config(|toml| toml.replace("http3 = true", silent));
    gateway.reload().await.unwrap();
    let answer = Client::new().get(&gateway, "/").await.unwrap();
    assert_eq!(answer.headers.get("alt-svc"), None);
}

#[tokio::test]
async fn a_token_that_takes_its_time_holds_up_nobody_else() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let gateway = behind(&faults)
        .listener("main", "http3 = true")
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    // On both workers.
    let mut links = Vec::new();
    for _ in 0..6 {
        links.push(Client::new().over_h3().h3(gateway.address()).await.unwrap());
    }
    faults.set("delay_us = 700000\n");
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let address = gateway.address();
            tokio::spawn(async move {
                let start = Instant::now();
                Client::new().over_h3().h3(address).await.unwrap();
                start.elapsed()
            })
        })
        .collect();
    until("four wait for the token", async || {
        let open = gateway.metric("portcullis_handshakes_open").await;
        (open >= 4.0).then_some(())
    })
    .await;
    let start = Instant::now();
    for link in &links {
        assert_eq!(link.get("/meanwhile").await.unwrap().status, 200);
    }
    assert!(
        start.elapsed() < Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
    for slow in slow {
        assert!(slow.await.unwrap() > Duration::from_millis(600));
    }
}

#[tokio::test]
async fn a_token_that_refuses_ends_the_handshake_and_recovers() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let gateway = behind(&faults)
        .listener("main", "http3 = true")
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    faults.set("error_every = 1\n");
    let refused = Client::new()
        .over_h3()
        .get_h3(&gateway, "/")
        .await
        .unwrap_err();
    assert_eq!(
        refused.alert,
        Some(rustls::AlertDescription::InternalError),
        "{refused:?}"
    );
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "HSM_UNAVAILABLE", "{line}");
    faults.set("");
    until("the token back", async || {
        Client::new().over_h3().get_h3(&gateway, "/").await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_stop_waits_for_requests_and_says_goodbye() {
    let echo = Echo::start().await.unwrap();
    let mut gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    assert_eq!(link.get("/").await.unwrap().status, 200);
    assert!(gateway.terminate().await.success());
    let reason = until("the end of the connection", async || {
        link.quic.close_reason()
    })
    .await;
    let quinn::ConnectionError::ApplicationClosed(close) = reason else {
        panic!("{reason:?}");
    };
    assert_eq!(u64::from(close.error_code), 0x100);
}
