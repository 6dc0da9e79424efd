//! Finding things by name: the site of a server name and the route of a path, among one and among ten thousand.
//!
//! What is looked for is the last one written, and one that is not there.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::path::CanonicalPath;
use portcullis::route::Routes;
use portcullis::snapshot::{Rules, Standing};
use portcullis_config::{Config, Route};

const ROUTES: [usize; 3] = [1, 100, 10_000];
const NAMES: [usize; 3] = [1, 100, 10_000];

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in ROUTES {
        let route = |index: usize| Route {
            prefix: format!("/service{index:05}/v1"),
            upstream: index,
            client_cert: None,
            early_data: false,
            rate_limits: Vec::new(),
            span: 0..0,
        };
        let routes = Routes::new((0..count).map(|index| (route(index), 0)).collect());
        let last = format!("/service{:05}/v1/orders/4711", count - 1);
        let found = CanonicalPath::parse(&last).expect("a plain path");
        let none = CanonicalPath::parse("/elsewhere/v1/orders").expect("a plain path");
        let upstream = routes.find(&found).map(|found| found.upstream);
        assert_eq!(upstream, Some(count - 1));
        assert_eq!(routes.find(&none), None);
        group.bench_function(BenchmarkId::new("last", count), |bencher| {
            bencher.iter(|| black_box(routes.find(black_box(&found))));
        });
        group.bench_function(BenchmarkId::new("none", count), |bencher| {
            bencher.iter(|| black_box(routes.find(black_box(&none))));
        });
    }
    group.finish();
}

/// So many sites with a name of their own, and one of `*.wild.example.com`.
fn rules_of(names: usize) -> Rules {
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let mut text = format!(
        "state_dir = {:?}\n[keys]\nsoftware = ['file:k']\n[[listener]]\nbind = '127.0.0.1:0'\n",
        folder.path()
    );
    let hosts = (0..names).map(|index| format!("site{index:05}.example.com"));
    for host in hosts.chain(["*.wild.example.com".to_owned()]) {
        // A String takes everything.
        let _ = write!(
            text,
            "[[site]]\nhosts = ['{host}']\ncertificate = {{ chain = 'c', key = 'file:k' }}\n\
             upstream = 'http://127.0.0.1:1'\n"
        );
    }
    let file = folder.path().join("bench.toml");
    std::fs::write(&file, &text).expect("the configuration is written");
    let (config, _) = Config::load(&file).expect("the configuration is right");
    let standing = Standing::open(&config).expect("a state folder");
    Rules::build(&config, &standing, None).expect("rules")
}

fn server_names(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("server name");
    for count in NAMES {
        let rules = rules_of(count);
        let names = rules.listeners[0].names.as_ref().expect("a table of names");
        let last = format!("site{:05}.example.com", count - 1);
        assert_eq!(names.site_for_client(Some(&last)), Ok(count - 1));
        assert_eq!(names.site_for_client(Some("a.wild.example.com")), Ok(count));
        assert!(names.site_for_client(Some("other.example.org")).is_err());
        for (kind, name) in [
            ("exact", &*last),
            ("wildcard", "a.wild.example.com"),
            ("unknown", "other.example.org"),
        ] {
            group.bench_function(BenchmarkId::new(kind, count), |bencher| {
                bencher.iter(|| black_box(names.site_for_client(black_box(Some(name)))));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, routes, server_names);
criterion_main!(benches);
