//! The plain functions every request or connection passes: head, path, policy, identity, fields rewritten for the other side.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Request, Response};
use portcullis::http1::{HeadLimits, parse_request};
use portcullis::identity::{ClientIdentity, Identity};
use portcullis::path::CanonicalPath;
use portcullis::policy::{Policy, RequestFacts};
use portcullis::proxy::benching::Rewriter;
use portcullis_bench::pki;
use portcullis_config::{Config, Forwarding, Xfcc};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 32 * 1024,
    headers: 100,
    target: 8 * 1024,
};
const HEAD: &[u8] = b"GET /orders/4711?expand=lines HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: curl/8.0\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nCookie: a=b; c=d\r\n\
    Authorization: Bearer abcdefghijklmnop\r\nX-Request-Id: 1234\r\n\r\n";

fn head(criterion: &mut Criterion) {
    criterion.bench_function("http1/parse_request", |bencher| {
        let mut buffer = BytesMut::new();
        bencher.iter(|| {
            buffer.extend_from_slice(HEAD);
            black_box(parse_request(&mut buffer, &LIMITS))
        });
    });
}

fn path(criterion: &mut Criterion) {
    criterion.bench_function("path/canonical", |bencher| {
        bencher.iter(|| black_box(CanonicalPath::parse(black_box("/orders/4711/lines")).is_ok()));
    });
}

/// What ten thousand rules differ in.
#[derive(Clone, Copy)]
enum Differ {
    Paths,
    Hosts,
    Roles,
    Methods,
    /// In nothing the index knows: every rule is asked.
    Addresses,
}

impl Differ {
    fn word(self) -> &'static str {
        match self {
            Differ::Paths => "paths",
            Differ::Hosts => "hosts",
            Differ::Roles => "roles",
            Differ::Methods => "methods",
            Differ::Addresses => "addresses",
        }
    }

    /// The lines of a rule, and of the role it needs, that a request of the bench does not match.
    fn other(self, index: usize) -> String {
        match self {
            Differ::Paths => {
                format!("[[rule]]\nroles = [\"orders\"]\npaths = [\"/other/{index}/**\"]\n")
            }
            Differ::Hosts => {
                format!("[[rule]]\nroles = [\"orders\"]\nhosts = [\"h{index}.example.com\"]\n")
            }
            Differ::Methods => format!(
                "[[rule]]\nroles = [\"orders\"]\npaths = [\"/orders/**\"]\nmethods = [\"{}\", \"M{index}\"]\n",
                ["PUT", "POST", "DELETE"][index % 3]
            ),
            Differ::Addresses => format!(
                "[[rule]]\nroles = [\"orders\"]\npaths = [\"/orders/**\"]\nfrom = [\"10.0.{}.{}\"]\n",
                index / 256,
                index % 256
            ),
            Differ::Roles => format!(
                "[[role]]\nname = \"r{index}\"\nspiffe = [\"spiffe://d/r{index}\"]\n\
                 [[rule]]\nroles = [\"r{index}\"]\npaths = [\"/orders/**\"]\n"
            ),
        }
    }
}

/// The rule that allows stands last.
fn policy_of(differ: Differ, rules: usize) -> Policy {
    let mut text = String::from(
        "[keys]\nsoftware = [\"file:k\"]\n[[listener]]\nbind = \"127.0.0.1:1\"\n\
         [[site]]\nhosts = [\"*.example.com\"]\ncertificate = { chain = \"c\", key = \"file:k\" }\nupstream = \"http://127.0.0.1:2\"\n\
         [[role]]\nname = \"orders\"\nspiffe = [\"spiffe://d/orders\"]\n",
    );
    text.extend((1..rules).map(|index| differ.other(index)));
    text.push_str(
        "[[rule]]\nroles = [\"orders\"]\nhosts = [\"api.example.com\"]\nmethods = [\"GET\"]\npaths = [\"/orders/**\"]\n",
    );
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let file = folder.path().join("bench.toml");
    std::fs::write(&file, text).expect("the configuration is written");
    let (config, _) = Config::load(&file).expect("the configuration is right");
    Policy::new(&config)
}

fn orders() -> ClientIdentity {
    ClientIdentity::Verified(Arc::new(Identity {
        spiffe: Some("spiffe://d/orders".to_owned()),
        uris: vec!["spiffe://d/orders".to_owned()],
        ..Identity::default()
    }))
}

fn policy(criterion: &mut Criterion) {
    let client = orders();
    let path = CanonicalPath::parse("/orders/4711").expect("a plain path");
    let headers = HeaderMap::new();
    let facts = RequestFacts {
        host: "api.example.com",
        method: "GET",
        path: &path,
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        headers: &headers,
    };
    let mut group = criterion.benchmark_group("policy");
    for differ in [
        Differ::Paths,
        Differ::Hosts,
        Differ::Roles,
        Differ::Methods,
        Differ::Addresses,
    ] {
        for rules in [1, 100, 10_000] {
            let policy = policy_of(differ, rules);
            let roles = policy.roles_of(&client);
            assert!(policy.decide(&roles, &facts).is_ok());
            let name = format!("decide/{}", differ.word());
            group.bench_function(BenchmarkId::new(name, rules), |bencher| {
                bencher.iter(|| black_box(policy.decide(&roles, black_box(&facts)).is_ok()));
            });
            if matches!(differ, Differ::Roles) {
                group.bench_function(BenchmarkId::new("roles_of", rules), |bencher| {
                    bencher.iter(|| black_box(policy.roles_of(&client)));
                });
            }
        }
    }
    group.finish();
}

fn identity(criterion: &mut Criterion) {
    let ca = pki::Ca::root("clients").expect("a CA");
    let client = pki::Client::new("orders")
        .uri("spiffe://test.portcullis/orders")
        .expect("a URI");
    let leaf = client.issued_by(&ca).expect("a certificate");
    let der = leaf.chain_der().expect("a chain").remove(0);
    criterion.bench_function("identity/read", |bencher| {
        bencher.iter(|| black_box(Identity::read(black_box(&der)).is_ok()));
    });
}

/// The fields of a browser's request, and of an answer, with the ones that end at the gateway.
fn rewriting(criterion: &mut Criterion) {
    let rewriter = Rewriter::new(Forwarding {
        trusted_hops: Vec::new(),
        xfcc: Xfcc::default(),
        jwt: None,
        x_forwarded: true,
        forwarded: true,
    });
    let request = || {
        let request = Request::builder()
            .uri("/orders/4711?expand=lines")
            .header("host", "api.example.com")
            .header("user-agent", "curl/8.0")
            .header("accept", "*/*")
            .header("accept-encoding", "gzip, br")
            .header("cookie", "a=b; c=d")
            .header("authorization", "Bearer abcdefghijklmnop")
            .header("connection", "keep-alive")
            .header("x-forwarded-for", "10.0.0.1");
        request.body(()).expect("a request").into_parts().0
    };
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(rewriter.request(&mut request(), ip));
    criterion.bench_function("headers/request", |bencher| {
        bencher.iter_batched(
            request,
            |mut parts| {
                rewriter.request(&mut parts, ip);
                parts
            },
            BatchSize::SmallInput,
        );
    });
    let response = || {
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("content-length", "1024")
            .header("connection", "keep-alive")
            .header("server", "origin");
        response
            .body(())
            .expect("a response")
            .into_parts()
            .0
            .headers
    };
    criterion.bench_function("headers/response", |bencher| {
        bencher.iter_batched(
            response,
            |mut headers| {
                rewriter.response(&mut headers);
                headers
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, head, path, policy, identity, rewriting);
criterion_main!(benches);
