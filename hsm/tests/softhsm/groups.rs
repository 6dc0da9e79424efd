//! Tokens that hold the same key: one stands in for the other, and is asked early where that is wanted.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_hsm::generate::{KeyName, SlotChoice, import_key, init_token};
use portcullis_hsm::{
    Extractable, Group, HsmError, Key, PinSource, Provenance, Token, TokenSelect, TokenState,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::harness::{Hsm, LABEL, until, with_softhsm};
use crate::keys::uri;
use crate::outage::sign;

/// Two tokens: `edge` behind the fault module, `spare` without. Each gets the key of its file.
fn two(hsm: &Hsm, files: [&str; 2]) -> [Token; 2] {
    let faulty = hsm.token(&hsm.faulty());
    let so_pin = PinSource::File(hsm.file("so-pin")).read().unwrap();
    let pin = hsm.pin().read().unwrap();
    // A library of its own: what the fault module's recovery does to SoftHSM must not reach this one.
    let library = hsm.file("libspare.so");
    fs::copy(hsm.softhsm(), &library).unwrap();
    init_token(&library, SlotChoice::Free, "spare", &so_pin, &pin).unwrap();
    let mut settings = hsm.settings(&library);
    settings.name = "spare".to_owned();
    settings.select = TokenSelect::Label("spare".to_owned());
    let spare = Token::open(settings).unwrap();
    for (token, file) in [&faulty, &spare].into_iter().zip(files) {
        let (label, file) = ("site", hsm.file(file));
        import_key(token, &file, KeyName { label, id: None }).unwrap();
    }
    [faulty, spare]
}

fn pem(hsm: &Hsm, name: &str) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(hsm.file(name), key.serialize_pem()).unwrap();
}

fn key(group: &Group) -> Result<Key, HsmError> {
    group.key(&uri("pkcs11:object=site"), Extractable::Refuse)
}

#[test]
fn members_with_different_keys_are_no_group() {
    with_softhsm(|hsm| {
        ["one", "other"].iter().for_each(|name| pem(hsm, name));
        let members = two(hsm, ["one", "other"]).to_vec();
        let error = key(&Group::new("pair", members, None)).expect_err("two keys");
        assert!(matches!(error, HsmError::GroupKeysDiffer { .. }), "{error}");
        let told = error.to_string();
        assert!(
            told.contains("`pair`") && told.contains("object=site"),
            "{told}"
        );
    });
}

#[test]
fn a_member_that_fails_costs_no_signature() {
    with_softhsm(|hsm| {
        pem(hsm, "one");
        let [faulty, spare] = two(hsm, ["one", "one"]);
        let group = Group::new("pair", vec![faulty.clone(), spare], None);
        let key = key(&group).unwrap();
        assert_eq!(key.info().provenance, Provenance::Imported);
        hsm.faults("error_every = 1");
        for _ in 0..50 {
            sign(&key).unwrap();
        }
        assert!(group.failovers() > 0);
        assert_ne!(faulty.health().state, TokenState::Up);
        assert!(key.admit().is_ok(), "the other member takes work");
        hsm.faults("");
        until("the member is back", || {
            faulty.health().state == TokenState::Up
        });
        assert_eq!(faulty.info().label, LABEL);
    });
}

#[test]
fn a_slow_member_is_overtaken_where_hedging_is_on() {
    with_softhsm(|hsm| {
        pem(hsm, "one");
        let members = two(hsm, ["one", "one"]).to_vec();
        let faulty = members[0].clone();
        let hedge = Duration::from_millis(20);
        let slow = Group::new("slow", members.clone(), None);
        let hedged = Group::new("hedged", members, Some(hedge));
        let (slow, key) = (key(&slow).unwrap(), key(&hedged).unwrap());
        hsm.faults("delay_us = 400000");
        let took = |key: &Key| {
            let begun = Instant::now();
            sign(key).unwrap();
            begun.elapsed()
        };
        assert!(took(&slow) >= Duration::from_millis(400));
        // A member with less to do would be asked first.
        until("it is idle", || faulty.stats().in_flight == 0);
        let took = took(&key);
        assert!(
            took >= hedge && took < Duration::from_millis(300),
            "{took:?}"
        );
        assert_eq!(hedged.failovers(), 1);
    });
}
