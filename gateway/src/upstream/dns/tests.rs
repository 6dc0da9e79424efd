//! What becomes of the endpoints when a name has other addresses.

use portcullis_config::{Endpoint as Address, Located, Scheme, Upstream};

use super::super::ejection::Cause;
use super::*;

/// Two names with a literal between them.
fn target(failures: u32) -> Arc<Target> {
    let address = |host: &str| Located {
        value: Address {
            host: host.to_owned(),
            port: 80,
            weight: 1,
            scheme: Scheme::Http,
        },
        span: 0..0,
    };
    let addresses = ["a.test", "10.9.9.9", "b.test"].map(address);
    let mut settings = Upstream::new("orders".to_owned(), addresses.to_vec());
    settings.ejection.failures = failures;
    settings.slow_start = Some(Duration::from_secs(60));
    Target::reuse(&settings, None, &[])
}

fn resolve(target: &Target, at: usize, found: &[&str]) {
    let found = found
        .iter()
        .map(|ip| (ip.parse::<IpAddr>().unwrap(), 80).into());
    target.resolved(at, found.collect());
}

fn labels(target: &Target) -> Vec<String> {
    target.endpoints().iter().map(|it| it.label()).collect()
}

#[tokio::test]
async fn a_name_that_is_not_found_stays_as_it_was() {
    let target = target(5);
    resolve(&target, 0, &[]);
    assert_eq!(labels(&target), ["a.test:80", "10.9.9.9:80", "b.test:80"]);
    resolve(&target, 0, &["10.0.0.2", "10.0.0.1"]);
    resolve(&target, 0, &[]);
    resolve(&target, 7, &["10.0.0.3"]);
    let after = ["10.0.0.1:80", "10.0.0.2:80", "10.9.9.9:80", "b.test:80"];
    assert_eq!(labels(&target), after);
}

#[tokio::test]
async fn each_address_is_an_endpoint_and_what_stays_keeps_its_memory() {
    let target = target(5);
    resolve(&target, 2, &["::1", "10.0.0.1", "::1"]);
    let first = target.endpoints();
    assert_eq!(
        labels(&target),
        ["a.test:80", "10.9.9.9:80", "10.0.0.1:80", "[::1]:80"]
    );
    let edition = target.edition.load(Ordering::Acquire);
    resolve(&target, 2, &["10.0.0.1", "::1"]);
    assert_eq!(
        target.edition.load(Ordering::Acquire),
        edition,
        "nothing new"
    );
    first[2].count_request();
    resolve(&target, 2, &["10.0.0.1", "10.0.0.2"]);
    let second = target.endpoints();
    assert!(Arc::ptr_eq(&first[2], &second[2]) && second[2].requests() == 1);
    assert_ne!(target.edition.load(Ordering::Acquire), edition);
    // Who comes later starts slowly; who was there from the first answer on does not.
    assert!(second[3].weight() < second[2].weight());
    assert_eq!(second[2].weight(), second[0].weight());
}

#[tokio::test]
async fn who_is_ejected_and_gone_leaves_room_for_others_to_be_ejected() {
    let target = target(1);
    resolve(&target, 0, &["10.0.0.1", "10.0.0.2"]);
    let out = |target: &Target| target.endpoints().iter().filter(|it| !it.is_up()).count();
    let fail = |at: usize| target.failed(&target.endpoints()[at], Cause::Connect);
    // Half of four.
    (0..4).for_each(fail);
    assert_eq!(out(&target), 2);
    resolve(&target, 0, &["10.0.0.3", "10.0.0.4"]);
    assert_eq!(out(&target), 0);
    (0..4).for_each(fail);
    assert_eq!(out(&target), 2);
}
