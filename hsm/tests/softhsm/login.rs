//! Opening a token: which one, and with which PIN.

use std::fs;

use portcullis_hsm::generate::{SlotChoice, init_token};
use portcullis_hsm::{HsmError, PinAsked, PinSource, Token, TokenSelect};

use crate::harness::{LABEL, until, with_softhsm};

#[test]
fn a_wrong_pin_is_tried_once() {
    with_softhsm(|hsm| {
        hsm.init(&hsm.faulty(), LABEL);
        let before = hsm.calls("C_Login");
        fs::write(hsm.file("pin"), "wrong-pin").unwrap();
        let open = || Token::open(hsm.settings(&hsm.faulty())).expect_err("refused");
        let error = open();
        assert!(
            matches!(
                &error,
                HsmError::PinWrong {
                    asked: PinAsked::Now,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(hsm.calls("C_Login"), before + 1);
        for _ in 0..3 {
            let error = open();
            assert!(
                matches!(
                    &error,
                    HsmError::PinWrong {
                        asked: PinAsked::Earlier,
                        ..
                    }
                ),
                "{error}"
            );
            assert!(!format!("{error} {error:?}").contains("wrong-pin"));
        }
        assert_eq!(hsm.calls("C_Login"), before + 1);

        // SoftHSM says now that few tries are left, so even the right PIN is not tried.
        fs::write(hsm.file("pin"), "471147").unwrap();
        let error = open();
        assert!(matches!(&error, HsmError::PinTriesLow { .. }), "{error}");
        assert_eq!(hsm.calls("C_Login"), before + 1);
    });
}

#[test]
fn a_token_is_logged_in_once() {
    with_softhsm(|hsm| {
        hsm.init(&hsm.faulty(), LABEL);
        let before = hsm.calls("C_Login");
        let first = Token::open(hsm.settings(&hsm.faulty())).unwrap();
        let second = Token::open(hsm.settings(&hsm.faulty())).unwrap();
        drop(first);
        // The login outlives every handle: the anchor session holds it.
        assert_eq!(second.list().unwrap(), []);
        drop(second);
        let third = Token::open(hsm.settings(&hsm.faulty())).unwrap();
        assert_eq!(hsm.calls("C_Login"), before + 1);
        assert_eq!(third.info().label, LABEL);
        until("both sessions are open", || third.stats().sessions == 2);
    });
}

#[test]
fn a_missing_pin_is_told_before_a_login() {
    with_softhsm(|hsm| {
        hsm.init(&hsm.faulty(), LABEL);
        let before = hsm.calls("C_Login");
        let mut settings = hsm.settings(&hsm.faulty());
        settings.pin = None;
        assert!(matches!(
            Token::open(settings.clone()),
            Err(HsmError::PinMissing { .. })
        ));
        settings.pin = Some(PinSource::Env("PORTCULLIS_NO_SUCH_PIN".to_owned()));
        assert!(matches!(
            Token::open(settings),
            Err(HsmError::PinUnreadable { .. })
        ));
        assert_eq!(hsm.calls("C_Login"), before);
    });
}

#[test]
fn exactly_one_token_must_fit() {
    with_softhsm(|hsm| {
        hsm.init(hsm.softhsm(), "east");
        hsm.init(hsm.softhsm(), "west");
        let open = |select| {
            let mut settings = hsm.settings(hsm.softhsm());
            settings.select = select;
            Token::open(settings)
        };
        let east = open(TokenSelect::Label("east".to_owned())).unwrap();
        let by_serial = open(TokenSelect::Serial(east.info().serial.clone())).unwrap();
        let by_slot = open(TokenSelect::Slot(east.info().slot)).unwrap();
        assert_eq!(
            (by_serial.info(), by_slot.info()),
            (east.info(), east.info())
        );

        let error = open(TokenSelect::Label("north".to_owned())).expect_err("no such token");
        let told = error.to_string();
        assert!(
            told.contains("token=east") && told.contains("token=west"),
            "{told}"
        );
        assert!(open(TokenSelect::Slot(12345)).is_err());
    });
}

#[test]
fn a_token_in_use_is_not_initialized_again() {
    with_softhsm(|hsm| {
        let token = hsm.token(hsm.softhsm());
        let pin = hsm.pin().read().unwrap();
        let again = |choice, label| {
            init_token(hsm.softhsm(), choice, label, &pin, &pin).expect_err("refused")
        };
        let told = again(SlotChoice::Id(token.info().slot), "other").to_string();
        assert!(told.contains("not erased"), "{told}");
        let told = again(SlotChoice::Free, LABEL).to_string();
        assert!(told.contains("another label"), "{told}");
        assert!(matches!(again(SlotChoice::Free, ""), HsmError::Generate(_)));
    });
}

#[test]
fn what_is_no_module_is_told() {
    with_softhsm(|hsm| {
        let missing = hsm.file("missing.so");
        let error = Token::open(hsm.settings(&missing)).expect_err("no file");
        assert!(error.to_string().contains("missing.so"), "{error}");
        let error = Token::open(hsm.settings(&hsm.file("pin"))).expect_err("no library");
        assert!(
            matches!(error, HsmError::ModuleUnloadable { .. }),
            "{error}"
        );
    });
}
