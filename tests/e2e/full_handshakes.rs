//! Full handshakes: where resumption is off there is nothing to resume; and a HelloRetryRequest signs like any other.

use portcullis_bench::echo::Echo;
use rustls::HandshakeKind;
use rustls::crypto::aws_lc_rs::kx_group;

use crate::harness::{Client, Gateway, GatewayBuilder, KeyKind, Site, Token};

fn software_and_token() -> [GatewayBuilder; 2] {
    let in_token = Gateway::builder().token(Token::shared());
    [Gateway::builder().software_keys(), in_token]
}

async fn without_resumption(echo: &Echo) -> Gateway {
    Gateway::builder()
        .upstream(echo)
        .allow("anyone")
        .extra_toml("[resumption]\nmode = 'off'\n")
        .spawn()
        .await
}

#[tokio::test]
async fn a_client_that_would_resume_is_given_nothing_to_resume() {
    let echo = Echo::start().await.unwrap();
    let gateway = without_resumption(&echo).await;
    for client in [Client::new().tls12(), Client::new().tls13()] {
        for _ in 0..3 {
            // The answer has come, and with it every ticket that was sent.
            let mut connection = client.connect(gateway.address()).await.unwrap();
            assert_eq!(connection.get("/").await.unwrap().status, 200);
            assert_eq!(connection.tls.kind, HandshakeKind::Full);
        }
    }
}

#[tokio::test]
async fn openssl_finds_neither_tickets_nor_session_ids() {
    let echo = Echo::start().await.unwrap();
    let gateway = without_resumption(&echo).await;
    let arguments = ["-servername", "localhost", "-tls1_2", "-reconnect"];
    let said = gateway.s_client(&arguments, "").await;
    assert_eq!(said.stdout.matches("New, TLSv1.2").count(), 6, "{said:?}");
    assert!(!said.stdout.contains("Reused"), "{said:?}");
    assert!(!said.stdout.contains("TLS session ticket:"), "{said:?}");
    assert!(said.stdout.contains("Session-ID: \n"), "{said:?}");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let arguments = ["-servername", "localhost", "-tls1_3", "-ign_eof"];
    let said = gateway.s_client(&arguments, request).await;
    assert!(said.stdout.contains("HTTP/1.1 200 OK"), "{said:?}");
    assert!(
        !said.stdout.contains("New Session Ticket arrived"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_hello_retry_request_is_served_with_every_kind_of_key() {
    let echo = Echo::start().await.unwrap();
    for builder in software_and_token() {
        let builder = KeyKind::ALL.into_iter().fold(builder, |builder, kind| {
            let host = format!("{}.test", kind.name());
            let site = Site::new(&host).keys(&[kind]);
            builder.site(site.line("tls = { groups = ['secp384r1'] }"))
        });
        let gateway = builder.upstream(&echo).allow("anyone").spawn().await;
        for kind in KeyKind::ALL {
            // The key share is for X25519, which the site does not have.
            let client = Client::of(&format!("{}.test", kind.name()))
                .tls13()
                .groups(&[kx_group::X25519, kx_group::SECP384R1]);
            let mut connection = client.connect(gateway.address()).await.unwrap();
            let retried = HandshakeKind::FullWithHelloRetryRequest;
            assert_eq!(connection.tls.kind, retried, "{kind:?}");
            assert_eq!(connection.get("/").await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn many_handshakes_at_once_share_the_sessions_of_a_token() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .token(Token::shared())
        .hsm("sessions = 2")
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let address = gateway.address();
    let clients = (0..50).map(|_| {
        tokio::spawn(async move {
            let mut connection = Client::new().connect(address).await.unwrap();
            connection.get("/").await.unwrap().status
        })
    });
    for client in clients.collect::<Vec<_>>() {
        assert_eq!(client.await.unwrap(), 200);
    }
    assert!(gateway.refusals().is_empty());
}
