//! When kept sessions end together with tickets.

use super::*;

fn keys(old: Option<&TicketKeys>) -> TicketKeys {
    let setup = Setup {
        fleet: String::new(),
        generation: 0,
        rotate: 100,
        lifetime: 100,
        max_outage: 0,
        clock_skew: 0,
    };
    TicketKeys::after(Source::random(setup, Vec::new()), old)
}

fn key(secret: u8) -> Arc<TicketKey> {
    let name = secret.to_string();
    Arc::new(TicketKey::new(
        &[secret; 32],
        Versions::Tls13,
        name,
        (0, 100),
    ))
}

/// A token that seals with one key and opens another, and whose lowest generation is this.
fn look(seals: Option<u8>, opens: u8, floor: u64) -> Look {
    Look {
        ring: Some(KeyRing::new(seals.map(key), vec![key(opens)])),
        status: Status {
            source: "hsm",
            place: "pkcs11:object=root".to_owned(),
            generation: Some((floor, floor)),
            ..Status::default()
        },
        again: Duration::ZERO,
    }
}

#[test]
fn a_revocation_ends_kept_sessions_also_when_nothing_was_sealed_before_it() {
    let before = keys(None);
    before.adopt(look(Some(1), 1, 0));
    before.adopt(look(None, 1, 0)); // The token is away for longer than `max_outage`,
    before.adopt(look(None, 9, 0)); // and until every ticket has ended.
    assert_eq!(before.era(), 0, "nobody revoked anything");
    before.adopt(look(Some(2), 2, 1)); // It returns with a higher floor.
    assert_eq!(before.era(), 1);
    before.adopt(look(Some(3), 2, 1));
    assert_eq!(before.era(), 1, "a revocation counts once");
    let after = keys(Some(&before));
    after.adopt(look(Some(4), 4, 2)); // A reload, and what was ordered just before it.
    assert_eq!(after.era(), 2);
}

#[test]
fn a_rotation_that_keeps_older_keys_ends_nothing() {
    let keys = keys(None);
    keys.adopt(look(Some(1), 1, 0));
    keys.adopt(look(Some(2), 1, 0));
    assert_eq!(keys.era(), 0);
    keys.adopt(look(Some(3), 3, 0));
    assert_eq!(keys.era(), 1, "the key that sealed is gone");
}
