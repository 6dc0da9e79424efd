//! Proxies in front that tell who their clients are: who is believed, and what it changes.

use std::net::{IpAddr, SocketAddr};

use portcullis::proxy_protocol::{Addresses, Origin, Tlv, tlv, write_v1, write_v2};
use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::haproxy::HaProxy;
use crate::harness::{Client, Gateway, GatewayBuilder, within};

/// A gateway behind a proxy, that lets in who comes from 192.0.2.0/24 or from this machine.
fn behind(echo: &Echo, from: &str) -> GatewayBuilder {
    Gateway::builder()
        .listener("main", &format!("proxy_protocol = {{ from = ['{from}'] }}"))
        .upstream(echo)
        .rule("roles = ['anyone']\nfrom = ['192.0.2.0/24', '127.0.0.0/8']")
}

async fn connect(address: SocketAddr) -> TcpStream {
    within("a connect", TcpStream::connect(address))
        .await
        .unwrap()
}

fn client(source: &str) -> Origin {
    let to = "198.51.100.1:443".parse().unwrap();
    Origin::Client(Addresses::new(source.parse().unwrap(), to))
}

fn line(source: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_v1(&client(source), &mut bytes);
    bytes
}

fn binary(origin: &Origin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let tlvs = [Tlv::new(tlv::AUTHORITY, *b"other.test")];
    write_v2(origin, &tlvs, &mut bytes).unwrap();
    bytes
}

/// The code of the refusal that follows `bytes`.
async fn refused(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut tcp = connect(gateway.address()).await;
    let port = tcp.local_addr().unwrap().port();
    let _ = tcp.write_all(bytes).await; // It may be closed already.
    let line = gateway.refusal_of(port).await;
    let mut rest = Vec::new();
    let _ = within("a close", tcp.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "whoever is refused is told nothing");
    line["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_is_not_trusted_is_turned_away_with_and_without_a_header() {
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "10.0.0.0/8").spawn().await;
    let hello = Client::new().client_hello();
    for bytes in [line("192.0.2.7:4711"), hello, Vec::new()] {
        assert_eq!(refused(&gateway, &bytes).await, "PROXY_SOURCE_NOT_TRUSTED");
    }
    assert_eq!(gateway.metric("portcullis_handshakes_open").await, 0.0);
}

#[tokio::test]
async fn a_trusted_proxy_that_sends_no_header_is_turned_away() {
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "127.0.0.1").spawn().await;
    let hello = Client::new().client_hello();
    for bytes in [&hello[..], b"GET / HTTP/1.1\r\n\r\n", b"\n"] {
        assert_eq!(refused(&gateway, bytes).await, "PROXY_HEADER_MISSING");
    }
    // A health check that only opens the port.
    let mut tcp = connect(gateway.address()).await;
    let port = tcp.local_addr().unwrap().port();
    tcp.shutdown().await.unwrap();
    assert_eq!(
        gateway.refusal_of(port).await["reason"],
        "PROXY_HEADER_MISSING"
    );
}

#[tokio::test]
async fn a_header_that_is_broken_or_names_no_client_is_turned_away() {
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "127.0.0.1").spawn().await;
    let mut changed = binary(&client("192.0.2.7:4711"));
    changed[19] ^= 1;
    let hello = Client::new().client_hello();
    let with_hello = |header: &[u8]| [header, &hello].concat();
    for bytes in [
        changed,
        with_hello(b"PROXY UNKNOWN\r\n"),
        with_hello(&binary(&Origin::Unknown)),
        with_hello(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n"),
        [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
    ] {
        assert_eq!(refused(&gateway, &bytes).await, "PROXY_HEADER_INVALID");
    }
}

#[tokio::test]
async fn a_header_has_the_time_of_a_hello() {
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "127.0.0.1")
        .extra_toml("[timeouts]\nclient_hello = '300ms'")
        .spawn()
        .await;
    for bytes in [
        &b""[..],
        b"PROXY TCP4",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
    ] {
        assert_eq!(refused(&gateway, bytes).await, "PROXY_HEADER_TIMEOUT");
    }
}

#[tokio::test]
async fn nobody_is_believed_where_no_proxy_is_named() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut tcp = connect(gateway.address()).await;
    let port = tcp.local_addr().unwrap().port();
    tcp.write_all(&line("192.0.2.7:4711")).await.unwrap();
    assert_eq!(gateway.refusal_of(port).await["reason"], "NOT_TLS");
}

#[tokio::test]
async fn the_announced_address_decides() {
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "127.0.0.1").spawn().await;
    for (source, status) in [("203.0.113.9:4712", 403), ("192.0.2.9:4713", 200)] {
        let mut tcp = connect(gateway.address()).await;
        tcp.write_all(&binary(&client(source))).await.unwrap();
        let mut connection = Client::new().connect_over(tcp).await.unwrap();
        assert_eq!(
            connection.get("/").await.unwrap().status,
            status,
            "{source}"
        );
    }
    let line = gateway.refusal_of(4712).await;
    assert_eq!(
        (&line["reason"], &line["client.address"]),
        (&"NOT_AUTHORIZED".into(), &"203.0.113.9".into())
    );
}

/// Sends the header as it may come, and asks; what the upstream saw of the client.
async fn seen_by_upstream(gateway: &Gateway, echo: &Echo, pieces: &[&[u8]]) -> String {
    let mut tcp = connect(gateway.address()).await;
    tcp.set_nodelay(true).unwrap();
    for piece in pieces {
        tcp.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut connection = Client::new().connect_over(tcp).await.unwrap();
    assert_eq!(connection.get("/seen").await.unwrap().status, 200);
    let seen = echo.record().requests().pop().unwrap();
    let address = seen.headers["x-forwarded-for"].to_str().unwrap();
    address.to_owned()
}

#[tokio::test]
async fn the_announced_address_is_the_clients_for_upstreams_and_logs() {
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "127.0.0.1").spawn().await;
    let (old, new) = (line("192.0.2.7:4711"), binary(&client("192.0.2.8:4712")));
    for (header, port, address) in [(old, 4711, "192.0.2.7"), (new, 4712, "192.0.2.8")] {
        let bytes: Vec<&[u8]> = header.chunks(1).collect();
        for pieces in [&[&header[..]][..], &bytes] {
            let seen = seen_by_upstream(&gateway, &echo, pieces).await;
            assert_eq!(seen, address);
        }
        let line = gateway
            .wait_for_access(|line| line["client.port"] == port)
            .await;
        assert_eq!(line["client.address"], address);
        assert_eq!(line["network.peer.address"], "127.0.0.1");
    }
}

#[tokio::test]
async fn a_connection_of_the_proxys_own_keeps_its_address() {
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "127.0.0.1").spawn().await;
    let header = binary(&Origin::Local);
    let seen = seen_by_upstream(&gateway, &echo, &[&header]).await;
    assert_eq!(seen, "127.0.0.1");
    let line = gateway.wait_for_access(|_| true).await;
    assert!(line["network.peer.address"].is_null(), "{line}");
}

#[tokio::test]
async fn a_redirect_listener_takes_a_header_too() {
    let echo = Echo::start().await.unwrap();
    let redirect = "protocol = 'redirect'\nproxy_protocol = { from = ['127.0.0.1'] }";
    let gateway = Gateway::builder()
        .listener("main", "")
        .listener("plain", redirect)
        .upstream(&echo)
        .spawn()
        .await;
    for (ask, status) in [
        ("GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n", "308"),
        ("GET\r\n\r\n", "400"),
    ] {
        let mut tcp = connect(gateway.addr("plain")).await;
        tcp.write_all(&line("192.0.2.7:4711")).await.unwrap();
        tcp.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an answer", tcp.read_to_string(&mut answer))
            .await
            .unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let line = gateway.refusal_of(4711).await;
    assert_eq!(line["client.address"], "192.0.2.7");
}

#[tokio::test]
async fn haproxy_tells_its_clients_in_both_versions() {
    if !HaProxy::is_there("haproxy_tells_its_clients_in_both_versions") {
        return;
    }
    let echo = Echo::start().await.unwrap();
    let gateway = behind(&echo, "127.0.0.1").spawn().await;
    for send in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        let section = format!(
            "mode tcp\n bind {{}}\n server s {} {send}\n",
            gateway.address()
        );
        let haproxy = HaProxy::start(&section).await;
        // Another address of this machine: what HAProxy itself comes from is 127.0.0.1.
        let socket = TcpSocket::new_v4().unwrap();
        let own: IpAddr = [127, 0, 0, 77].into();
        socket.bind((own, 0).into()).unwrap();
        let tcp = socket.connect(haproxy.address()).await.unwrap();
        let mut connection = Client::new().connect_over(tcp).await.unwrap();
        assert_eq!(connection.get("/").await.unwrap().status, 200, "{send}");
        let seen = echo.record().requests().pop().unwrap();
        assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.77", "{send}");
    }
}
