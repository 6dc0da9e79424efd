//! Who is turned away over HTTP/3, and how that is told: the same reasons and alerts as over TCP.

use bytes::Bytes;
use h3::error::Code;
use http::{HeaderValue, Method};
use portcullis_bench::echo::Echo;
use rustls::AlertDescription as Alert;

use crate::harness::{Client, Gateway, client_ca, client_leaf, until, within};
use crate::hsm_faults::{Faults, behind};

#[tokio::test]
async fn nothing_is_served_over_udp_where_the_listener_does_not_say_so() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let client = Client::new().over_h3();
    let tried = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        client.h3(gateway.address()),
    );
    assert!(!matches!(tried.await, Ok(Ok(_))));
}

#[tokio::test]
async fn a_client_without_a_certificate_that_is_required_is_refused_and_counted() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo)
        .client_cert("require", client_ca())
        .spawn()
        .await;
    let refused = Client::new()
        .over_h3()
        .get_h3(&gateway, "/")
        .await
        .unwrap_err();
    assert_eq!(
        refused.alert,
        Some(Alert::CertificateRequired),
        "{refused:?}"
    );
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "CLIENT_CERT_MISSING", "{line}");
    let client = Client::new().certificate(&client_leaf("orders")).over_h3();
    let answer = client.get_h3(&gateway, "/").await.unwrap();
    assert_eq!(answer.status, 200);
    let told = answer.upstream_saw("x-forwarded-client-cert");
    assert!(told.iter().any(|told| told.contains("orders")), "{told:?}");
}

#[tokio::test]
async fn a_name_that_no_site_has_is_refused_and_case_and_a_trailing_dot_change_nothing() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let client = Client::new()
        .server_name(Some("other.test"), "localhost")
        .over_h3();
    let refused = client.get_h3(&gateway, "/").await.unwrap_err();
    assert_eq!(refused.alert, Some(Alert::UnrecognisedName), "{refused:?}");
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "UNKNOWN_SERVER_NAME", "{line}");
    for name in ["LocalHost", "localhost.", "LOCALHOST."] {
        let client = Client::new().server_name(Some(name), "localhost").over_h3();
        let answer = client.get_h3(&gateway, "/").await;
        assert_eq!(answer.unwrap().status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_client_of_another_protocol_or_a_site_without_tls_1_3_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let other = Client::new().tls13().alpn(&["h2"]);
    let refused = other.get_h3(&gateway, "/").await.unwrap_err();
    assert_eq!(
        refused.alert,
        Some(Alert::NoApplicationProtocol),
        "{refused:?}"
    );
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "ALPN_MISMATCH", "{line}");
}

#[tokio::test]
async fn requests_are_refused_as_over_http_2() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    // Another site's host.
    let mut request = link.request(Method::GET, "/");
    *request.uri_mut() = "https://other.test/".parse().unwrap();
    let answer = link.send(request, Bytes::new()).await.unwrap();
    assert_eq!(answer.status, 421);
    // A path that is read differently by different servers.
    assert_eq!(link.get("/a%2fb").await.unwrap().status, 400);
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("upgrade", "websocket"),
    ] {
        let mut request = link.request(Method::GET, "/");
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
        let refused = link.send(request, Bytes::new()).await;
        assert!(refused.is_err(), "{name}: {refused:?}");
        assert!(link.quic.close_reason().is_none(), "{name}");
    }
    gateway.wait_for_refusal("REQUEST_MALFORMED").await;
    assert_eq!(link.get("/after").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_declared_never_looks_whole() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    for (declared, body) in [
        ("5", "1234"),
        ("3", "1234"),
        ("1", ""),
        ("x", "1"),
        ("+1", "1"),
    ] {
        let mut request = link.request(Method::POST, "/");
        let length = HeaderValue::from_str(declared).unwrap();
        request.headers_mut().insert("content-length", length);
        let answer = link
            .send(request, Bytes::from_static(body.as_bytes()))
            .await;
        let refused = answer.as_ref().map_or(true, |answer| answer.status == 400);
        assert!(refused, "{declared} {body}: {answer:?}");
    }
    let mut request = link.request(Method::POST, "/");
    request
        .headers_mut()
        .insert("content-length", HeaderValue::from_static("4"));
    let answer = link.send(request, Bytes::from_static(b"1234")).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_head_that_claims_to_be_endless_is_not_gathered() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    let (mut send, mut receive) = link.quic.open_bi().await.unwrap();
    // HEADERS of a gigabyte.
    send.write_all(&[0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0])
        .await
        .unwrap();
    let stopped = within("a stop", send.stopped()).await.unwrap();
    assert_eq!(stopped.map(u64::from), Some(0x107));
    assert!(within("a reset", receive.read_to_end(100)).await.is_err());
    let line = gateway.wait_for_refusal("REQUEST_TOO_LARGE").await;
    assert_eq!(line["client.port"], link.port, "{line}");
}

#[tokio::test]
async fn a_client_that_takes_back_whatever_it_asks_is_cut() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    for _ in 0..400 {
        let request = link.request(Method::GET, "/slow/20000");
        let Ok(mut stream) = link.begin(request).await else {
            break;
        };
        let _ = stream.finish().await;
        stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    }
    let cut = within("the end of the connection", link.quic.closed()).await;
    let quinn::ConnectionError::ApplicationClosed(close) = cut else {
        panic!("{cut:?}");
    };
    assert_eq!(u64::from(close.error_code), Code::H3_EXCESSIVE_LOAD.value());
}

#[tokio::test]
async fn in_a_crowd_a_client_shows_that_its_address_is_its_own_before_anything_is_signed() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let gateway = behind(&faults)
        .listener("main", "http3 = true")
        .upstream(&echo)
        .allow("anyone")
        .extra_toml("[limits]\nhandshakes = 4\n")
        .spawn()
        .await;
    faults.set("delay_us = 800000\n");
    let address = gateway.address();
    let crowd: Vec<_> = (0..3)
        .map(|_| tokio::spawn(async move { Client::new().over_h3().h3(address).await.map(drop) }))
        .collect();
    until("a crowd", async || {
        let open = gateway.metric("portcullis_handshakes_open").await;
        (open >= 3.0).then_some(())
    })
    .await;
    let retries = gateway.metric("portcullis_accept_pauses_total").await;
    let client = Client::new().over_h3();
    let answer = client.get_h3(&gateway, "/").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(gateway.metric("portcullis_accept_pauses_total").await > retries);
    for one in crowd {
        one.await.unwrap().unwrap();
    }
}
