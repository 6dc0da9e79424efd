//! The index against a naive model, and lists against damage.

use std::sync::Arc;

use portcullis_config::StalePolicy;
use proptest::prelude::*;

use super::certificate::PathCert;
use super::crl::Crl;
use super::index::{Index, List, Passage, SKEW, Status};
use super::testing::{Ca, HOUR, ListParams, NOW, ScopeParams};

const HERE: &str = "http://crl.test/here";
const THERE: &str = "http://crl.test/there";
const ALL_REASONS: u16 = 0b1_1111_1110;

fn list(ca: &Ca, params: &ListParams) -> Arc<List> {
    let crl = Crl::read(ca.list(params).into()).unwrap();
    Arc::new(List {
        crl: Arc::new(crl),
        origin: String::new(),
    })
}

fn status(ca: &Ca, lists: &[&ListParams], (serial, points): (u64, &[&str])) -> Status {
    let index = Index::new(lists.iter().map(|params| list(ca, params)));
    let leaf = ca.leaf(serial, points);
    index.status(&PathCert::new(&leaf, ca.key()).unwrap(), NOW)
}

#[test]
fn a_revoked_number_on_the_second_of_two_lists_is_found() {
    let ca = Ca::new("ca");
    let clean = ListParams::default();
    let mut dirty = ListParams {
        number: 2,
        entries: vec![(7, 1), (9, 0)],
        ..ListParams::default()
    };
    for _ in 0..2 {
        let found = status(&ca, &[&clean, &dirty], (7, &[]));
        assert!(matches!(found, Status::Revoked { reason: 1, .. }));
        let clear = status(&ca, &[&clean, &dirty], (8, &[]));
        assert!(matches!(clear, Status::Good));
        // A stale list still tells who is revoked.
        dirty.next_update = Some(NOW - 1);
    }
    assert!(matches!(status(&ca, &[], (7, &[])), Status::Missing));
}

#[test]
fn a_list_that_the_issuer_did_not_sign_says_nothing() {
    let (ours, theirs) = (Ca::new("same name"), Ca::new("same name"));
    let revoking = ListParams {
        entries: vec![(7, 0)],
        ..ListParams::default()
    };
    let index = Index::new([list(&theirs, &revoking)].into_iter());
    let leaf = ours.leaf(7, &[]);
    let leaf = PathCert::new(&leaf, ours.key()).unwrap();
    assert!(matches!(index.status(&leaf, NOW), Status::Missing));
    assert_eq!(index.keys(leaf.issuer_name()), [ours.key().into()]);
}

#[test]
fn lists_with_what_is_not_understood_are_refused() {
    let ca = Ca::new("ca");
    let params = |change: fn(&mut ListParams)| {
        let mut params = ListParams::default();
        change(&mut params);
        Crl::read(ca.list(&params).into()).map(drop)
    };
    for (change, word) in [
        (
            (|p| p.strange = true) as fn(&mut ListParams),
            "critical extension 2.5.29.127",
        ),
        (|p| p.scope.indirect = true, "indirect"),
        (|p| p.next_update = None, "nextUpdate"),
        (|p| p.entries = vec![(1, 7)], "broken"),
    ] {
        let error = params(change).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(Crl::read(Box::default()).is_err());
}

#[test]
fn a_list_with_any_byte_missing_or_any_bit_flipped_is_never_accepted() {
    let ca = Ca::new("ca");
    let raw = ca.list(&ListParams {
        entries: vec![(1, 1), (2, 0), (300, 6)],
        scope: ScopeParams {
            uri: Some(HERE),
            reasons: Some(2),
            ..ScopeParams::default()
        },
        ..ListParams::default()
    });
    assert!(
        Crl::read(raw.clone().into())
            .unwrap()
            .is_authentic(ca.key())
    );
    for length in 0..raw.len() {
        assert!(Crl::read(raw[..length].into()).is_err(), "{length}");
    }
    for bit in 0..raw.len() * 8 {
        let mut damaged = raw.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let accepted = Crl::read(damaged.into()).is_ok_and(|crl| crl.is_authentic(ca.key()));
        assert!(!accepted, "bit {bit}");
    }
}

#[test]
fn a_stale_list_is_treated_as_the_policy_says() {
    let hour = std::time::Duration::from_secs(HOUR.unsigned_abs());
    let stale = Status::Stale { since: NOW };
    let revoked = {
        let ca = Ca::new("ca");
        let revoking = ListParams {
            entries: vec![(7, 6)],
            ..ListParams::default()
        };
        status(&ca, &[&revoking], (7, &[]))
    };
    for policy in [
        StalePolicy::Hard,
        StalePolicy::Grace(hour),
        StalePolicy::Soft,
    ] {
        assert_eq!(revoked.under(policy, NOW), Passage::Refused);
        assert_eq!(Status::Good.under(policy, NOW), Passage::Pass);
    }
    let grace = StalePolicy::Grace(hour);
    assert_eq!(stale.under(StalePolicy::Hard, NOW + 1), Passage::Refused);
    assert_eq!(stale.under(grace, NOW + HOUR), Passage::Lenient);
    assert_eq!(stale.under(grace, NOW + HOUR + 1), Passage::Refused);
    assert_eq!(stale.under(StalePolicy::Soft, i64::MAX), Passage::Lenient);
    assert_eq!(Status::Missing.under(grace, NOW), Passage::Refused);
    assert_eq!(
        Status::Missing.under(StalePolicy::Soft, NOW),
        Passage::Lenient
    );
}

fn scopes() -> impl Strategy<Value = ScopeParams> {
    let uri = prop_oneof![3 => Just(None), 1 => Just(Some(HERE)), 1 => Just(Some(THERE))];
    let reasons = prop_oneof![3 => Just(None), 1 => (1..=8_u16).prop_map(|bit| Some(1 << bit)),
        1 => Just(Some(0b0_1111_1110)), 1 => Just(Some(0b1_0000_0000))];
    let narrow = (uri, 0..4_u8, reasons).prop_map(|(uri, kind, reasons)| ScopeParams {
        uri,
        users_only: kind == 1,
        cas_only: kind == 2,
        reasons,
        indirect: false,
    });
    // Deltas meet their lists only when both have one scope.
    prop_oneof![2 => Just(ScopeParams::default()), 1 => narrow]
}

fn lists() -> impl Strategy<Value = Vec<ListParams>> {
    let entries = prop::collection::vec((1..4_u64, prop::sample::select(vec![0, 6, 8, 8])), 0..3);
    let base = prop_oneof![1 => Just(None), 1 => (1..5_u64).prop_map(Some)];
    let times = (-3..2_i64, -2..4_i64);
    let one = (1..6_u64, base, times, entries, scopes()).prop_map(
        |(number, base, (this, next), entries, scope)| ListParams {
            number,
            base,
            this_update: NOW + this * HOUR,
            next_update: Some(NOW + next * HOUR),
            entries,
            scope,
            ..ListParams::default()
        },
    );
    prop::collection::vec(one, 0..6)
}

/// What a reader of the RFC would do by hand, all lists before their eyes.
fn by_hand(lists: &[ListParams], serial: u64, points: &[&str]) -> &'static str {
    let begun = |list: &ListParams| list.this_update <= NOW + SKEW;
    let continues = |delta: &ListParams, older: &ListParams| {
        let fits = delta.base.is_some_and(|base| base <= older.number);
        fits && delta.number > older.number && delta.scope == older.scope && begun(delta)
    };
    let says = |list: &ListParams| {
        let of_it = list.entries.iter().filter(|(number, _)| *number == serial);
        let reasons: Vec<u8> = of_it.map(|(_, reason)| *reason).collect();
        let revokes = reasons.iter().any(|reason| *reason != 8);
        (revokes, !revokes && !reasons.is_empty())
    };
    for list in lists {
        let lifted = lists
            .iter()
            .any(|delta| continues(delta, list) && says(delta).1);
        if says(list).0 && !lifted {
            return "revoked";
        }
    }
    let covered_at = |time: i64| {
        let mut covered = 0;
        for list in lists
            .iter()
            .filter(|list| list.base.is_none() && begun(list))
        {
            let in_time = |list: &ListParams| list.next_update.unwrap() >= time;
            let continued = lists.iter().any(|d| continues(d, list) && in_time(d));
            let place = list.scope.uri.is_none_or(|uri| points.contains(&uri));
            if place && !list.scope.cas_only && (in_time(list) || continued) {
                covered |= list.scope.reasons.unwrap_or(ALL_REASONS);
            }
        }
        covered & ALL_REASONS == ALL_REASONS
    };
    match (covered_at(NOW), covered_at(i64::MIN)) {
        (true, _) => "good",
        (false, true) => "stale",
        (false, false) => "missing",
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_index_says_what_a_reader_of_the_rfc_says(
        lists in lists(),
        serial in 1..4_u64,
        points in prop::sample::subsequence(vec![HERE, THERE], 0..=2),
    ) {
        static CA: std::sync::LazyLock<Ca> = std::sync::LazyLock::new(|| Ca::new("ca"));
        let all: Vec<&ListParams> = lists.iter().collect();
        let said = match status(&CA, &all, (serial, &points)) {
            Status::Revoked { .. } => "revoked",
            Status::Good => "good",
            Status::Stale { .. } => "stale",
            Status::Missing => "missing",
        };
        prop_assert_eq!(said, by_hand(&lists, serial, &points));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Crl::read(bytes.clone().into());
        let _ = PathCert::new(&bytes, &bytes);
    }
}
