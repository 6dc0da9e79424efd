//! The fault module does what `docs/REHEARSAL.md` tells operators, each fault in front of a real token.

use std::time::{Duration, Instant};
use std::{env, process::Command, thread};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::harness::{Hsm, LABEL, with_softhsm};

/// A P-256 key in SoftHSM behind the fault module, called as PKCS#11 without anything of ours in between.
struct Rehearsal<'a> {
    hsm: &'a Hsm,
    pkcs11: Pkcs11,
}

impl<'a> Rehearsal<'a> {
    fn new(hsm: &'a Hsm) -> Self {
        hsm.init(&hsm.faulty(), LABEL);
        let pkcs11 = Pkcs11::new(hsm.faulty()).unwrap();
        let rehearsal = Rehearsal { hsm, pkcs11 };
        let session = rehearsal.pkcs11.open_rw_session(rehearsal.slot()).unwrap();
        rehearsal.log_in(&session).unwrap();
        let p256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec();
        let public = [Attribute::EcParams(p256), Attribute::Token(true)];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sign(true),
        ];
        let mechanism = Mechanism::EccKeyPairGen;
        session
            .generate_key_pair(&mechanism, &public, &private)
            .unwrap();
        session.logout().unwrap();
        rehearsal
    }

    fn slot(&self) -> Slot {
        self.pkcs11.get_slots_with_initialized_token().unwrap()[0]
    }

    fn open(&self) -> Result<Session, Error> {
        self.pkcs11.open_ro_session(self.slot())
    }

    fn log_in(&self, session: &Session) -> Result<(), Error> {
        session.login(UserType::User, Some(&AuthPin::new("471147".into())))
    }

    /// A session, logged in, and the key.
    fn ready(&self) -> (Session, ObjectHandle) {
        let session = self.open().unwrap();
        self.log_in(&session).unwrap();
        let key = find(&session).unwrap();
        (session, key)
    }
}

fn find(session: &Session) -> Result<ObjectHandle, Error> {
    let found = session.find_objects(&[Attribute::Private(true)])?;
    Ok(found[0])
}

fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::Ecdsa, key, &[7; 32])
}

/// What the call returned instead of `CKR_OK`.
fn code<T>(result: Result<T, Error>) -> RvError {
    match result {
        Err(Error::Pkcs11(code, _)) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the call did not fail"),
    }
}

#[test]
fn errors_strike_the_function_they_are_meant_for() {
    with_softhsm(|hsm| {
        let rehearsal = Rehearsal::new(hsm);
        let (session, key) = rehearsal.ready();
        hsm.faults("error_every = 1\nerror_in = open_session\nerror_code = 0xB1");
        assert_eq!(code(rehearsal.open()), RvError::SessionCount);
        sign(&session, key).unwrap();
        hsm.faults("error_every = 1\nerror_in = find");
        assert_eq!(code(find(&session)), RvError::DeviceError);
        sign(&session, key).unwrap();
        hsm.faults("error_every = 1\nerror_in = sign_init");
        assert_eq!(code(sign(&session, key)), RvError::DeviceError);
        assert_eq!(find(&session).unwrap(), key);
        session.logout().unwrap();
        hsm.faults("error_every = 1\nerror_in = login");
        assert_eq!(code(rehearsal.log_in(&session)), RvError::DeviceError);
        hsm.faults("");
        rehearsal.log_in(&session).unwrap();
    });
}

#[test]
fn one_percent_of_the_signatures_fails() {
    with_softhsm(|hsm| {
        let rehearsal = Rehearsal::new(hsm);
        let (session, key) = rehearsal.ready();
        // A failed C_SignInit leaves nothing behind, so the session can go on.
        hsm.faults("error_percent = 10\nerror_in = sign_init");
        let failed = (0..1000).filter(|_| sign(&session, key).is_err()).count();
        // Six standard deviations.
        assert!((43..=157).contains(&failed), "{failed} of 1000");
    });
}

#[test]
fn dead_sessions_stay_dead_and_have_lost_the_login() {
    with_softhsm(|hsm| {
        let rehearsal = Rehearsal::new(hsm);
        let (session, key) = rehearsal.ready();
        hsm.faults("dead_sessions = 1");
        let dead = RvError::SessionHandleInvalid;
        assert_eq!(code(sign(&session, key)), dead);
        assert_eq!(code(find(&session)), dead);
        assert_eq!(code(session.get_session_info()), dead);
        assert_eq!(code(rehearsal.log_in(&session)), dead);
        // The login went with the sessions: a new one finds no private key.
        let fresh = rehearsal.open().unwrap();
        assert!(
            fresh
                .find_objects(&[Attribute::Private(true)])
                .unwrap()
                .is_empty()
        );
        rehearsal.log_in(&fresh).unwrap();
        sign(&fresh, find(&fresh).unwrap()).unwrap();
        // Other settings do not kill again, another number does.
        hsm.faults("dead_sessions = 1\njitter_us = 1");
        sign(&fresh, find(&fresh).unwrap()).unwrap();
        assert_eq!(code(sign(&session, key)), dead);
        hsm.faults("dead_sessions = 2");
        assert_eq!(code(find(&fresh)), dead);
    });
}

#[test]
fn a_token_that_is_gone_comes_back_at_once_or_after_initialize() {
    with_softhsm(|hsm| {
        let rehearsal = Rehearsal::new(hsm);
        let slot = rehearsal.slot();
        let (session, key) = rehearsal.ready();
        hsm.faults("token_gone = 1");
        assert_eq!(rehearsal.pkcs11.get_slots_with_token().unwrap(), []);
        let absent = RvError::TokenNotPresent;
        assert_eq!(code(rehearsal.pkcs11.get_token_info(slot)), absent);
        assert_eq!(code(rehearsal.pkcs11.open_ro_session(slot)), absent);
        assert_eq!(code(sign(&session, key)), RvError::DeviceRemoved);
        assert_eq!(code(find(&session)), RvError::DeviceRemoved);
        hsm.faults("");
        assert_eq!(code(sign(&session, key)), RvError::SessionHandleInvalid);
        let (fresh, key) = rehearsal.ready();
        sign(&fresh, key).unwrap();
        drop((session, fresh));

        hsm.faults("token_gone = 1\nneeds_initialize = 1");
        assert_eq!(code(rehearsal.pkcs11.get_token_info(slot)), absent);
        hsm.faults("");
        assert_eq!(code(rehearsal.pkcs11.get_token_info(slot)), absent);
        let Rehearsal { hsm, pkcs11 } = rehearsal;
        pkcs11.finalize().unwrap();
        let pkcs11 = Pkcs11::new(hsm.faulty()).unwrap();
        pkcs11
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .unwrap();
        let rehearsal = Rehearsal { hsm, pkcs11 };
        let (fresh, key) = rehearsal.ready();
        sign(&fresh, key).unwrap();
        assert_eq!((hsm.calls("C_Initialize"), hsm.calls("C_Finalize")), (2, 1));
    });
}

#[test]
fn wrong_pins_lock_the_token_and_it_warns_before() {
    with_softhsm(|hsm| {
        let rehearsal = Rehearsal::new(hsm);
        let session = rehearsal.open().unwrap();
        let flags = || {
            let info = rehearsal.pkcs11.get_token_info(rehearsal.slot()).unwrap();
            (
                info.user_pin_count_low(),
                info.user_pin_final_try(),
                info.user_pin_locked(),
            )
        };
        // The first is refused by SoftHSM itself, the second by the fault module alone.
        hsm.faults("lockout_after = 3");
        assert_eq!(flags(), (false, false, false));
        let wrong = session.login(UserType::User, Some(&AuthPin::new("174711".into())));
        assert_eq!(code(wrong), RvError::PinIncorrect);
        assert!(flags().0 && !flags().1);
        hsm.faults("lockout_after = 3\nlogin_error = 0xA0");
        assert_eq!(code(rehearsal.log_in(&session)), RvError::PinIncorrect);
        assert!(flags().0 && flags().1);
        assert_eq!(code(rehearsal.log_in(&session)), RvError::PinIncorrect);
        assert!(flags().2);
        hsm.faults("");
        assert_eq!(code(rehearsal.log_in(&session)), RvError::PinLocked);
    });
}

#[test]
fn a_length_query_costs_a_signature_where_it_is_charged() {
    with_softhsm(|hsm| {
        let rehearsal = Rehearsal::new(hsm);
        let (session, key) = rehearsal.ready();
        let timed = || {
            let start = Instant::now();
            sign(&session, key).unwrap();
            start.elapsed()
        };
        let (signs, lengths) = (hsm.calls("C_Sign"), hsm.calls("C_Sign_length"));
        hsm.faults("delay_us = 100000");
        let free = timed();
        assert!(free >= Duration::from_millis(100) && free < Duration::from_millis(190));
        // `cryptoki::Session::sign` asks for the length first.
        assert_eq!(hsm.calls("C_Sign"), signs + 1);
        assert_eq!(hsm.calls("C_Sign_length"), lengths + 1);
        hsm.faults("delay_us = 100000\ncharge_length_query = 1");
        let charged = timed();
        assert!(charged >= Duration::from_millis(200), "{charged:?}");
        assert!(hsm.calls("C_SignInit") >= 2 && hsm.calls("C_OpenSession") >= 2);
    });
}

#[test]
fn jitter_spreads_the_delay() {
    with_softhsm(|hsm| {
        let rehearsal = Rehearsal::new(hsm);
        let (session, key) = rehearsal.ready();
        hsm.faults("jitter_us = 20000");
        let start = Instant::now();
        (0..50).for_each(|_| drop(sign(&session, key).unwrap()));
        // 50 times 10 ms on average, six standard deviations (5.8 ms each) below.
        assert!(start.elapsed() >= Duration::from_millis(250));
    });
}

/// Set in the process that crashes.
const CRASHING: &str = "PORTCULLIS_TEST_CRASH";

#[test]
fn the_process_crashes_at_the_signature_it_was_told() {
    with_softhsm(|hsm| {
        if env::var_os(CRASHING).is_some() {
            let pkcs11 = Pkcs11::new(hsm.faulty()).unwrap();
            pkcs11
                .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
                .unwrap();
            let rehearsal = Rehearsal { hsm, pkcs11 };
            let (session, key) = rehearsal.ready();
            hsm.faults("crash_every = 3");
            (0..3).for_each(|_| drop(sign(&session, key).unwrap()));
            return;
        }
        drop(Rehearsal::new(hsm));
        let name = thread::current().name().unwrap().to_owned();
        let crashed = Command::new(env::current_exe().unwrap())
            .args([&name, "--exact", "--nocapture", "--test-threads=1"])
            .env(CRASHING, "1")
            .output()
            .unwrap();
        assert!(!crashed.status.success());
        let told = String::from_utf8_lossy(&crashed.stderr);
        assert!(told.contains("crash_every ends the process"), "{told}");
        // The counts are those of the process that ended: the third signature was begun.
        assert_eq!(hsm.calls("C_Sign"), 3);
    });
}
