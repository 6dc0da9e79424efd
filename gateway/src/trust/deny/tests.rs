//! Who is on the deny list, until when, and over a restart.

use std::time::Duration;

use super::*;

fn client(spiffe: &str) -> Identity {
    Identity {
        uris: vec![spiffe.to_owned()],
        serial: "ab".to_owned(),
        sha256: [7; 32],
        ..Identity::default()
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn denied(list: &DenyList, client: &Identity, now: u64) -> bool {
    match list.check(client, at(now)) {
        Ok(()) => false,
        Err(refused) => refused.reason == Reason::ClientCertDenied,
    }
}

#[test]
fn each_kind_of_entry_denies_and_others_pass() {
    for text in ["spiffe://td/a", "spiffe://td/**", "00:AB", &"07".repeat(32)] {
        let list = DenyList::open(&Deny::default(), None).unwrap();
        assert!(!denied(&list, &client("spiffe://td/a"), 0));
        list.add(DenyEntry::parse(text, None).unwrap(), 0).unwrap();
        assert!(denied(&list, &client("spiffe://td/a"), 0), "{text}");
        let other = Identity {
            uris: vec!["spiffe://other/a".to_owned()],
            serial: "1ab".to_owned(),
            ..Identity::default()
        };
        assert!(!denied(&list, &other, 0), "{text}");
        assert_eq!(list.epoch(), 1);
    }
}

#[test]
fn an_entry_ends_at_its_time_and_a_configured_one_does_not() {
    let list = DenyList::open(&Deny::default(), None).unwrap();
    list.add(DenyEntry::parse("ab", Some(100)).unwrap(), 0)
        .unwrap();
    assert!(denied(&list, &client("x"), 99) && !denied(&list, &client("x"), 100));
    list.add(DenyEntry::parse("cd", None).unwrap(), 100)
        .unwrap();
    assert_eq!(list.added().len(), 1, "what has ended leaves");
    list.configure(&Deny {
        serial: vec!["ab".to_owned()],
        ..Deny::default()
    });
    assert!(denied(&list, &client("x"), 100));
}

#[test]
fn what_was_added_outlives_a_restart_and_a_broken_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("not/there/yet");
    let open = || DenyList::open(&Deny::default(), Some(&folder));
    let entry = DenyEntry::parse("spiffe://td/a", Some(1000)).unwrap();
    open().unwrap().add(entry.clone(), 0).unwrap();
    let again = open().unwrap();
    assert_eq!(again.added(), std::slice::from_ref(&entry));
    assert!(denied(&again, &client("spiffe://td/a"), 5));
    assert!(again.remove(&entry).unwrap() && !again.remove(&entry).unwrap());
    assert!(open().unwrap().is_empty());
    std::fs::write(folder.join("deny.json"), "[{").unwrap();
    assert!(matches!(open(), Err(DenyError::File(..))));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    for text in ["", "orders", "spiffe://TD/a", "http://a", "xyz"] {
        assert!(DenyEntry::parse(text, None).is_err(), "{text}");
    }
}

#[test]
fn an_entry_of_the_file_that_could_match_nobody_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for entry in [
        r#"{"kind":"serial","value":"00AB"}"#,
        r#"{"kind":"sha256","value":"07"}"#,
        r#"{"kind":"spiffe","value":"spiffe://TD/a"}"#,
        r#"{"kind":"serial","value":"spiffe://td/a"}"#,
    ] {
        std::fs::write(folder.path().join("deny.json"), format!("[{entry}]")).unwrap();
        let opened = DenyList::open(&Deny::default(), Some(folder.path()));
        assert!(matches!(opened, Err(DenyError::File(..))), "{entry}");
    }
}
