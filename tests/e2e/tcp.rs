//! Connections that carry no HTTP: who gets through, and what goes through.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::write_file;
use rustls::AlertDescription as Alert;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::peer::{take, take_all};
use crate::harness::{
    Client, Gateway, GatewayBuilder, Peer, RawTls, Site, client_ca, client_leaf, server_ca, within,
};

/// Connects to the first listener.
async fn connect(gateway: &Gateway, client: &Client) -> TlsStream<TcpStream> {
    RawTls::connect(client, gateway.address())
        .await
        .unwrap()
        .into_stream()
}

/// A client that offers no protocol.
fn plain() -> Client {
    Client::new().alpn(&[])
}

/// The reason why the connection of `client` comes to nothing; the service never hears of it.
async fn refused(peer: &Peer, gateway: &Gateway, client: &Client) -> String {
    let mut stream = connect(gateway, client).await;
    let port = stream.get_ref().0.local_addr().unwrap().port();
    let _ = stream.write_all(b"hello").await; // It may be closed already.
    let mut rest = Vec::new();
    let ended = within("the end", stream.read_to_end(&mut rest)).await;
    assert!(
        ended.is_err() && rest.is_empty(),
        "no close_notify: {ended:?}"
    );
    let line = gateway.refusal_of(port).await;
    let access = gateway
        .wait_for_access(|line| line["client.port"] == port)
        .await;
    assert_eq!(access["reason"], line["reason"]);
    assert_eq!(access["complete"], false);
    assert!(peer.is_untouched().await);
    line["reason"].as_str().unwrap().to_owned()
}

fn before(peer: &Peer) -> GatewayBuilder {
    Gateway::builder().tcp(peer.address(), "")
}

#[tokio::test]
async fn nobody_gets_through_without_a_rule() {
    let peer = Peer::start().await;
    let gateway = before(&peer).spawn().await;
    assert_eq!(refused(&peer, &gateway, &plain()).await, "NOT_AUTHORIZED");
}

#[tokio::test]
async fn a_rule_about_requests_lets_no_connection_through() {
    let peer = Peer::start().await;
    let gateway = before(&peer)
        .rule("roles = ['anyone']\npaths = ['/**']")
        .rule("roles = ['anyone']\nmethods = ['GET']")
        .spawn()
        .await;
    assert_eq!(refused(&peer, &gateway, &plain()).await, "NOT_AUTHORIZED");
}

#[tokio::test]
async fn hosts_addresses_and_denies_decide() {
    for (rules, reason) in [
        (&["hosts = ['other.test']"][..], "NOT_AUTHORIZED"),
        (&["from = ['192.0.2.0/24']"], "NOT_AUTHORIZED"),
        (
            &["", "hosts = ['localhost']\naction = 'deny'"],
            "DENIED_BY_RULE",
        ),
    ] {
        let peer = Peer::start().await;
        let mut builder = before(&peer).site(Site::new("other.test").tcp("upstream = 'raw'"));
        for rule in rules {
            builder = builder.rule(&format!("roles = ['anyone']\n{rule}"));
        }
        let gateway = builder.spawn().await;
        assert_eq!(
            refused(&peer, &gateway, &plain()).await,
            reason,
            "{rules:?}"
        );
    }
}

#[tokio::test]
async fn a_name_that_no_site_has_is_no_host_of_a_rule() {
    let peer = Peer::start().await;
    let gateway = before(&peer)
        .listener("main", "default_site = 'localhost'")
        .rule("roles = ['anyone']\nhosts = ['localhost']")
        .spawn()
        .await;
    for name in [None, Some("unknown.test")] {
        let client = plain().server_name(name, "localhost");
        assert_eq!(refused(&peer, &gateway, &client).await, "NOT_AUTHORIZED");
    }
    connect(&gateway, &plain()).await;
    peer.accept().await;
}

#[tokio::test]
async fn who_the_client_is_decides() {
    let peer = Peer::start().await;
    let gateway = before(&peer)
        .client_cert("accept", client_ca())
        .role("name = 'orders'\ncommon_name = ['orders']")
        .allow("orders")
        .spawn()
        .await;
    let client = |name: &str| plain().certificate(&client_leaf(name));
    assert_eq!(refused(&peer, &gateway, &plain()).await, "NOT_AUTHORIZED");
    assert_eq!(
        refused(&peer, &gateway, &client("billing")).await,
        "NOT_AUTHORIZED"
    );
    let mut stream = connect(&gateway, &client("orders")).await;
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(take(&mut peer.accept().await, 5).await, b"hello");
}

#[tokio::test]
async fn a_protocol_that_the_site_does_not_speak_is_refused() {
    let echo = Echo::start().await.unwrap();
    let peer = Peer::start().await;
    let gateway = mixed(&echo, &peer).spawn().await;
    let refused = RawTls::connect(&Client::new().alpn(&["x"]), gateway.address()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.alert, Some(Alert::NoApplicationProtocol));
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "ALPN_MISMATCH");
}

#[tokio::test]
async fn a_service_that_is_away_is_told_in_the_logs() {
    let peer = Peer::start().await;
    let gateway = before(&peer).allow("anyone").spawn().await;
    drop(peer);
    let mut stream = connect(&gateway, &plain()).await;
    let ended = within("the end", stream.read(&mut [0])).await;
    assert!(ended.is_err(), "{ended:?}");
    gateway.wait_for_refusal("UPSTREAM_CONNECT").await;
    let line = gateway.wait_for_access(|_| true).await;
    assert_eq!(line["rule"], "rule-1");
}

/// One site that serves HTTP, and connections of two protocols.
fn mixed(echo: &Echo, peer: &Peer) -> GatewayBuilder {
    let tcp = format!(
        "tcp = [{{ alpn = ['mqtt', 'amqp'], upstream = 'tcp://{}' }}]",
        peer.address()
    );
    Gateway::builder()
        .upstream(echo)
        .site(Site::new("localhost").line(&tcp))
        .allow("anyone")
}

#[tokio::test]
async fn the_protocol_decides_between_http_and_a_service() {
    let echo = Echo::start().await.unwrap();
    let peer = Peer::start().await;
    let gateway = mixed(&echo, &peer).spawn().await;
    for alpn in [&["http/1.1"][..], &["h2"], &["h2", "http/1.1"], &[]] {
        let answer = Client::new().alpn(alpn).get(&gateway, "/").await.unwrap();
        assert_eq!(answer.status, 200, "{alpn:?}");
    }
    assert!(peer.is_untouched().await);
    for alpn in [&["mqtt"][..], &["amqp"], &["h2", "mqtt"]] {
        let mut stream = connect(&gateway, &Client::new().alpn(alpn)).await;
        let chosen = stream.get_ref().1.alpn_protocol().unwrap().to_vec();
        assert_eq!(
            Some(&&*chosen),
            alpn.last().map(|name| name.as_bytes()).as_ref()
        );
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let seen = take(&mut peer.accept().await, 18).await;
        assert_eq!(seen, b"GET / HTTP/1.1\r\n\r\n", "as it came");
    }
}

#[tokio::test]
async fn either_side_may_end_its_own_direction_first() {
    let peer = Peer::start().await;
    let gateway = before(&peer).allow("anyone").spawn().await;
    for client in [plain().tls13(), plain().tls12()] {
        let mut stream = connect(&gateway, &client).await;
        stream.write_all(b"the question").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut service = peer.accept().await;
        assert_eq!(take_all(&mut service).await, b"the question");
        service.write_all(b"the answer").await.unwrap();
        drop(service);
        let mut answer = Vec::new();
        let read = within("the answer", stream.read_to_end(&mut answer)).await;
        read.expect("a close_notify");
        assert_eq!(answer, b"the answer");
    }
    let mut stream = connect(&gateway, &plain().tls13()).await;
    let mut service = peer.accept().await;
    service.write_all(b"a greeting").await.unwrap();
    service.shutdown().await.unwrap();
    let mut greeting = Vec::new();
    let read = within("the greeting", stream.read_to_end(&mut greeting)).await;
    read.expect("a close_notify");
    assert_eq!(greeting, b"a greeting");
    stream.write_all(b"the last word").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(take_all(&mut service).await, b"the last word");
    let line = gateway
        .wait_for_access(|line| line["client.bytes"] == 13)
        .await;
    assert_eq!(
        (&line["server.bytes"], &line["complete"]),
        (&10.into(), &true.into())
    );
    assert_eq!(
        (&line["network.transport"], &line["upstream"]),
        (&"tcp".into(), &"raw".into())
    );
    assert_eq!(line["server.address"], "localhost");
    let carried = gateway
        .metric("portcullis_tcp_bytes_total{from=\"client\"}")
        .await;
    assert_eq!(carried, 37.0);
    assert_eq!(gateway.metric("portcullis_tcp_connections_open").await, 0.0);
    assert_eq!(
        gateway.metric("portcullis_tcp_connections_total").await,
        3.0
    );
}

#[tokio::test]
async fn many_bytes_come_back_as_they_went() {
    let address = Peer::start().await.echo();
    let gateway = Gateway::builder()
        .tcp(address, "")
        .allow("anyone")
        .spawn()
        .await;
    let bytes: Vec<u8> = (0..8_u32 << 20)
        .map(|at| (at % 251).to_le_bytes()[0])
        .collect();
    let (mut read, mut write) = tokio::io::split(connect(&gateway, &plain()).await);
    let sent = bytes.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    within("all of it", read.read_to_end(&mut back))
        .await
        .unwrap();
    sending.await.unwrap();
    assert!(back == bytes);
}

#[tokio::test]
async fn connections_are_shared_and_none_is_lost_where_one_service_is_away() {
    let (here, there, away) = (
        Peer::start().await,
        Peer::start().await,
        Peer::start().await,
    );
    let urls = [&here, &there, &away].map(|peer| format!("'tcp://{}'", peer.address()));
    drop(away);
    let upstream = format!(
        "[upstream.raw]\nprotocol = 'tcp'\nendpoints = [{}]",
        urls.join(", ")
    );
    let gateway = Gateway::builder()
        .site(Site::new("localhost").tcp("upstream = 'raw'"))
        .extra_toml(&upstream)
        .allow("anyone")
        .spawn()
        .await;
    let mut open = Vec::new();
    let mut counts = [0, 0];
    for _ in 0..12 {
        open.push(connect(&gateway, &plain()).await);
        let accepted = async {
            tokio::select! {
                tcp = here.accept() => (0, tcp),
                tcp = there.accept() => (1, tcp),
            }
        };
        let (at, _tcp) = within("a connection to either", accepted).await;
        counts[at] += 1;
    }
    assert!(counts.iter().all(|count| *count >= 3), "{counts:?}");
}

#[tokio::test]
async fn a_service_may_want_tls_and_the_gateways_own_certificate() {
    let echo = Echo::start().await.unwrap();
    let inner = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream(&echo)
        .role("name = 'edge'\ncommon_name = 'edge'")
        .allow("edge")
        .spawn()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let own = client_leaf("edge").write(folder.path(), "edge").unwrap();
    let root = folder.path().join("root.pem");
    write_file(&root, server_ca().root_pem()).unwrap();
    let tls = |certificate: &str| {
        let trust = root.display();
        format!("tls = {{ trust = '{trust}', server_name = 'localhost'{certificate} }}")
    };
    let (chain, key) = (own.chain.display(), own.key.display());
    let shown = format!(", certificate = {{ chain = '{chain}', key = 'file:{key}' }}");
    for (certificate, status) in [("", None), (shown.as_str(), Some(200))] {
        let gateway = Gateway::builder()
            .software_key(&own.key)
            .tcp(inner.address(), &tls(certificate))
            .allow("anyone")
            .spawn()
            .await;
        let answer = Client::new().alpn(&[]).get(&gateway, "/").await;
        assert_eq!(answer.ok().map(|answer| answer.status.as_u16()), status);
    }
}
