//! Server names whose TLS does not end at the gateway: who is handed on, and that it is byte for byte.

use std::net::SocketAddr;

use http::Request;
use portcullis::proxy_protocol::{Addresses, Origin, ssl, tlv, write_v2};
use portcullis_bench::echo::Echo;
use rustls::AlertDescription as Alert;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::peer::{header, take, take_all};
use crate::harness::{
    Client, Gateway, GatewayBuilder, Peer, Site, client_ca, client_leaf, until, within,
};

const NAME: &str = "db.example.test";

/// A gateway that hands `NAME` on to a service, beside a site for its siblings.
fn before(service: SocketAddr) -> GatewayBuilder {
    described(&format!("names = '{NAME}'\nupstream = 'tcp://{service}'"))
}

fn described(passthrough: &str) -> GatewayBuilder {
    Gateway::builder()
        .site(Site::new("*.example.test"))
        .upstream_at("echo", "http://127.0.0.1:9", "")
        .extra_toml(&format!("[[passthrough]]\n{passthrough}"))
}

async fn connect(gateway: &Gateway) -> TcpStream {
    let connecting = TcpStream::connect(gateway.address());
    within("a connect", connecting).await.unwrap()
}

/// The reason and the alert with which a client of `NAME` is turned away.
async fn refused(gateway: &Gateway, client: &Client) -> (String, Option<Alert>) {
    let refused = client.get(gateway, "/").await.unwrap_err();
    let line = gateway.refusal_of(refused.port).await;
    (line["reason"].as_str().unwrap().to_owned(), refused.alert)
}

#[tokio::test]
async fn nobody_is_handed_on_without_a_rule_about_anyone() {
    let leaf = client_leaf("orders");
    for rule in [
        "",
        "[[rule]]\nroles = 'verified'",
        "[[rule]]\nroles = 'anyone'\npaths = '/**'",
        "[[rule]]\nroles = 'anyone'\nhosts = '*.example.test'\nfrom = '192.0.2.0/24'",
    ] {
        let peer = Peer::start().await;
        let gateway = before(peer.address()).extra_toml(rule).spawn().await;
        let client = Client::of(NAME).certificate(&leaf);
        let (reason, alert) = refused(&gateway, &client).await;
        assert_eq!(
            (&*reason, alert),
            ("NOT_AUTHORIZED", Some(Alert::AccessDenied)),
            "{rule}"
        );
        assert!(peer.is_untouched().await);
        let line = gateway.wait_for_access(|_| true).await;
        assert_eq!(
            line["client.identity"], "unterminated",
            "never an empty name"
        );
        assert_eq!(line["passthrough"], NAME);
        assert!(
            line["site"].is_null() && line["tls.protocol.version"].is_null(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_deny_about_the_name_wins() {
    let peer = Peer::start().await;
    let gateway = before(peer.address())
        .allow("anyone")
        .rule(&format!(
            "roles = 'anyone'\nhosts = '{NAME}'\naction = 'deny'"
        ))
        .spawn()
        .await;
    let (reason, alert) = refused(&gateway, &Client::of(NAME)).await;
    assert_eq!(
        (&*reason, alert),
        ("DENIED_BY_RULE", Some(Alert::AccessDenied))
    );
}

#[tokio::test]
async fn a_service_that_is_away_is_told() {
    let peer = Peer::start().await;
    let gateway = before(peer.address()).allow("anyone").spawn().await;
    drop(peer);
    let (reason, alert) = refused(&gateway, &Client::of(NAME)).await;
    assert_eq!(
        (&*reason, alert),
        ("UPSTREAM_CONNECT", Some(Alert::InternalError))
    );
}

#[tokio::test]
async fn who_names_nobody_is_handed_to_nobody() {
    let peer = Peer::start().await;
    let all = format!("names = '*'\nupstream = 'tcp://{}'", peer.address());
    let gateway = described(&all).allow("anyone").spawn().await;
    let client = Client::of(NAME).server_name(None, NAME);
    let (reason, alert) = refused(&gateway, &client).await;
    assert_eq!(
        (&*reason, alert),
        ("UNKNOWN_SERVER_NAME", Some(Alert::UnrecognisedName))
    );
    assert!(peer.is_untouched().await);
}

#[tokio::test]
async fn a_name_that_is_handed_on_belongs_to_no_site() {
    let echo = Echo::start().await.unwrap();
    let peer = Peer::start().await;
    let passthrough = format!(
        "[[passthrough]]\nnames = '{NAME}'\nupstream = 'tcp://{}'",
        peer.address()
    );
    let gateway = Gateway::builder()
        .listener("main", "http3 = true\ndefault_site = '*.example.test'")
        .site(Site::new("*.example.test"))
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(&passthrough)
        .spawn()
        .await;
    let api = Client::of("api.example.test");
    assert_eq!(api.get(&gateway, "/").await.unwrap().status, 200);
    for client in [api.clone(), api.h2()] {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        let uri = format!("https://{NAME}/");
        let request = Request::get(uri).header("host", NAME);
        let answer = connection
            .send(request.body(Default::default()).unwrap())
            .await;
        assert_eq!(answer.unwrap().status, 421);
    }
    // Over QUIC nothing is handed on, and nothing served in its place.
    let refused = Client::of(NAME).over_h3().get_h3(&gateway, "/").await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.alert, Some(Alert::UnrecognisedName), "{refused:?}");
    assert!(peer.is_untouched().await);
}

/// The records of a ClientHello, cut so that no record and no packet holds it whole.
fn in_records(hello: &[u8]) -> Vec<Vec<u8>> {
    let (head, body) = hello.split_at(5);
    let records = body.chunks(7).map(|piece| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&head[..3], &length, piece].concat()
    });
    records.collect()
}

#[tokio::test]
async fn what_the_client_sends_arrives_as_it_was_however_it_was_cut() {
    let peer = Peer::start().await;
    let gateway = before(peer.address()).allow("anyone").spawn().await;
    let hello = Client::of(NAME).client_hello();
    let shouted = Client::of("DB.Example.TEST").client_hello();
    for (pieces, more) in [
        (vec![hello.clone()], &b"early"[..]),
        (hello.chunks(1).map(<[u8]>::to_vec).collect(), b""),
        (in_records(&hello), b"\x17\x03\x03\0\x01x"),
        (vec![shouted], b""),
    ] {
        let mut tcp = connect(&gateway).await;
        let port = tcp.local_addr().unwrap().port();
        tcp.set_nodelay(true).unwrap();
        for piece in &pieces {
            tcp.write_all(piece).await.unwrap();
        }
        tcp.write_all(more).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut service = peer.accept().await;
        let sent = [pieces.concat(), more.to_vec()].concat();
        assert!(take_all(&mut service).await == sent);
        service
            .write_all(b"\x15\x03\x03\0\x02\x02\x28")
            .await
            .unwrap();
        drop(service);
        let mut answer = Vec::new();
        within("the answer", tcp.read_to_end(&mut answer))
            .await
            .unwrap();
        assert_eq!(answer, b"\x15\x03\x03\0\x02\x02\x28");
        let line = gateway
            .wait_for_access(|line| line["client.port"] == port)
            .await;
        assert_eq!(line["client.bytes"], sent.len());
        assert_eq!(
            (&line["server.bytes"], &line["complete"]),
            (&7.into(), &true.into())
        );
        assert_eq!(line["server.address"], NAME);
    }
}

#[tokio::test]
async fn tls_ends_at_the_service_with_its_certificate_and_its_demands() {
    let echo = Echo::start().await.unwrap();
    let inner = Gateway::builder()
        .client_cert("require", client_ca())
        .site(Site::new(NAME))
        .upstream(&echo)
        .allow("verified")
        .spawn()
        .await;
    let outer = before(inner.address()).allow("anyone").spawn().await;
    let client = Client::of(NAME).certificate(&client_leaf("orders"));
    for client in [client.clone().tls13(), client.tls12()] {
        let answer = client.get(&outer, "/").await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let nobody = Client::of(NAME).get(&outer, "/").await.unwrap_err();
    assert_eq!(
        nobody.alert,
        Some(Alert::CertificateRequired),
        "the service's own"
    );
    let seen = echo.record().requests();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        outer
            .metric("portcullis_requests_total{code=\"2xx\"}")
            .await,
        0.0
    );
}

#[tokio::test]
async fn the_address_that_a_proxy_announced_decides_and_is_passed_on() {
    let peer = Peer::start().await;
    let upstream = format!(
        "[upstream.raw]\nendpoint = 'tcp://{}'\nprotocol = 'tcp'\nproxy_protocol = 'v2'\ntls_info = true",
        peer.address()
    );
    let gateway = described(&format!("names = '{NAME}'\nupstream = 'raw'"))
        .listener("main", "proxy_protocol = { from = ['127.0.0.1'] }")
        .rule("roles = 'anyone'\nfrom = '192.0.2.0/24'")
        .extra_toml(&upstream)
        .spawn()
        .await;
    let hello = Client::of(NAME).client_hello();
    let announce = async |origin: &Origin| {
        let mut tcp = connect(&gateway).await;
        let mut bytes = Vec::new();
        write_v2(origin, &[], &mut bytes).unwrap();
        bytes.extend_from_slice(&hello);
        tcp.write_all(&bytes).await.unwrap();
        tcp
    };
    let to = "198.51.100.1:443".parse().unwrap();
    let client = |source: &str| Origin::Client(Addresses::new(source.parse().unwrap(), to));
    let _other = announce(&client("203.0.113.9:4711")).await;
    assert_eq!(gateway.refusal_of(4711).await["reason"], "NOT_AUTHORIZED");
    assert!(peer.is_untouched().await);
    let own = announce(&Origin::Local).await;
    let port = own.local_addr().unwrap().port();
    let line = gateway
        .wait_for_access(|line| line["client.port"] == port)
        .await;
    assert_eq!(
        (&line["client.identity"], &line["reason"]),
        (&"local".into(), &"NOT_AUTHORIZED".into())
    );
    let _right = announce(&client("192.0.2.7:4712")).await;
    let mut service = peer.accept().await;
    let header = header(&mut service, &hello).await;
    let Origin::Client(addresses) = header.origin else {
        panic!("{header:?}");
    };
    assert_eq!(addresses.source(), "192.0.2.7:4712".parse().unwrap());
    let kinds: Vec<u8> = header.tlvs.iter().map(|fact| fact.kind).collect();
    assert_eq!(
        kinds,
        [tlv::AUTHORITY, tlv::UNIQUE_ID],
        "no {} of a TLS that is not ours",
        ssl::SSL
    );
    assert_eq!(header.tlvs[0].value, NAME.as_bytes());
}

#[tokio::test]
async fn a_connection_ends_when_a_reload_takes_its_name_or_its_rule_away() {
    let hello = Client::of(NAME).client_hello();
    for (from, to, reason) in [
        (
            "[[rule]]",
            "[[rule]]\nfrom = ['192.0.2.0/24']",
            "NOT_AUTHORIZED",
        ),
        ("names = 'db.", "names = 'other.", "UNKNOWN_SERVER_NAME"),
    ] {
        let peer = Peer::start().await;
        let gateway = before(peer.address()).allow("anyone").spawn().await;
        let mut tcp = connect(&gateway).await;
        tcp.write_all(&hello).await.unwrap();
        let mut service = peer.accept().await;
        take(&mut service, hello.len()).await;
        gateway.rewrite_config(|toml| toml.replace(from, to));
        gateway.reload().await.unwrap();
        let ended = within("the end", service.read(&mut [0])).await;
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        gateway.wait_for_refusal(reason).await;
    }
}

#[tokio::test]
async fn a_hello_that_does_not_come_ends_as_for_a_site() {
    let peer = Peer::start().await;
    let gateway = before(peer.address())
        .allow("anyone")
        .extra_toml("[timeouts]\nclient_hello = '300ms'")
        .spawn()
        .await;
    let hello = Client::of(NAME).client_hello();
    let mut tcp = connect(&gateway).await;
    let port = tcp.local_addr().unwrap().port();
    tcp.write_all(&hello[..hello.len() - 1]).await.unwrap();
    assert_eq!(
        gateway.refusal_of(port).await["reason"],
        "CLIENT_HELLO_TIMEOUT"
    );
    assert!(peer.is_untouched().await);
    until("nothing is left of it", async || {
        let open = gateway.metric("portcullis_connections_open").await;
        (open == 0.0).then_some(())
    })
    .await;
}
