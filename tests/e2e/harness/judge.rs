//! What becomes of a client certificate, over TLS 1.2, over TLS 1.3, and over TLS 1.3 with HTTP/2.

use portcullis_bench::pki::Leaf;
use rustls::AlertDescription;

use super::{Client, Gateway, SHIM, within};

/// The three ways to come with this certificate.
pub(crate) fn ways(leaf: &Leaf) -> [Client; 3] {
    let client = || Client::new().certificate(leaf);
    [client().tls12(), client().tls13(), client().tls13().h2()]
}

/// It is served, all three ways.
pub(crate) async fn assert_served(gateway: &Gateway, leaf: &Leaf) {
    for client in ways(leaf) {
        match client.get(gateway, "/").await {
            Ok(answer) => assert_eq!(answer.status, 200),
            Err(refused) => {
                let line = gateway.refusal_of(refused.port).await;
                panic!("{refused:?}\n{line}");
            }
        }
    }
}

/// It is refused in the handshake, all three ways, with this alert and this reason.
pub(crate) async fn assert_refused(
    gateway: &Gateway,
    leaf: &Leaf,
    alert: AlertDescription,
    reason: &str,
) {
    for client in ways(leaf) {
        let refused = client.get(gateway, "/").await.unwrap_err();
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], reason, "{line}");
        assert_eq!(refused.alert, Some(alert), "{line}");
    }
}

/// It is let into the handshake, and closed on before any answer, for this reason: the way given only.
pub(crate) async fn assert_closed(gateway: &Gateway, client: &Client, reason: &str) -> String {
    let refused = client.get(gateway, "/").await.unwrap_err();
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], reason, "{line}");
    assert_eq!(refused.alert, None, "{line}");
    line["detail"].as_str().unwrap_or_default().to_owned()
}

impl super::GatewayBuilder {
    /// Starts a gateway that must not start: what it said.
    pub(crate) async fn spawn_refused(self) -> String {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        let mut command = tokio::process::Command::new(SHIM);
        command.args(["run", "--config", "portcullis.toml"]);
        command.current_dir(folder.path()).kill_on_drop(true);
        let output = within("the end of the gateway", command.output())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "it started: {said}");
        said
    }
}
