//! The plain functions every request passes: head, path, policy, route.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::http1::{HeadLimits, parse_request};
use portcullis::identity::{ClientIdentity, Identity};
use portcullis::path::CanonicalPath;
use portcullis::policy::Policy;
use portcullis_config::Config;

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

/// The rule that allows stands last, so that every rule is looked at.
fn policy_of(rules: usize) -> Policy {
    let mut text = String::from(
        "[keys]\nsoftware = [\"file:k\"]\n[[listener]]\nbind = \"127.0.0.1:1\"\n\
         [[site]]\nhosts = [\"a\"]\ncertificate = { chain = \"c\", key = \"file:k\" }\nupstream = \"http://127.0.0.1:2\"\n\
         [[role]]\nname = \"orders\"\nspiffe = [\"spiffe://d/orders\"]\n",
    );
    for index in 1..rules {
        let _ = writeln!(
            text,
            "[[rule]]\nroles = [\"orders\"]\npaths = [\"/other/{index}/**\"]"
        );
    }
    text.push_str("[[rule]]\nroles = [\"orders\"]\npaths = [\"/orders/**\"]\n");
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let file = folder.path().join("bench.toml");
    std::fs::write(&file, text).expect("the configuration is written");
    let (config, _) = Config::load(&file).expect("the configuration is right");
    Policy::new(&config)
}

fn policy(criterion: &mut Criterion) {
    let client = ClientIdentity::Verified(Arc::new(Identity {
        spiffe: Some("spiffe://d/orders".to_owned()),
        uris: vec!["spiffe://d/orders".to_owned()],
        ..Identity::default()
    }));
    let mut group = criterion.benchmark_group("policy/decide");
    for rules in [1, 100, 1_000] {
        let policy = policy_of(rules);
        let roles = policy.roles_of(&client);
        let path = CanonicalPath::parse("/orders/4711").expect("a plain path");
        group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
            bencher.iter(|| black_box(policy.decide(&roles, "a", "GET", &path).is_ok()));
        });
    }
    group.finish();
}

criterion_group!(benches, head, path, policy);
criterion_main!(benches);
