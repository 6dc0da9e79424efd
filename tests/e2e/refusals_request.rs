//! Requests that are refused: a bare status for the client, one reason for the operator, in the log and in the
//! metric, and nothing for the upstream.

use http::{Method, Request};
use http_body_util::Full;
use portcullis_bench::echo::Echo;
use serde_json::Value;

use crate::harness::{Client, Gateway, RawTls, Site, client_ca, client_leaf, status_of, until};

/// Heads that cannot be read as one request; no line of the access log could tell of them. `H` stands for the Host line of the site.
const UNREADABLE: [&str; 6] = [
    "GET /open HTTP/1.1\r\n\r\n",
    "GET /open HTTP/1.1\r\nHost: a\r\nH\r\n\r\n",
    "GET /open HTTP/1.1\r\nH\r\nX : y\r\n\r\n",
    "GET /open HTTP/1.1\r\nH\r\nA: b\r\n folded\r\n\r\n",
    "POST /open HTTP/1.1\r\nH\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /open HTTP/1.1\r\nH\r\nContent-Length: +1\r\n\r\nx",
];

/// Requests, and what they come to.
const REFUSED: [(&str, u16, &str); 8] = [
    (
        "GET /open/../x HTTP/1.1\r\nH\r\n\r\n",
        400,
        "PATH_AMBIGUOUS",
    ),
    (
        "GET /open/%2e%2e/x HTTP/1.1\r\nH\r\n\r\n",
        400,
        "PATH_AMBIGUOUS",
    ),
    (
        "GET /open HTTP/1.1\r\nHost: other.test\r\n\r\n",
        421,
        "MISDIRECTED",
    ),
    ("GET /closed HTTP/1.1\r\nH\r\n\r\n", 403, "NOT_AUTHORIZED"),
    (
        "GET /open/denied HTTP/1.1\r\nH\r\n\r\n",
        403,
        "DENIED_BY_RULE",
    ),
    ("GET /open/nowhere HTTP/1.1\r\nH\r\n\r\n", 404, "NO_ROUTE"),
    (
        "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n",
        501,
        "METHOD_NOT_SUPPORTED",
    ),
    (
        "POST /open/routed HTTP/1.1\r\nH\r\nContent-Length: 101\r\n\r\n",
        413,
        "BODY_TOO_LARGE",
    ),
];

async fn gateway(echo: &Echo) -> Gateway {
    Gateway::builder()
        .client_cert("accept", client_ca())
        .site(Site::new("localhost").route("/open/routed", "echo"))
        .site(Site::new("other.test"))
        .rule("roles = ['anyone']\npaths = ['/open/**']")
        .rule("roles = ['anyone']\npaths = ['/open/denied']\naction = 'deny'")
        .extra_toml("[limits]\nheader_bytes = '2KiB'\nheaders = 10\ntarget = '64B'\nbody = '100B'")
        .extra_toml("[timeouts]\nheader = '200ms'")
        .upstream(echo)
        .spawn()
        .await
}

/// Sends bytes as a known client and reads the head of the answer.
async fn exchange(gateway: &Gateway, bytes: &str) -> (u16, String) {
    let client = Client::new().certificate(&client_leaf("orders"));
    let mut raw = RawTls::connect(&client, gateway.address()).await.unwrap();
    raw.write(bytes).await.unwrap();
    (raw.port, raw.read_until("\r\n\r\n").await.unwrap())
}

/// Asserts status and reason; the client's port.
async fn assert_refused(gateway: &Gateway, bytes: &str, status: u16, reason: &str) -> u16 {
    let bytes = bytes.replace("\r\nH\r\n", "\r\nHost: localhost\r\n");
    let (port, head) = exchange(gateway, &bytes).await;
    assert_eq!(status_of(&head), Some(status), "{bytes:?}: {head}");
    let told = head.to_lowercase();
    for secret in ["portcullis", "rule", "server:"] {
        assert!(!told.contains(secret), "{bytes:?}: {head}");
    }
    let line = gateway.refusal_of(port).await;
    assert_eq!(line["reason"], reason, "{bytes:?}: {line}");
    assert_eq!(line["tls.client.subject"], "CN=orders");
    port
}

#[tokio::test]
async fn each_refusal_has_its_status_and_its_reason() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    for (bytes, status, reason) in REFUSED {
        let port = assert_refused(&gateway, bytes, status, reason).await;
        let ours = |line: &Value| line["client.port"] == port;
        let line = gateway.wait_for_access(ours).await;
        assert_eq!(line["reason"], reason);
        assert_eq!(line["http.response.status_code"], status);
    }
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_as_a_request_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    for bytes in UNREADABLE {
        assert_refused(&gateway, bytes, 400, "REQUEST_MALFORMED").await;
    }
    let version = "GET /open HTTP/9.9\r\nH\r\n\r\n";
    assert_refused(&gateway, version, 505, "REQUEST_MALFORMED").await;
    let expectation = "POST /open HTTP/1.1\r\nH\r\nExpect: more\r\n\r\n";
    assert_refused(&gateway, expectation, 417, "EXPECTATION_NOT_SUPPORTED").await;
    let long = "x".repeat(64);
    let fields = "X: y\r\n".repeat(10);
    let large = "x".repeat(2048);
    for (head, status) in [
        (format!("GET /{long} HTTP/1.1\r\nH\r\n\r\n"), 414),
        (format!("GET /open HTTP/1.1\r\nH\r\n{fields}\r\n"), 431),
        (
            format!("GET /open HTTP/1.1\r\nH\r\nX: {large}\r\n\r\n"),
            431,
        ),
    ] {
        assert_refused(&gateway, &head, status, "REQUEST_TOO_LARGE").await;
    }
    assert_refused(&gateway, "GET /open HTTP/1.1\r\nHo", 408, "REQUEST_TIMEOUT").await;
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn each_refusal_has_the_same_reason_over_http2() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    let client = Client::new().h2().certificate(&client_leaf("orders"));
    for (method, target, size, status, reason) in [
        (Method::GET, "/open/..", 0, 400, "PATH_AMBIGUOUS"),
        (
            Method::GET,
            "https://other.test/open",
            0,
            421,
            "MISDIRECTED",
        ),
        (Method::GET, "/closed", 0, 403, "NOT_AUTHORIZED"),
        (Method::GET, "/open/denied", 0, 403, "DENIED_BY_RULE"),
        (Method::GET, "/open/nowhere", 0, 404, "NO_ROUTE"),
        (Method::POST, "/open/routed", 101, 413, "BODY_TOO_LARGE"),
    ] {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        let body = Full::from(vec![b'x'; size]);
        let request = Request::builder().method(method).uri(target);
        let answer = connection.send(request.body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.body.is_empty());
        let line = gateway.refusal_of(answer.port).await;
        assert_eq!(line["reason"], reason, "{target}");
        assert_eq!(line["tls.client.subject"], "CN=orders");
    }
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    for _ in 0..3 {
        exchange(&gateway, "GET /closed HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    }
    until("three refusals are counted", async || {
        let name = "portcullis_refusals_total{reason=\"NOT_AUTHORIZED\"}";
        (gateway.metric(name).await == 3.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn clients_without_a_certificate_stop_when_a_reload_requires_one() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .client_cert("accept", client_ca())
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let known = Client::new().certificate(&client_leaf("orders"));
    let mut known = known.connect(gateway.address()).await.unwrap();
    for client in [Client::new(), Client::new().h2()] {
        gateway.rewrite_config(|toml| toml.replace("'require'", "'accept'"));
        gateway.reload().await.unwrap();
        let mut stranger = client.connect(gateway.address()).await.unwrap();
        assert_eq!(stranger.get("/").await.unwrap().status, 200);
        gateway.rewrite_config(|toml| toml.replace("'accept'", "'require'"));
        gateway.reload().await.unwrap();
        let answer = stranger.get("/").await.unwrap();
        assert_eq!(answer.status, 403);
        assert_eq!(
            gateway.refusal_of(answer.port).await["reason"],
            "CLIENT_CERT_REQUIRED"
        );
        assert_eq!(known.get("/").await.unwrap().status, 200);
    }
    assert_eq!(echo.record().request_count(), 4);
}
