//! Tables that are full, and what is told of them.

use super::lines::DAY;
use super::*;

fn client(number: u8, days: i64) -> ClientIdentity {
    ClientIdentity::Verified(Arc::new(Identity {
        sha256: [number; 32],
        not_after: days * DAY,
        subject: format!("CN=client {number}"),
        ..Identity::default()
    }))
}

#[test]
fn a_full_table_lets_go_of_what_was_seen_longest_ago() {
    let inventory = Inventory::new(3);
    let site = Arc::from("api");
    for number in 0..3 {
        inventory.note(&client(number, 10), &site, i64::from(number));
    }
    inventory.note(&client(0, 10), &site, 10);
    inventory.note(&client(9, 10), &site, 11);
    let subjects: Vec<_> = inventory
        .seen(0)
        .into_iter()
        .map(|line| line.subject)
        .collect();
    assert_eq!(subjects, ["CN=client 0", "CN=client 2", "CN=client 9"]);
    let none = Inventory::new(0);
    none.note(&client(0, 10), &site, 0);
    assert!(none.seen(0).is_empty());
}

#[test]
fn absent_clients_are_told_by_address_and_others_by_name() {
    let inventory = Inventory::new(10);
    let (site, address) = (Arc::from("api"), IpAddr::from([10, 0, 0, 1]));
    let missing = (&site, Reason::ClientCertMissing, "");
    for now in 0..3 {
        inventory.would_refuse(missing, (None, address), now);
    }
    let ClientIdentity::Verified(identity) = client(1, 1) else {
        panic!("verified");
    };
    let long = (&site, Reason::ClientCertLifetime, "it lives 400 days");
    inventory.would_refuse(long, (Some(&identity), address), 5);
    let lines = inventory.rollout();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (&*line.who, line.reason, line.connections))
        .collect();
    assert_eq!(
        told,
        [
            ("10.0.0.1", "CLIENT_CERT_MISSING", 3),
            ("CN=client 1", "CLIENT_CERT_LIFETIME", 1)
        ]
    );
}

#[test]
fn days_left_are_counted_below_each_bound() {
    let inventory = Inventory::new(10);
    let site = Arc::from("api");
    for (number, days) in [(0, -3), (1, 5), (2, 400)] {
        inventory.note(&client(number, days), &site, 0);
    }
    assert_eq!(inventory.days_left(0), ([1, 1, 2, 2, 2, 2, 2], 3, 402));
}

#[test]
fn a_certificate_of_many_and_long_names_takes_little_room() {
    let inventory = Inventory::new(10);
    let long = "a\u{e9}".repeat(30_000);
    let identity = Arc::new(Identity {
        dns: (0..20_000).map(|number| format!("h{number}")).collect(),
        uris: vec![long.clone(); 20],
        spiffe: Some(long.clone()),
        subject: long.clone(),
        issuer: long.clone(),
        ..Identity::default()
    });
    let site = Arc::from("api");
    inventory.note(&ClientIdentity::Unverified(Arc::clone(&identity)), &site, 0);
    let reason = (&site, Reason::ClientCertLifetime, "");
    let address = IpAddr::from([10, 0, 0, 1]);
    inventory.would_refuse(reason, (Some(&identity), address), 0);
    let told = serde_json::to_string(&inventory.seen(0)).unwrap();
    assert!(told.len() < 16 * 1024, "{}", told.len());
    assert!(told.contains("\"h0\"") && told.contains('…'));
    // Nothing of the long one is held on to.
    assert_eq!(Arc::strong_count(&identity), 1);
    let told = serde_json::to_string(&inventory.rollout()).unwrap();
    assert!(told.len() < 2 * 1024, "{}", told.len());
}
