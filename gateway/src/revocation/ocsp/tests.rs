//! Which answers are believed.

use std::time::Duration;

use proptest::prelude::*;
use rcgen::ExtendedKeyUsagePurpose as Purpose;

use super::answer::{self, Answer, Disbelief, Expected, Said};
use super::testing::{CA, Reply, question};
use crate::revocation::testing::{Ca, HOUR, NOW};

fn read(bytes: &[u8], nonce: Option<&[u8]>) -> Result<Answer, Disbelief> {
    let expected = Expected {
        question: &question(7),
        nonce,
        now: NOW,
        kept: Duration::from_secs(600),
    };
    answer::read(bytes, &expected)
}

#[test]
fn answers_of_the_wrong_signer_time_certificate_or_nonce_are_not_believed() {
    let id = question(7).id;
    let signed = |reply: Reply<'_>| read(&reply.signed(&id, &CA, &[]), None);
    let reply = Reply::default;
    let stale = Reply {
        next_update: Some(NOW - 301),
        ..reply()
    };
    assert_eq!(signed(stale), Err(Disbelief::Time));
    let future = Reply {
        this_update: NOW + 301,
        ..reply()
    };
    assert_eq!(signed(future), Err(Disbelief::Time));
    let undated = Reply {
        next_update: None,
        this_update: NOW - 901,
        ..reply()
    };
    assert_eq!(signed(undated), Err(Disbelief::Time));
    let busy = Reply {
        status: 3,
        ..reply()
    };
    assert_eq!(signed(busy), Err(Disbelief::Status(3)));
    let strange = Reply {
        critical: Some(&[0x2a, 3]),
        ..reply()
    };
    assert_eq!(signed(strange), Err(Disbelief::Critical));
    let other = reply().signed(&question(8).id, &CA, &[]);
    assert_eq!(read(&other, None), Err(Disbelief::Other));
    let namesake = reply().signed(&id, &Ca::new("ca"), &[]);
    assert_eq!(read(&namesake, None), Err(Disbelief::Signer));
    let stranger = Ca::new("stranger");
    let foreign = reply().signed(&id, &stranger, &[&stranger]);
    assert_eq!(read(&foreign, None), Err(Disbelief::Signer));
    // The issuer signed it, and the answer names somebody else.
    let misnamed = Reply {
        by_key: Some(&stranger),
        ..reply()
    };
    assert_eq!(signed(misnamed), Err(Disbelief::Signer));
    let plain = reply().signed(&id, &CA, &[]);
    assert_eq!(read(&plain, Some(b"nonce")), Err(Disbelief::Nonce));
    let wrong = Reply {
        nonce: Some(b"other"),
        ..reply()
    }
    .signed(&id, &CA, &[]);
    assert_eq!(read(&wrong, Some(b"nonce")), Err(Disbelief::Nonce));
    let echoed = Reply {
        nonce: Some(b"nonce"),
        ..reply()
    }
    .signed(&id, &CA, &[]);
    assert_eq!(
        read(&echoed, Some(b"nonce")).map(|it| it.said),
        Ok(Said::Good)
    );
}

#[test]
fn responders_need_a_certificate_for_it_from_the_issuer_itself() {
    let id = question(7).id;
    let said = |signer: &Ca| {
        let answer = Reply::default().signed(&id, signer, &[signer]);
        read(&answer, None).map(|answer| answer.said)
    };
    let end = NOW + 1000 * HOUR;
    let named = CA.responder(vec![Purpose::OcspSigning], end);
    assert_eq!(said(&named), Ok(Said::Good));
    let by_key = Reply {
        by_key: Some(&named),
        ..Reply::default()
    };
    assert!(read(&by_key.signed(&id, &named, &[&named]), None).is_ok());
    for signer in [
        CA.responder(vec![Purpose::ClientAuth], end),
        CA.responder(vec![], end),
        CA.responder(vec![Purpose::OcspSigning], NOW - 1),
        Ca::new("ca").responder(vec![Purpose::OcspSigning], end),
        CA.below("middle", 5)
            .responder(vec![Purpose::OcspSigning], end),
        CA.below("responder", 6),
    ] {
        assert_eq!(said(&signer), Err(Disbelief::Signer));
    }
}

#[test]
fn an_answer_with_any_byte_missing_or_any_bit_flipped_is_never_believed() {
    let signer = CA.responder(vec![Purpose::OcspSigning], NOW + 1000 * HOUR);
    let answer = Reply::default().signed(&question(7).id, &signer, &[&signer]);
    assert!(read(&answer, None).is_ok());
    for length in 0..answer.len() {
        assert!(read(&answer[..length], None).is_err(), "{length}");
    }
    for bit in 0..answer.len() * 8 {
        let mut damaged = answer.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&damaged, None).is_err(), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, None);
    }
}
