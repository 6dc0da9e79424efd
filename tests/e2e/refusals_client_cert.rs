//! Client certificates: every wrong one is refused with the alert the RFC asks for and a reason of its own.

use portcullis_bench::echo::Echo;
use rustls::AlertDescription;

use crate::harness::{Client, Gateway, client_ca, client_leaf};

#[tokio::test]
async fn a_missing_certificate_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    for (client, alert) in [
        (Client::new().tls13(), AlertDescription::CertificateRequired),
        (Client::new().tls12(), AlertDescription::HandshakeFailure),
    ] {
        let refused = client.get(&gateway, "/").await.unwrap_err();
        assert_eq!(refused.alert, Some(alert), "{}", refused.error);
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], "CLIENT_CERT_MISSING");
    }
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn a_valid_certificate_is_served() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream(&echo)
        .allow("verified")
        .spawn()
        .await;
    let client = Client::new().certificate(&client_leaf("orders"));
    for client in [client.clone(), client.h2()] {
        let answer = client.get(&gateway, "/").await.unwrap();
        assert_eq!(answer.status, 200);
    }
}
