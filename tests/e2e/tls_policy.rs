//! What a site's TLS policy allows, with keys in a token and in files.

use portcullis_bench::echo::Echo;

use crate::harness::{Client, Gateway, KeyKind, RawTls, Site, Token};

#[tokio::test]
async fn every_kind_of_key_in_the_token_serves_tls_1_2_and_1_3() {
    let echo = Echo::start().await.unwrap();
    let mut builder = Gateway::builder().token(Token::shared());
    for kind in KeyKind::ALL {
        let host = format!("{}.test", kind.name());
        builder = builder.site(Site::new(&host).keys(&[kind]));
    }
    let gateway = builder.upstream(&echo).allow("anyone").spawn().await;
    for kind in KeyKind::ALL {
        let client = Client::of(&format!("{}.test", kind.name()));
        for client in [client.clone().tls12(), client.tls13()] {
            let answer = client.get(&gateway, "/").await.unwrap();
            assert_eq!(answer.status, 200, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn curl_and_openssl_and_bare_bytes_are_served_too() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let curl = gateway.curl(&["--http2"], "/from-curl").await;
    assert!(curl.stdout.contains("/from-curl"), "{curl:?}");
    let request = "GET /from-openssl HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let arguments = ["-quiet", "-servername", "localhost"];
    let openssl = gateway.s_client(&arguments, request).await;
    assert!(openssl.stdout.contains("/from-openssl"), "{openssl:?}");
    let mut raw = RawTls::connect(&Client::new(), gateway.address())
        .await
        .unwrap();
    let answer = raw.exchange(request).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(gateway.metric("portcullis_panics_total").await, 0.0);
    assert_eq!(echo.record().request_count(), 3);
}
