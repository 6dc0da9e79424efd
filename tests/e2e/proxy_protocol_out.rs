//! What TCP upstreams are told of their clients.

use portcullis::proxy_protocol::ssl::{self, Certificate, Shown};
use portcullis::proxy_protocol::{Header, Origin, Ssl, tlv};
use portcullis_bench::pki::{self, Leaf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::haproxy::HaProxy;
use crate::harness::peer::header;
use crate::harness::{Client, Gateway, Peer, RawTls, client_ca, within};

/// The TLV of the identity, as docs/IDENTITY-HEADERS.md has it.
const IDENTITY: u8 = 0xe5;

async fn gateway(peer: &Peer, keys: &str, mode: &str) -> Gateway {
    Gateway::builder()
        .client_cert(mode, client_ca())
        .tcp(peer.address(), keys)
        .allow("anyone")
        .spawn()
        .await
}

/// What the service is told of this client, and the client's own port.
async fn told(gateway: &Gateway, peer: &Peer, client: &Client) -> (Header, u16) {
    let raw = RawTls::connect(client, gateway.address()).await.unwrap();
    let port = raw.port;
    let mut stream = raw.into_stream();
    stream.write_all(b"hello").await.unwrap();
    let mut service = peer.accept().await;
    let header = header(&mut service, b"hello").await;
    // One that is resumed needs its tickets.
    service.write_all(b"x").await.unwrap();
    assert_eq!(within("an answer", stream.read_u8()).await.unwrap(), b'x');
    let Origin::Client(addresses) = header.origin else {
        panic!("{header:?}");
    };
    assert_eq!(addresses.source(), ([127, 0, 0, 1], port).into());
    assert_eq!(addresses.destination(), gateway.address());
    (header, port)
}

fn fact(header: &Header, kind: u8) -> Option<&[u8]> {
    let mut facts = header.tlvs.iter();
    facts
        .find(|it| it.kind == kind)
        .map(|it| it.value.as_slice())
}

fn ssl_of(header: &Header) -> Ssl {
    Ssl::read(fact(header, ssl::SSL).unwrap()).unwrap().unwrap()
}

fn sub(ssl: &Ssl, kind: u8) -> Option<&[u8]> {
    let mut facts = ssl.facts.iter();
    facts
        .find(|it| it.kind == kind)
        .map(|it| it.value.as_slice())
}

fn leaf() -> Leaf {
    let id = "spiffe://test.portcullis/orders";
    let client = pki::Client::new("orders").uri(id).unwrap();
    client.issued_by(client_ca()).unwrap()
}

fn plain() -> Client {
    Client::new().alpn(&[])
}

#[tokio::test]
async fn who_shows_no_certificate_is_nobody() {
    let peer = Peer::start().await;
    let gateway = gateway(&peer, "proxy_protocol = 'v2'\ntls_info = true", "accept").await;
    let (header, _) = told(&gateway, &peer, &plain()).await;
    let ssl = ssl_of(&header);
    assert_eq!(ssl.certificate, Certificate::Absent);
    assert_eq!(sub(&ssl, ssl::COMMON_NAME), None);
    assert_eq!(fact(&header, IDENTITY), None);
}

#[tokio::test]
async fn a_certificate_that_nobody_verified_gives_no_name() {
    let peer = Peer::start().await;
    let gateway = Gateway::builder()
        .listener("main", "client_cert = { mode = 'unverified' }")
        .tcp(peer.address(), "proxy_protocol = 'v2'\ntls_info = true")
        .allow("anyone")
        .spawn()
        .await;
    let (header, _) = told(&gateway, &peer, &plain().certificate(&leaf())).await;
    let ssl = ssl_of(&header);
    assert_eq!(ssl.certificate, Certificate::Unverified(Shown::Now));
    assert_eq!(sub(&ssl, ssl::COMMON_NAME), None);
    assert_eq!(fact(&header, IDENTITY), None);
}

#[tokio::test]
async fn nothing_but_addresses_is_told_unless_it_is_wanted() {
    let peer = Peer::start().await;
    for version in ["v1", "v2"] {
        let keys = format!("proxy_protocol = '{version}'");
        let gateway = gateway(&peer, &keys, "require").await;
        let (header, _) = told(&gateway, &peer, &plain().certificate(&leaf())).await;
        assert_eq!(header.tlvs, [], "{version}");
    }
}

#[tokio::test]
async fn an_upstream_that_wants_it_is_told_what_tls_came_to_and_who_the_client_is() {
    let peer = Peer::start().await;
    let toml = "tcp = [{ alpn = ['mqtt'], upstream = 'raw' }]\nresumption = { mode = 'tickets' }";
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream_at(
            "raw",
            &format!("tcp://{}", peer.address()),
            "protocol = 'tcp'\nproxy_protocol = 'v2'\ntls_info = true",
        )
        .upstream_at("echo", "http://127.0.0.1:9", "")
        .site(crate::harness::Site::new("localhost").line(toml))
        .allow("anyone")
        .spawn()
        .await;
    let client = Client::new().alpn(&["mqtt"]).tls13().certificate(&leaf());
    for shown in [Shown::Now, Shown::Before] {
        let (header, port) = told(&gateway, &peer, &client).await;
        assert_eq!(fact(&header, tlv::ALPN), Some(&b"mqtt"[..]));
        assert_eq!(fact(&header, tlv::AUTHORITY), Some(&b"localhost"[..]));
        assert_eq!(
            fact(&header, IDENTITY),
            Some(&b"spiffe://test.portcullis/orders"[..])
        );
        let ssl = ssl_of(&header);
        assert_eq!(ssl.certificate, Certificate::Verified(shown));
        assert_eq!(sub(&ssl, ssl::VERSION), Some(&b"TLSv1.3"[..]));
        assert_eq!(sub(&ssl, ssl::CIPHER), Some(&b"TLS_AES_128_GCM_SHA256"[..]));
        assert_eq!(sub(&ssl, ssl::COMMON_NAME), Some(&b"orders"[..]));
        let line = gateway
            .wait_for_access(|line| line["client.port"] == port)
            .await;
        let id = fact(&header, tlv::UNIQUE_ID).unwrap();
        assert_eq!(line["connection_id"], String::from_utf8_lossy(id).as_ref());
        assert_eq!(line["client.bytes"], 5, "the header is not the client's");
        assert_eq!(line["network.protocol.name"], "mqtt");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_not_told_in_part() {
    let peer = Peer::start().await;
    let gateway = gateway(&peer, "proxy_protocol = 'v2'\ntls_info = true", "require").await;
    let id = format!("spiffe://test.portcullis/{}", "x".repeat(2000));
    // One name that is too long by itself, as subject and as common name.
    let client = pki::Client::new(&"y".repeat(5000)).uri(&id).unwrap();
    let leaf = client.issued_by(client_ca()).unwrap();
    let client = plain().certificate(&leaf);
    let raw = RawTls::connect(&client, gateway.address()).await.unwrap();
    let mut stream = raw.into_stream();
    let ended = within("the end", stream.read(&mut [0])).await;
    assert!(ended.is_err(), "{ended:?}");
    gateway.wait_for_refusal("PROXY_HEADER_TOO_LONG").await;
    assert!(peer.is_untouched().await);
}

#[tokio::test]
async fn haproxy_understands_what_it_is_told() {
    let test = "haproxy_understands_what_it_is_told";
    if !HaProxy::is_there(test) {
        return;
    }
    let echoes = "mode http\n bind {} accept-proxy\n http-request return status 200 content-type text/plain \
                  lf-string \"%[src]:%[src_port] %[fc_pp_authority] %[fc_pp_unique_id]\"\n";
    let haproxy = HaProxy::start(echoes).await;
    for (keys, authority) in [
        ("proxy_protocol = 'v1'", ""),
        ("proxy_protocol = 'v2'", ""),
        ("proxy_protocol = 'v2'\ntls_info = true", "localhost"),
    ] {
        let gateway = Gateway::builder()
            .tcp(haproxy.address(), keys)
            .allow("anyone")
            .spawn()
            .await;
        let mut raw = RawTls::connect(&plain(), gateway.address()).await.unwrap();
        let port = raw.port;
        let ask = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = raw.exchange(ask).await.unwrap();
        let said = answer.split("\r\n\r\n").nth(1).unwrap();
        let expected = format!("127.0.0.1:{port} {authority} ");
        assert!(said.starts_with(&expected), "{keys}: {said} {expected}");
        assert_eq!(said.len() > expected.len(), !authority.is_empty(), "{said}");
    }
}
