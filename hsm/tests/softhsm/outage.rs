//! A token that is slow, hangs or fails: who waits, who does not, and what is replaced.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_hsm::{HsmError, Key, KeyKind, QueueBound, Sessions, Token, TokenSettings};
use rustls::SignatureScheme;

use crate::harness::{Hsm, LABEL, count, until, with_softhsm};
use crate::keys::make;

/// A token behind the fault module, and a key in it.
fn faulty(hsm: &Hsm, change: impl FnOnce(&mut TokenSettings)) -> (Token, Key) {
    hsm.init(&hsm.faulty(), LABEL);
    let mut settings = hsm.settings(&hsm.faulty());
    change(&mut settings);
    let token = Token::open(settings).unwrap();
    let key = make(&token, KeyKind::EcdsaP256, "site");
    (token, key)
}

pub(crate) fn sign(key: &Key) -> Result<Vec<u8>, HsmError> {
    let signer = key
        .signing_key()
        .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
        .unwrap();
    signer.sign(b"message").map_err(|error| match error {
        rustls::Error::Other(other) => other.0.downcast_ref::<HsmError>().unwrap().clone(),
        other => panic!("{other}"),
    })
}

/// A signature on a thread of its own.
fn begin(key: &Key) -> thread::JoinHandle<Result<Vec<u8>, HsmError>> {
    let key = key.clone();
    thread::spawn(move || sign(&key))
}

#[test]
fn a_full_queue_refuses_at_once() {
    with_softhsm(|hsm| {
        let (token, key) = faulty(hsm, |settings| {
            settings.sessions = Sessions::Count(count(1));
            settings.queue = QueueBound::Count(count(2));
        });
        let before = hsm.calls("C_Sign");
        hsm.faults("hang_every = 1");
        let first = begin(&key);
        until("the first hangs", || hsm.calls("C_Sign") > before);
        let others = [begin(&key), begin(&key)];
        until("the others wait", || token.stats().waiting == 2);
        let start = Instant::now();
        let error = sign(&key).expect_err("full");
        assert!(matches!(error, HsmError::QueueFull { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_millis(100));
        assert_eq!(token.stats().rejected, 1);
        hsm.faults("");
        assert!(first.join().unwrap().is_ok());
        assert!(
            others
                .into_iter()
                .all(|other| other.join().unwrap().is_ok())
        );
    });
}

#[test]
fn the_deadline_holds_while_a_session_hangs_and_others_go_on() {
    with_softhsm(|hsm| {
        let (token, key) = faulty(hsm, |settings| {
            settings.deadline = Duration::from_millis(300)
        });
        // Many enough that none of those below is the second to hang.
        (0..100).for_each(|_| drop(sign(&key).unwrap()));
        let hung = hsm.calls("C_Sign") + 1;
        hsm.faults(&format!("hang_every = {hung}"));
        let start = Instant::now();
        let first = begin(&key);
        until("the first hangs", || hsm.calls("C_Sign") == hung);
        // The other session signs while one hangs.
        for _ in 0..50 {
            sign(&key).unwrap();
        }
        let error = first.join().unwrap().expect_err("hung");
        let waited = start.elapsed();
        assert!(matches!(error, HsmError::Deadline { .. }), "{error}");
        assert!(
            waited >= Duration::from_millis(300) && waited < Duration::from_secs(2),
            "{waited:?}"
        );
        sign(&key).unwrap();
        until("only the hung one is in flight", || {
            token.stats().in_flight == 1
        });
        let stats = token.stats();
        assert_eq!((stats.timeouts, stats.errors), (1, 0));

        // Dropping the token does not wait for the call that hangs.
        let start = Instant::now();
        drop((token, key));
        assert!(start.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn what_waits_behind_a_hung_session_ends_at_its_deadline_and_is_not_begun() {
    with_softhsm(|hsm| {
        let (token, key) = faulty(hsm, |settings| {
            settings.sessions = Sessions::Count(count(1));
            settings.deadline = Duration::from_millis(200);
        });
        let before = hsm.calls("C_Sign");
        hsm.faults("hang_every = 1");
        let waiting = [begin(&key), begin(&key), begin(&key)];
        for one in waiting {
            assert!(matches!(
                one.join().unwrap(),
                Err(HsmError::Deadline { .. })
            ));
        }
        hsm.faults("");
        until("the session is back", || token.stats().in_flight == 0);
        sign(&key).unwrap();
        assert_eq!(hsm.calls("C_Sign"), before + 2);
        assert_eq!(token.stats().timeouts, 3);
    });
}

#[test]
fn a_session_that_failed_is_replaced() {
    with_softhsm(|hsm| {
        let (token, key) = faulty(hsm, |settings| {
            settings.sessions = Sessions::Count(count(1))
        });
        for (code, name) in [
            ("0x30", "CKR_DEVICE_ERROR"),
            ("0xB3", "CKR_SESSION_HANDLE_INVALID"),
        ] {
            hsm.faults(&format!("error_every = 1\nerror_code = {code}"));
            let error = sign(&key).expect_err("fails");
            assert_eq!(error.to_string(), format!("C_Sign failed: {name}"));
            hsm.faults("");
            // The module still has the operation of the old session open; only a fresh one can sign.
            sign(&key).unwrap();
        }
        until("the session is counted", || token.stats().sessions == 1);
        // Each was asked for twice: what failed once may pass.
        assert_eq!(token.stats().errors, 4);
    });
}

#[test]
fn engines_bound_the_rate() {
    with_softhsm(|hsm| {
        let (token, key) = faulty(hsm, |settings| {
            settings.sessions = Sessions::Count(count(8))
        });
        hsm.faults("delay_us = 20000\nengines = 2");
        let start = Instant::now();
        let signatures: Vec<_> = (0..20).map(|_| begin(&key)).collect();
        assert!(
            signatures
                .into_iter()
                .all(|signature| signature.join().unwrap().is_ok())
        );
        // 20 signatures of 20 ms on two engines.
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert_eq!(token.stats().errors, 0);
    });
}
