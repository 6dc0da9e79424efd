//! HTTP/2 on both sides, and bodies of every size.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use portcullis_bench::echo::Echo;

use crate::harness::{Client, Gateway, Site};

#[tokio::test]
async fn an_authority_that_disagrees_with_host_is_refused() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut client = Client::new().h2().connect(gateway.address()).await.unwrap();
    let request = Request::builder()
        .uri("https://localhost/")
        .header("host", "other");
    let answer = client
        .send(request.body(Full::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(echo.record().request_count(), 0);
}

#[tokio::test]
async fn bodies_trailers_and_head_pass_over_every_pair_of_protocols() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .site(
            Site::new("localhost")
                .route("/", "one")
                .route("/two", "two"),
        )
        .upstream_at("one", &echo.url(), "")
        .upstream_at("two", &echo.url(), "protocol = 'h2'")
        .allow("anyone")
        .spawn()
        .await;
    for client in [Client::new(), Client::new().h2()] {
        let mut client = client.connect(gateway.address()).await.unwrap();
        for prefix in ["", "/two"] {
            let head = client.request(Method::HEAD, &format!("{prefix}/x")).await;
            let head = head.unwrap();
            assert_eq!(head.status, 200, "{prefix}");
            assert!(
                head.body.is_empty() && head.headers.contains_key("content-length"),
                "{head:?}"
            );
            let body = Bytes::from(vec![7; 300_000]);
            let post = Request::post(format!("{prefix}/echo"))
                .body(Full::new(body.clone()))
                .unwrap();
            let sent = client.send(post).await;
            assert_eq!(sent.unwrap().body, body, "{prefix}");
            let none = client
                .request(Method::GET, &format!("{prefix}/get"))
                .await
                .unwrap();
            assert_eq!(none.json()["method"], "GET");
            let missing = client
                .request(Method::GET, &format!("{prefix}/get?q=%20x"))
                .await
                .unwrap();
            assert_eq!(missing.json()["path"], format!("{prefix}/get?q=%20x"));
        }
    }
    let versions: Vec<_> = echo
        .record()
        .requests()
        .iter()
        .map(|request| request.version)
        .collect();
    assert!(
        versions.contains(&http::Version::HTTP_2) && versions.contains(&http::Version::HTTP_11)
    );
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let said = gateway
        .curl(
            &[
                "--http2",
                "--parallel",
                "--parallel-max",
                "50",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} ",
            ],
            "/slow/[10-59]",
        )
        .await;
    assert_eq!(said.stdout.matches("200 ").count(), 50, "{said:?}");
}
