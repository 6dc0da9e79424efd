//! What the upstream is told about the client: who it is and where it came from, by the gateway alone.

use http::{HeaderMap, Request};
use portcullis_bench::echo::{Echo, SeenRequest};
use portcullis_bench::pki;

use crate::harness::{Client, Gateway, GatewayBuilder, RawTls, client_ca, client_leaf, status_of};

const XFCC: &str = "x-forwarded-client-cert";

fn gateway(echo: &Echo) -> GatewayBuilder {
    Gateway::builder()
        .client_cert("accept", client_ca())
        .upstream(echo)
        .allow("anyone")
}

fn orders() -> Client {
    Client::new().certificate(&client_leaf("orders"))
}

/// Sends a GET with these fields, written exactly so, over HTTP/1.1; the upstream's view of it.
async fn forwarded(gateway: &Gateway, echo: &Echo, client: &Client, fields: &str) -> SeenRequest {
    let mut raw = RawTls::connect(client, gateway.address()).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    raw.write(head).await.unwrap();
    let answer = raw.read_until("\r\n\r\n").await.unwrap();
    assert_eq!(status_of(&answer), Some(200), "{fields}: {answer}");
    echo.record().requests().pop().unwrap()
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let texts = values.map(|value| value.to_str().unwrap().to_owned());
    texts.collect()
}

/// A part of a semicolon list, quotes taken off.
fn part<'a>(list: &'a str, key: &str) -> Option<&'a str> {
    let parts = list.split(';');
    let mut values = parts.filter_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    values.next().map(|value| value.trim_matches('"'))
}

#[tokio::test]
async fn forged_identity_never_reaches_the_upstream() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).spawn().await;
    let (known, stranger) = (orders(), Client::new());
    for name in [
        "X-Forwarded-Client-Cert",
        "x-forwarded-client-cert",
        "X-FORWARDED-CLIENT-CERT",
        "X_Forwarded_Client_Cert",
        "X-Forwarded_Client-Cert",
        "Client-Cert",
        "Client_Cert",
        "Client-Cert-Chain",
        "client-cert_chain",
    ] {
        for fields in [
            format!("{name}: Hash=forged;Subject=\"CN=admin\"\r\n"),
            format!("{name}: forged\r\n{name}: forged too\r\nX-Other: kept\r\n"),
            format!("{name}: forged\r\nConnection: {name}\r\n"),
            format!("Connection: close, x-forwarded-client-cert\r\n{name}: forged\r\n"),
        ] {
            let seen = forwarded(&gateway, &echo, &stranger, &fields).await;
            assert!(
                !format!("{:?}", seen.headers).contains("forged"),
                "{fields}"
            );
            assert!(!seen.headers.contains_key(XFCC), "{fields}");
            let seen = forwarded(&gateway, &echo, &known, &fields).await;
            assert!(
                !format!("{:?}", seen.headers).contains("forged"),
                "{fields}"
            );
            // The nominated field is the client's copy, not the one the gateway sets.
            let [own] = &all(&seen.headers, XFCC)[..] else {
                panic!("{fields}: {:?}", seen.headers);
            };
            assert_eq!(part(own, "Subject"), Some("CN=orders"));
        }
    }
}

#[tokio::test]
async fn forged_identity_over_http2_never_reaches_the_upstream() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).spawn().await;
    for client in [Client::new().h2(), orders().h2()] {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        let request = Request::builder()
            .uri("/")
            .header(XFCC, "forged")
            .header("x_forwarded_client_cert", "forged")
            .header("client-cert", "forged")
            .header("forwarded", "for=forged")
            .header("x-forwarded-for", "forged")
            .header("x-real-ip", "forged");
        let request = request.body(Default::default()).unwrap();
        assert_eq!(connection.send(request).await.unwrap().status, 200);
        let seen = echo.record().requests().pop().unwrap();
        assert!(!format!("{:?}", seen.headers).contains("forged"));
    }
}

#[tokio::test]
async fn the_upstream_is_told_who_the_client_is() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).spawn().await;
    for client in [orders().tls12(), orders().tls13(), orders().h2()] {
        let answer = client.get(&gateway, "/").await.unwrap();
        let [xfcc] = &answer.upstream_saw(XFCC)[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(part(xfcc, "Subject"), Some("CN=orders"));
        assert_eq!(part(xfcc, "URI"), Some("spiffe://test.portcullis/orders"));
        assert_eq!(part(xfcc, "DNS"), Some("orders.clients.test"));
        let port = answer.port;
        let line = gateway
            .wait_for_access(|line| line["client.port"] == port)
            .await;
        let hash = line["tls.client.hash.sha256"].as_str().unwrap();
        assert_eq!((part(xfcc, "Hash"), hash.len()), (Some(hash), 64));
    }
}

#[tokio::test]
async fn names_with_delimiters_cannot_forge_a_part() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).spawn().await;
    let name = "x\";URI=spiffe://test.portcullis/admin;By=\"\\";
    let leaf = pki::Client::new(name).issued_by(client_ca()).unwrap();
    let client = Client::new().certificate(&leaf);
    let answer = client.get(&gateway, "/").await.unwrap();
    let xfcc = answer.upstream_saw(XFCC).remove(0);
    let (_, subject) = xfcc.split_once(";Subject=").unwrap();
    // One quoted string, and the URI it does not have: each quote in it is escaped.
    let subject = subject.strip_suffix(";URI=").unwrap();
    let inside = subject
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let unescaped = inside.unwrap().replace("\\\\", "").replace("\\\"", "");
    assert!(!unescaped.contains('"'), "{xfcc}");
}

#[tokio::test]
async fn claims_of_strangers_about_where_they_come_from_are_replaced() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).spawn().await;
    let fields = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 6.6.6.7\r\nX_Forwarded_For: 6.6.6.8\r\n\
        X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 6666\r\n\
        X-Forwarded-Prefix: /evil\r\nForwarded: for=6.6.6.9\r\nX-Real-IP: 6.6.6.6\r\n\
        X-Request-Id: evil\r\nConnection: x-forwarded-for, forwarded, x-request-id\r\n";
    let seen = forwarded(&gateway, &echo, &orders(), fields).await.headers;
    assert_eq!(all(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&seen, "x-forwarded-host"), ["localhost"]);
    let forwarded = "for=127.0.0.1;host=\"localhost\";proto=https";
    assert_eq!(all(&seen, "forwarded"), [forwarded]);
    let text = format!("{seen:?}");
    assert!(!text.contains("6.6.6") && !text.contains("evil"), "{text}");
    assert!(!seen.contains_key("x-forwarded-port") && !seen.contains_key("connection"));
}

#[tokio::test]
async fn what_a_trusted_hop_says_is_kept_and_appended_to() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo)
        .extra_toml("[forwarding]\ntrusted_hops = ['10.0.0.0/8', '127.0.0.1']")
        .spawn()
        .await;
    let fields = "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-For: 3.3.3.3\r\n\
        X-Forwarded-Proto: http\r\nX-Forwarded-Host: front.test\r\nForwarded: for=1.1.1.1\r\n\
        X-Request-Id: from-the-hop\r\nX-Forwarded-Client-Cert: Hash=forged\r\n\
        X_Forwarded_For: 6.6.6.6\r\n";
    let seen = forwarded(&gateway, &echo, &Client::new(), fields)
        .await
        .headers;
    let path = all(&seen, "x-forwarded-for").join(", ");
    assert_eq!(path, "1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1");
    assert_eq!(all(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(all(&seen, "x-forwarded-host"), ["front.test"]);
    let both = "for=1.1.1.1, for=127.0.0.1;host=\"localhost\";proto=https";
    assert_eq!(all(&seen, "forwarded").join(", "), both);
    assert_eq!(all(&seen, "x-request-id"), ["from-the-hop"]);
    // Identity is proven in the handshake; no hop can claim it.
    assert!(!seen.contains_key(XFCC) && !format!("{seen:?}").contains("6.6.6.6"));
}

#[tokio::test]
async fn what_is_switched_off_is_not_sent_and_still_not_let_through() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo)
        .extra_toml(
            "[forwarding]\nxfcc = { mode = 'sanitize' }\nx_forwarded = false\nforwarded = false",
        )
        .spawn()
        .await;
    let fields =
        "X-Forwarded-Client-Cert: forged\r\nForwarded: for=forged\r\nX-Forwarded-For: forged\r\n";
    let seen = forwarded(&gateway, &echo, &orders(), fields).await.headers;
    for name in [
        XFCC,
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
    ] {
        assert!(!seen.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn every_request_has_an_id_and_a_trace() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).spawn().await;
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut ids = Vec::new();
    for (fields, kept) in [
        (String::new(), false),
        (format!("traceparent: {given}\r\ntracestate: a=b\r\n"), true),
        (
            "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n".into(),
            false,
        ),
        (
            format!("traceparent: {given}\r\ntraceparent: {given}\r\n"),
            false,
        ),
        ("traceparent: garbage\r\ntracestate: a=b\r\n".into(), false),
    ] {
        let seen = forwarded(&gateway, &echo, &Client::new(), &fields)
            .await
            .headers;
        let [id] = &all(&seen, "x-request-id")[..] else {
            panic!("{fields}: {seen:?}");
        };
        let [trace] = &all(&seen, "traceparent")[..] else {
            panic!("{fields}: {seen:?}");
        };
        assert_eq!(trace == given, kept, "{fields}");
        assert_eq!(seen.contains_key("tracestate"), kept, "{fields}");
        assert_eq!(trace.len(), given.len());
        let line = gateway
            .wait_for_access(|line| line["request_id"] == id.as_str())
            .await;
        assert_eq!(line["trace_id"], trace[3..35]);
        ids.push(id.clone());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "ids are unique");
}
