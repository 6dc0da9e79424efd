//! When a connection that carries no HTTP ends though both sides would go on.

use std::time::{Duration, Instant};

use portcullis_bench::pki;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::harness::peer::take;
use crate::harness::{Client, Gateway, Peer, RawTls, client_ca, client_leaf, until, within};

/// Connects, and says something that arrives.
async fn through(
    gateway: &Gateway,
    peer: &Peer,
    client: &Client,
) -> (TlsStream<TcpStream>, TcpStream) {
    let raw = RawTls::connect(client, gateway.address()).await.unwrap();
    let mut stream = raw.into_stream();
    stream.write_all(b"hello").await.unwrap();
    let mut service = peer.accept().await;
    assert_eq!(take(&mut service, 5).await, b"hello");
    (stream, service)
}

fn plain() -> Client {
    Client::new().alpn(&[])
}

/// Both ends are closed, and the client sees that it was no clean end.
async fn is_cut(mut stream: TlsStream<TcpStream>, mut service: TcpStream) {
    let ended = within("the end at the client", stream.read(&mut [0])).await;
    assert!(ended.is_err(), "no close_notify: {ended:?}");
    let ended = within("the end at the service", service.read(&mut [0])).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
}

#[tokio::test]
async fn a_connection_without_a_byte_either_way_ends() {
    let peer = Peer::start().await;
    let gateway = Gateway::builder()
        .tcp(peer.address(), "")
        .allow("anyone")
        .extra_toml("[timeouts]\ntunnel = '300ms'")
        .spawn()
        .await;
    let (stream, service) = through(&gateway, &peer, &plain()).await;
    is_cut(stream, service).await;
    gateway.wait_for_refusal("TUNNEL_IDLE").await;
    // A side that has ended does not make the other one more patient, or less.
    let (mut stream, mut service) = through(&gateway, &peer, &plain()).await;
    stream.shutdown().await.unwrap();
    let ended = within("the end", service.read(&mut [0])).await;
    assert_eq!(ended.unwrap(), 0);
    let ended = within("the end", stream.read(&mut [0])).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn a_connection_ends_when_a_reload_takes_its_rule_away() {
    let peer = Peer::start().await;
    let gateway = Gateway::builder()
        .tcp(peer.address(), "")
        .allow("anyone")
        .spawn()
        .await;
    let (stream, service) = through(&gateway, &peer, &plain()).await;
    gateway.rewrite_config(|toml| toml.replace("[[rule]]", "[[rule]]\nfrom = ['192.0.2.0/24']"));
    gateway.reload().await.unwrap();
    is_cut(stream, service).await;
    let line = gateway.wait_for_access(|_| true).await;
    assert_eq!(line["reason"], "NOT_AUTHORIZED");
    assert_eq!(line["client.bytes"], 5);
}

#[tokio::test]
async fn a_reload_that_still_allows_it_changes_nothing() {
    let peer = Peer::start().await;
    let gateway = Gateway::builder()
        .tcp(peer.address(), "")
        .allow("anyone")
        .spawn()
        .await;
    let (mut stream, mut service) = through(&gateway, &peer, &plain()).await;
    let more = "[[rule]]\nname = 'more'\nroles = ['anyone']\npaths = ['/x']\naction = 'deny'\n";
    gateway.rewrite_config(|toml| toml + more);
    gateway.reload().await.unwrap();
    // Longer than the gateway takes to look.
    let silence = timeout(Duration::from_secs(3), stream.read(&mut [0])).await;
    assert!(silence.is_err(), "{silence:?}");
    stream.write_all(b"still here").await.unwrap();
    assert_eq!(take(&mut service, 10).await, b"still here");
}

#[tokio::test]
async fn who_is_denied_is_cut_and_others_are_not() {
    let peer = Peer::start().await;
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .tcp(peer.address(), "")
        .allow("verified")
        .extra_toml("[timeouts]\nrevoked = '1s'")
        .spawn()
        .await;
    let id = "spiffe://test.portcullis/stolen";
    let stolen = pki::Client::new("stolen").uri(id).unwrap();
    let stolen = stolen.issued_by(client_ca()).unwrap();
    let (stream, service) = through(&gateway, &peer, &plain().certificate(&stolen)).await;
    let other = plain().certificate(&client_leaf("other"));
    let (mut others, mut at_service) = through(&gateway, &peer, &other).await;
    let begun = Instant::now();
    gateway.ask(&["deny", "add", id]).await;
    is_cut(stream, service).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    let line = gateway.wait_for_access(|_| true).await;
    assert_eq!(line["reason"], "CLIENT_CERT_DENIED");
    others.write_all(b"still here").await.unwrap();
    assert_eq!(take(&mut at_service, 10).await, b"still here");
}

#[tokio::test]
async fn a_drain_waits_for_connections_as_long_as_it_may() {
    let peer = Peer::start().await;
    let mut gateway = Gateway::builder()
        .tcp(peer.address(), "")
        .allow("anyone")
        .extra_toml("[timeouts]\ndrain = '2s'")
        .spawn()
        .await;
    let (mut stream, mut service) = through(&gateway, &peer, &plain()).await;
    gateway.signal(Signal::TERM);
    until("nobody new is let in", async || {
        TcpStream::connect(gateway.address()).await.err()
    })
    .await;
    stream.write_all(b"still here").await.unwrap();
    assert_eq!(take(&mut service, 10).await, b"still here");
    let begun = Instant::now();
    gateway.terminate().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    is_cut(stream, service).await;
}

#[tokio::test]
async fn a_service_that_reads_nothing_stops_its_client() {
    let peer = Peer::start().await;
    let gateway = Gateway::builder()
        .tcp(peer.address(), "")
        .allow("anyone")
        .spawn()
        .await;
    let (mut stream, mut service) = through(&gateway, &peer, &plain()).await;
    let piece = vec![7; 1 << 20];
    let mut sent = 0;
    // What the kernels on the way hold is a few MiB.
    while let Ok(written) = timeout(Duration::from_secs(1), stream.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 64 << 20, "somebody holds all of it");
    }
    let arrived = take(&mut service, sent.min(1 << 20)).await;
    assert!(arrived.iter().all(|byte| *byte == 7));
}
