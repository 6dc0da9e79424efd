//! Endpoints that fail are left out and come back; those that say they are not well get nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::harness::{Backend, Client, Connection, Gateway, Mood, until};

async fn gateway(endpoints: &[&Backend], toml: &str) -> Gateway {
    let urls: Vec<String> = endpoints.iter().map(|it| it.url()).collect();
    let gateway = Gateway::builder();
    let gateway = gateway.extra_toml(&format!("[upstream.echo]\nendpoints = {urls:?}\n{toml}"));
    gateway.allow("anyone").spawn().await
}

async fn up(gateway: &Gateway, backend: &Backend) -> bool {
    let address = backend.address();
    let name =
        format!("portcullis_upstream_endpoint_up{{upstream=\"echo\",endpoint=\"{address}\"}}");
    gateway.metric(&name).await == 1.0
}

async fn ejections(gateway: &Gateway, backend: &Backend, cause: &str) -> f64 {
    let address = backend.address();
    let name = "portcullis_upstream_endpoint_ejections_total";
    let labels = format!("upstream=\"echo\",endpoint=\"{address}\",cause=\"{cause}\"");
    gateway.metric(&format!("{name}{{{labels}}}")).await
}

async fn is_up(gateway: &Gateway, backend: &Backend, wanted: bool) {
    until("the endpoint is up or out", async || {
        (up(gateway, backend).await == wanted).then_some(())
    })
    .await;
}

/// Asks with POST, which is never sent twice.
async fn post(client: &mut Connection) -> u16 {
    let answer = client.send(Request::post("/").body(Full::default()).unwrap());
    answer.await.unwrap().status.as_u16()
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_out_for_its_cause_and_comes_back() {
    for (mood, cause) in [
        (None, "connect"),
        (Some(Mood::Hung), "timeout"),
        (Some(Mood::Resetting), "closed"),
        (Some(Mood::Babbling), "protocol"),
    ] {
        let (a, mut b) = (Backend::start("a").await, Backend::start("b").await);
        let toml = "response_timeout = '200ms'\nejection = { failures = 3, for = '500ms' }\n";
        let gateway = gateway(&[&a, &b], toml).await;
        match mood {
            Some(mood) => b.be(mood),
            None => b.kill().await,
        }
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        let mut failed = 0;
        while up(&gateway, &b).await {
            failed += usize::from(post(&mut client).await != 200);
        }
        // Where no byte was sent another endpoint took it.
        assert_eq!(failed, if cause == "connect" { 0 } else { 3 }, "{cause}");
        assert_eq!(ejections(&gateway, &b, cause).await, 1.0, "{cause}");
        let before = b.requests();
        for _ in 0..3 {
            assert_eq!(post(&mut client).await, 200, "{cause}");
        }
        assert_eq!(b.requests(), before, "{cause}");
        match mood {
            Some(_) => b.be(Mood::Well(200)),
            None => b.revive().await,
        }
        is_up(&gateway, &b, true).await;
        until("it is asked again", async || {
            assert_eq!(post(&mut client).await, 200, "{cause}");
            (b.requests() > before).then_some(())
        })
        .await;
        let log = gateway.process_log();
        for line in ["endpoint ejected", "endpoint is used again"] {
            assert!(log.contains(line), "{cause}: {log}");
        }
    }
}

#[tokio::test]
async fn errors_that_an_endpoint_answers_with_leave_it_in() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    b.be(Mood::Well(503));
    let gateway = gateway(&[&a, &b], "ejection = { failures = 1 }\n").await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(post(&mut client).await);
    }
    assert_eq!(answers, [200, 503, 200, 503, 200, 503]);
    assert!(up(&gateway, &b).await);
}

#[tokio::test]
async fn half_of_them_is_left_out_at_most_and_where_all_are_all_are_used() {
    let backends = [
        Backend::start("a").await,
        Backend::start("b").await,
        Backend::start("c").await,
    ];
    let [a, b, c] = &backends;
    let toml = "ejection = { failures = 1, for = '1h' }\n\
                health = { path = '/well', interval = '50ms', unhealthy = 1, healthy = 1 }\n";
    let gateway = gateway(&[a, b, c], toml).await;
    for it in [a, b] {
        it.be(Mood::Resetting);
    }
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    // Their health checks fail as well.
    is_up(&gateway, a, false).await;
    is_up(&gateway, b, false).await;
    for _ in 0..4 {
        assert_eq!(post(&mut client).await, 200);
    }
    c.be(Mood::Well(503));
    is_up(&gateway, c, false).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..6 {
        seen.insert(post(&mut client).await);
    }
    assert!(seen.contains(&503) && seen.contains(&502), "{seen:?}");
    let log = gateway.process_log();
    assert!(log.contains("every endpoint is left out"), "{log}");
    let ejected = ejections(&gateway, a, "closed").await + ejections(&gateway, b, "closed").await;
    assert_eq!(ejected, 1.0, "of three, one");
}

#[tokio::test]
async fn what_is_not_well_gets_nothing_until_it_is() {
    let (a, mut b) = (Backend::start("a").await, Backend::start("b").await);
    let toml = "health = { path = '/well?deep=1', interval = '50ms', timeout = '40ms' }\n";
    let gateway = gateway(&[&a, &b], toml).await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    let asked = |it: &Backend| {
        it.seen()
            .iter()
            .filter(|it| *it == "GET /well?deep=1")
            .count()
    };
    let posts = |it: &Backend| it.seen().iter().filter(|it| *it == "POST /").count();
    until("both are asked", async || {
        (asked(&a) > 3 && asked(&b) > 3).then_some(())
    })
    .await;
    for mood in [
        Mood::Well(503),
        Mood::Well(302),
        Mood::Hung,
        Mood::Resetting,
    ] {
        b.be(mood);
        is_up(&gateway, &b, false).await;
        let before = posts(&b);
        for _ in 0..4 {
            assert_eq!(post(&mut client).await, 200, "{mood:?}");
        }
        assert_eq!(posts(&b), before, "{mood:?}");
        b.be(Mood::Well(204));
        is_up(&gateway, &b, true).await;
    }
    b.kill().await;
    is_up(&gateway, &b, false).await;
    b.revive().await;
    b.be(Mood::Well(200));
    is_up(&gateway, &b, true).await;
    let log = gateway.process_log();
    for line in [
        "endpoint is not well",
        "status 503",
        "no answer in time",
        "well again",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

#[tokio::test]
async fn a_connection_is_enough_where_that_was_asked_for() {
    let (a, mut b) = (Backend::start("a").await, Backend::start("b").await);
    let toml = "health = { tcp = true, interval = '50ms' }\n";
    let gateway = gateway(&[&a, &b], toml).await;
    b.be(Mood::Hung);
    let before = b.connections();
    until("it is asked", async || {
        (b.connections() > before + 3).then_some(())
    })
    .await;
    assert!(up(&gateway, &b).await);
    b.kill().await;
    is_up(&gateway, &b, false).await;
    b.revive().await;
    is_up(&gateway, &b, true).await;
}

#[tokio::test]
async fn who_is_back_starts_slowly() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let toml = "slow_start = '1h'\nhealth = { path = '/well', interval = '50ms' }\n";
    let gateway = gateway(&[&a, &b], toml).await;
    b.be(Mood::Well(500));
    is_up(&gateway, &b, false).await;
    b.be(Mood::Well(200));
    is_up(&gateway, &b, true).await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    for _ in 0..55 {
        assert_eq!(post(&mut client).await, 200);
    }
    let posts = b.seen().iter().filter(|it| *it == "POST /").count();
    assert_eq!(posts, 5, "a tenth beside a whole");
}

/// What a gRPC service says about its health: the status of the message, or nothing at all.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;
const UNKNOWN_SERVICE: u8 = 255;

/// A service that speaks HTTP/2 with prior knowledge and knows the health service.
async fn grpc_service(status: Arc<AtomicU8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let status = Arc::clone(&status);
            let answer = service_fn(move |request| health(request, status.load(Ordering::Relaxed)));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // The gateway hangs up when it has its answer.
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), answer));
        }
    });
    url
}

type Frames =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn health(request: Request<Incoming>, status: u8) -> Result<Response<Frames>, Infallible> {
    let path = request.uri().path().to_owned();
    let asked = request.into_body().collect().await.unwrap().to_bytes();
    let known = path == "/grpc.health.v1.Health/Check" && asked == b"\0\0\0\0\x05\x0a\x03a.B"[..];
    let (code, frames) = match (known, status) {
        (true, UNKNOWN_SERVICE) | (false, _) => ("5", vec![]),
        (true, status) => {
            let message = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
            ("0", vec![Ok(Frame::data(message))])
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let frames = frames.into_iter().chain([Ok(Frame::trailers(trailers))]);
    let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
    let answer = Response::builder().header("content-type", "application/grpc");
    Ok(answer.body(body).unwrap())
}

#[tokio::test]
async fn a_grpc_service_is_asked_in_its_own_way() {
    let (one, two) = (
        Arc::new(AtomicU8::new(SERVING)),
        Arc::new(AtomicU8::new(SERVING)),
    );
    let urls = [
        grpc_service(Arc::clone(&one)).await,
        grpc_service(Arc::clone(&two)).await,
    ];
    let gateway = Gateway::builder().extra_toml(&format!(
        "[upstream.echo]\nendpoints = {urls:?}\nprotocol = 'h2'\n\
         health = {{ grpc = 'a.B', interval = '50ms', unhealthy = 2 }}\n"
    ));
    let gateway = gateway.allow("anyone").spawn().await;
    let at = urls[1].replace("http://", "");
    let name = format!("portcullis_upstream_endpoint_up{{upstream=\"echo\",endpoint=\"{at}\"}}");
    let is_up = async |wanted: f64| {
        until("the service is up or out", async || {
            (gateway.metric(&name).await == wanted).then_some(())
        })
        .await;
    };
    for status in [NOT_SERVING, 0, UNKNOWN_SERVICE] {
        two.store(status, Ordering::Relaxed);
        is_up(0.0).await;
        two.store(SERVING, Ordering::Relaxed);
        is_up(1.0).await;
    }
    assert!(gateway.process_log().contains("not serving"));
}
