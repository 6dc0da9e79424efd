//! Sessions that are resumed: by whom, and who is it that comes back.

use portcullis_bench::echo::Echo;

use crate::harness::{Client, Gateway, client_ca, client_leaf};

/// Whether the last request to `path` came over a resumed session, by the access log.
async fn resumed(gateway: &Gateway, path: &str) -> bool {
    let line = gateway
        .wait_for_access(|line| line["url.path"] == path)
        .await;
    line["tls.resumed"] == true
}

#[tokio::test]
async fn a_client_that_returns_resumes_in_every_version_and_protocol() {
    let echo = Echo::start().await.unwrap();
    for mode in ["tickets", "stateful", "both"] {
        let gateway = Gateway::builder()
            .client_cert("accept", client_ca())
            .upstream(&echo)
            .allow("anyone")
            .extra_toml(&format!("[resumption]\nmode = '{mode}'\n"))
            .spawn()
            .await;
        let (with, without) = (
            Client::new().certificate(&client_leaf("somebody")),
            Client::new(),
        );
        for (kind, client) in [("with", with), ("without", without)] {
            for (version, client) in [
                ("1.2", client.clone().tls12()),
                ("1.3", client.clone().tls13()),
                ("h2", client.clone().h2()),
            ] {
                for round in 0..3 {
                    let path = format!("/{mode}/{kind}/{version}/{round}");
                    let response = client.get(&gateway, &path).await.unwrap();
                    assert_eq!(response.status, 200);
                    assert_eq!(resumed(&gateway, &path).await, round > 0, "{path}");
                    let xfcc = response.upstream_saw("x-forwarded-client-cert");
                    assert_eq!(!xfcc.is_empty(), kind == "with", "{path}: {xfcc:?}");
                }
            }
        }
    }
}
