//! What is sent again and what never is: the upstreams write down what they were sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::{Backend, Client, Connection, Gateway, Mood};

/// A gateway that leaves nobody out, with more keys of the upstream.
async fn gateway_of(endpoints: &[&Backend], toml: &str) -> Gateway {
    let urls: Vec<String> = endpoints.iter().map(|it| it.url()).collect();
    let gateway = Gateway::builder();
    let gateway = gateway.extra_toml(&format!(
        "[upstream.echo]\nendpoints = {urls:?}\nejection = {{ failures = 0 }}\n{toml}"
    ));
    gateway.allow("anyone").spawn().await
}

async fn pair() -> (Backend, Backend) {
    (Backend::start("a").await, Backend::start("b").await)
}

async fn ask(client: &mut Connection, method: &Method, path: &str, body: &'static str) -> u16 {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes())));
    let answer = client.send(request.unwrap()).await.unwrap();
    answer.status.as_u16()
}

/// How often each backend saw each of these.
fn times(backends: &[&Backend], line: &str) -> usize {
    let seen = backends.iter().flat_map(|it| it.seen());
    seen.filter(|it| it == line).count()
}

#[tokio::test]
async fn what_is_not_safe_is_sent_once_whatever_becomes_of_it() {
    let toml = "response_timeout = '400ms'\n\
                retries = { attempts = 5, budget = 1, per_try = '100ms', on = [502, 503, 504] }\n";
    for (mood, status) in [
        (Mood::Resetting, 502),
        (Mood::Babbling, 502),
        (Mood::Hung, 504),
        (Mood::Well(503), 503),
    ] {
        let (a, b) = pair().await;
        a.be(mood);
        b.be(mood);
        let gateway = gateway_of(&[&a, &b], toml).await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        for (at, (method, body)) in [
            (Method::POST, ""),
            (Method::PATCH, ""),
            (Method::POST, "pay"),
            // Idempotent, but what was streamed is gone.
            (Method::PUT, "pay"),
            (Method::DELETE, "pay"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = format!("/{at}");
            assert_eq!(
                ask(&mut client, &method, &path, body).await,
                status,
                "{mood:?} {method}"
            );
            let line = format!("{method} {path}");
            assert_eq!(times(&[&a, &b], &line), 1, "{mood:?} {line}");
        }
        let retries = gateway.metric("portcullis_upstream_retries_total").await;
        assert_eq!(retries, 0.0, "{mood:?}");
    }
}

#[tokio::test]
async fn what_is_safe_is_answered_by_another_endpoint() {
    let toml = "response_timeout = '5s'\n\
                retries = { per_try = '200ms', on = [503] }\n";
    for mood in [Mood::Resetting, Mood::Hung, Mood::Well(503)] {
        let (a, b) = pair().await;
        b.be(mood);
        let gateway = gateway_of(&[&a, &b], toml).await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        for method in [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::PUT,
            Method::DELETE,
            Method::GET,
        ] {
            assert_eq!(
                ask(&mut client, &method, "/", "").await,
                200,
                "{mood:?} {method}"
            );
        }
        assert!(b.requests() >= 3, "{mood:?}");
        let retries = gateway.metric("portcullis_upstream_retries_total").await;
        assert_eq!(retries, b.requests() as f64, "{mood:?}");
    }
}

#[tokio::test]
async fn without_a_limit_for_a_try_the_response_timeout_holds_for_all_tries() {
    let (a, b) = pair().await;
    b.be(Mood::Hung);
    let with = |keys: &str| format!("response_timeout = '600ms'\nretries = {{ {keys} }}\n");
    let gateway = gateway_of(&[&b, &a], &with("attempts = 5")).await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(ask(&mut client, &Method::GET, "/", "").await, 504);
    assert_eq!((a.requests(), b.requests()), (0, 1));
    a.be(Mood::Hung);
    let toml = with("attempts = 5, per_try = '250ms'");
    let all_hang = gateway_of(&[&b, &a], &toml).await;
    let mut client = Client::new().connect(all_hang.address()).await.unwrap();
    let start = Instant::now();
    assert_eq!(ask(&mut client, &Method::GET, "/", "").await, 504);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(600), "{took:?}");
    // Two whole tries and what was left for a third.
    assert_eq!(a.requests() + b.requests(), 4);
}

#[tokio::test]
async fn an_answer_that_counts_as_none_is_given_where_nobody_else_is() {
    let (a, b) = pair().await;
    a.be(Mood::Well(503));
    let alone = gateway_of(&[&a], "retries = { on = [503] }\n").await;
    let mut client = Client::new().connect(alone.address()).await.unwrap();
    assert_eq!(ask(&mut client, &Method::GET, "/", "").await, 503);
    assert_eq!(a.requests(), 1);
    b.be(Mood::Well(503));
    let both = gateway_of(&[&a, &b], "retries = { attempts = 5, on = [503] }\n").await;
    let mut client = Client::new().connect(both.address()).await.unwrap();
    assert_eq!(ask(&mut client, &Method::GET, "/", "").await, 503);
    assert_eq!((a.requests(), b.requests()), (2, 1));
}

#[tokio::test]
async fn the_only_endpoint_is_asked_again() {
    let (a, _) = pair().await;
    a.be(Mood::ResettingOnce);
    let gateway = gateway_of(&[&a], "").await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(ask(&mut client, &Method::GET, "/", "").await, 200);
    assert_eq!(a.requests(), 2);
    a.be(Mood::Resetting);
    assert_eq!(ask(&mut client, &Method::GET, "/", "").await, 502);
}

#[tokio::test]
async fn who_wants_no_retries_gets_none_and_a_budget_is_kept_to() {
    let (a, b) = pair().await;
    b.be(Mood::Resetting);
    for (keys, over) in [("attempts = 0", 0.0), ("budget = 0", 5.0)] {
        let gateway = gateway_of(&[&a, &b], &format!("retries = {{ {keys} }}\n")).await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        for at in 0..10 {
            let status = ask(&mut client, &Method::GET, "/", "").await;
            assert_eq!(status, [200, 502][at % 2], "{keys}");
        }
        let counted = gateway
            .metric("portcullis_upstream_retries_over_budget_total")
            .await;
        assert_eq!(counted, over, "{keys}");
    }
    let gateway = gateway_of(&[&a, &b], "retries = { budget = 0.1 }\n").await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    let mut lost = 0;
    for _ in 0..400 {
        lost += usize::from(ask(&mut client, &Method::GET, "/", "").await != 200);
    }
    // Every second one needed it: the stock of 100, and then a tenth of the requests.
    assert!((55..=85).contains(&lost), "{lost}");
}

/// What happens to two of four while everybody asks.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Kill,
    Flap,
    Mood(Mood),
}

impl Trouble {
    async fn befall(self, backend: &mut Backend) {
        match self {
            Self::Mood(mood) => backend.be(mood),
            Self::Kill => backend.kill().await,
            Self::Flap => {
                backend.kill().await;
                sleep(Duration::from_millis(60)).await;
                backend.revive().await;
            }
        }
    }
}

/// GET and POST in turn until it is over; how often.
async fn ask_all_the_time(address: SocketAddr, number: usize, done: Arc<AtomicBool>) -> usize {
    let mut client = Client::new().connect(address).await.unwrap();
    let mut asked = 0;
    while !done.load(Ordering::Relaxed) {
        let path = format!("/{number}/{asked}");
        let got = ask(&mut client, &Method::GET, &path, "").await;
        assert_eq!(got, 200, "GET {asked} of {number}");
        let posted = ask(&mut client, &Method::POST, &path, "x").await;
        assert!([200, 502, 504].contains(&posted), "{posted}");
        asked += 1;
    }
    asked
}

fn assert_each_post_was_sent_once(backends: &[&Backend]) {
    let mut posts: Vec<String> = backends.iter().flat_map(|it| it.seen()).collect();
    posts.retain(|line| line.starts_with("POST"));
    posts.sort_unstable();
    let sent = posts.len();
    posts.dedup();
    assert_eq!(sent, posts.len(), "a POST was sent twice");
}

#[tokio::test]
async fn half_of_the_endpoints_fail_and_no_safe_request_is_lost() {
    let slow = Mood::Slow(Duration::from_millis(1500));
    for trouble in [
        Trouble::Kill,
        Trouble::Flap,
        Trouble::Mood(Mood::Resetting),
        Trouble::Mood(Mood::Hung),
        Trouble::Mood(slow),
    ] {
        let (a, b) = pair().await;
        let (mut c, mut d) = pair().await;
        let urls = [a.url(), b.url(), c.url(), d.url()];
        let gateway = Gateway::builder().extra_toml(&format!(
            "[upstream.echo]\nendpoints = {urls:?}\nresponse_timeout = '10s'\n\
             retries = {{ attempts = 3, per_try = '300ms' }}\nejection = {{ for = '500ms' }}\n"
        ));
        let gateway = gateway.allow("anyone").spawn().await;
        let done = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..6 {
            let (address, done) = (gateway.address(), Arc::clone(&done));
            clients.spawn(ask_all_the_time(address, number, done));
        }
        // Time for requests is what is tested here.
        for _ in 0..4 {
            sleep(Duration::from_millis(250)).await;
            for it in [&mut c, &mut d] {
                trouble.befall(it).await;
            }
        }
        done.store(true, Ordering::Relaxed);
        let mut asked = 0;
        while let Some(count) = clients.join_next().await {
            asked += count.unwrap_or_else(|lost| panic!("{trouble:?}: {lost}"));
        }
        assert!(asked > 30, "{trouble:?}: {asked}");
        assert_each_post_was_sent_once(&[&a, &b, &c, &d]);
    }
}

/// An upstream over HTTP/2 that resets every stream, or none.
struct Resetting {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

async fn h2_upstream(resets: bool) -> Resetting {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let heard = Arc::clone(&heard);
            let answer = service_fn(move |request: Request<Incoming>| {
                let line = format!("{} {}", request.method(), request.uri().path());
                heard.lock().unwrap().push(line);
                async move {
                    match resets {
                        true => Err(std::io::Error::other("reset")),
                        false => Ok(Response::new(Full::new(Bytes::from_static(b"ok")))),
                    }
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), answer));
        }
    });
    Resetting { url, seen }
}

#[tokio::test]
async fn over_http2_too_what_is_safe_is_sent_again_and_what_is_not_is_not() {
    let (a, b) = (h2_upstream(false).await, h2_upstream(true).await);
    let gateway = Gateway::builder().extra_toml(&format!(
        "[upstream.echo]\nendpoints = ['{}', '{}']\nprotocol = 'h2'\nejection = {{ failures = 0 }}\n",
        a.url, b.url
    ));
    let gateway = gateway.allow("anyone").spawn().await;
    let client = Client::new().h2();
    let mut client = client.connect(gateway.address()).await.unwrap();
    for at in 0..6 {
        let path = format!("/get/{at}");
        assert_eq!(ask(&mut client, &Method::GET, &path, "").await, 200);
    }
    let mut statuses = Vec::new();
    for at in 0..6 {
        let path = format!("/post/{at}");
        statuses.push(ask(&mut client, &Method::POST, &path, "x").await);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502]);
    let seen = [
        a.seen.lock().unwrap().clone(),
        b.seen.lock().unwrap().clone(),
    ]
    .concat();
    for at in 0..6 {
        let posts = seen.iter().filter(|it| **it == format!("POST /post/{at}"));
        assert_eq!(posts.count(), 1, "{seen:?}");
    }
    let gets = seen.iter().filter(|it| it.starts_with("GET"));
    assert!(gets.count() >= 8, "{seen:?}");
}
