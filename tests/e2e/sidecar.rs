//! Two gateways between two programs that know nothing of TLS: the egress of one speaks mTLS to the other.

use std::fs;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Gateway, KeyKind, Token, client_ca, server_ca, until, within};

const PAYMENTS: &str = "spiffe://test.portcullis/payments";

/// The gateway of the service: lets in who has the role `payments`.
async fn service(echo: &Echo) -> Gateway {
    Gateway::builder()
        .client_cert("require", client_ca())
        .upstream(echo)
        .role(&format!("name = 'payments'\nspiffe = ['{PAYMENTS}']"))
        .allow("payments")
        .spawn()
        .await
}

/// The gateway beside the caller; its certificate names this SPIFFE ID, and its key is in the token.
async fn beside(service: SocketAddr, id: &str, egress: &str, upstream: &str) -> Gateway {
    let token = Token::shared();
    let folder = tempfile::tempdir().unwrap().keep();
    let chain = folder.join("edge.pem");
    let key = token.public_key(KeyKind::P256);
    fs::write(
        &chain,
        client_ca().client_chain(&["edge.test", id], &key).unwrap(),
    )
    .unwrap();
    let (chain, key) = (chain.display(), token.key_uri(KeyKind::P256));
    let tls = format!(
        "tls = {{ trust = 'services', server_name = 'localhost', \
         certificate = {{ chain = '{chain}', key = '{key}' }} }}\n{upstream}"
    );
    let hosts = match upstream.contains("tcp") {
        true => "",
        false => "hosts = ['localhost']\n",
    };
    let egress = hosts.to_owned() + egress;
    let egress =
        format!("[[egress]]\nname = 'out'\nbind = '127.0.0.1:0'\nupstream = 'far'\n{egress}");
    let builder = Gateway::builder().token(token);
    let echo = "[upstream.echo]\nendpoint = 'http://127.0.0.1:1'";
    let builder = builder.trust("services", server_ca(), "").extra_toml(echo);
    let scheme = if upstream.contains("tcp") {
        "tcp"
    } else {
        "https"
    };
    let builder = builder.upstream_at("far", &format!("{scheme}://{service}"), &tls);
    builder.extra_toml(&egress).allow("anyone").spawn().await
}

/// A request in plain text; the status and the body.
async fn plain(egress: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(egress).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", tcp.read_to_string(&mut answer))
        .await
        .unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test]
async fn who_lacks_the_role_gets_nowhere_and_who_loses_it_is_stopped() {
    let echo = Echo::start().await.unwrap();
    let service = service(&echo).await;
    let other = beside(service.address(), "spiffe://test.portcullis/other", "", "").await;
    assert_eq!(plain(other.addr("out"), "localhost", "/").await.0, 403);
    assert_eq!(echo.record().request_count(), 0);

    let gateway = beside(service.address(), PAYMENTS, "", "").await;
    let out = gateway.addr("out");
    assert_eq!(plain(out, "localhost", "/").await.0, 200);
    service.rewrite_config(|toml| toml.replace("roles = ['payments']", "roles = ['nobody']"));
    service.rewrite_config(|toml| toml + "[[role]]\nname = 'nobody'\nspiffe = ['spiffe://x/y']\n");
    service.reload().await.unwrap();
    until("the role is gone", async || {
        (plain(out, "localhost", "/").await.0 == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_programs_talk_over_mtls_and_both_logs_say_who_they_are() {
    let echo = Echo::start().await.unwrap();
    let service = service(&echo).await;
    let gateway = beside(service.address(), PAYMENTS, "", "").await;
    let out = gateway.addr("out");
    assert_eq!(plain(out, "elsewhere.test", "/").await.0, 421);
    for _ in 0..3 {
        let (status, answer) = plain(out, "localhost", "/orders").await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(echo.record().request_count(), 3);
    let sent = gateway
        .wait_for_access(|line| line["url.path"] == "/orders")
        .await;
    assert_eq!(sent["client.identity"], "local");
    let seen = service
        .wait_for_access(|line| line["url.path"] == "/orders")
        .await;
    assert!(seen.to_string().contains(PAYMENTS), "{seen}");
}

#[tokio::test]
async fn a_program_that_speaks_http_2_is_served_too() {
    let echo = Echo::start().await.unwrap();
    let service = service(&echo).await;
    let upstream = "protocol = 'h2'";
    let gateway = beside(service.address(), PAYMENTS, "http2 = true", upstream).await;
    let tcp = TcpStream::connect(gateway.addr("out")).await.unwrap();
    let io = TokioIo::new(tcp);
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = shaken.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://localhost/upload").body(Full::new(Bytes::from("body")));
    let answer = within("an answer", sender.send_request(request.unwrap()))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer.into_body().collect().await.unwrap());
}

#[tokio::test]
async fn bytes_of_a_program_reach_a_service_behind_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = tcp.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    let service = Gateway::builder().tcp(address, "");
    let service = service.client_cert("require", client_ca()).allow("anyone");
    let service = service.spawn().await;
    let gateway = beside(service.address(), PAYMENTS, "", "protocol = 'tcp'").await;
    let mut tcp = TcpStream::connect(gateway.addr("out")).await.unwrap();
    tcp.write_all(b"there and back").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut back = String::new();
    within("the bytes", tcp.read_to_string(&mut back))
        .await
        .unwrap();
    assert_eq!(back, "there and back");
}
