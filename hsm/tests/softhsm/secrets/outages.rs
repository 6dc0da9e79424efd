//! Deriving while the token fails, from another process, and from the members of a group.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_hsm::generate::{self, Raise, SlotChoice, init_token, raise_generation};
use portcullis_hsm::signer::serve_inherited;
use portcullis_hsm::{
    Extractable, Generation, Group, HsmError, Isolation, PinSource, Secret, Token, TokenSelect,
    TokenSettings, TokenState, step,
};

use super::{ROOT, beside, derive, template};
use crate::harness::{Hsm, until, with_softhsm};
use crate::keys::uri;

/// The test that is the signer process of others, when it is started as one.
const SIGNER: &str = "secrets::outages::without_a_socket_there_is_no_signer";

fn root(token: &Token) -> Secret {
    token.secret(&uri(ROOT), Extractable::Refuse).unwrap()
}

/// `edge` behind the fault module with a secret in it.
fn faulty(hsm: &Hsm, change: impl FnOnce(&mut TokenSettings)) -> (Token, Secret) {
    drop(generate::secret(&hsm.token(&hsm.faulty()), "root", None).unwrap());
    let mut settings = hsm.settings(&hsm.faulty());
    change(&mut settings);
    let token = Token::open(settings).unwrap();
    let root = root(&token);
    (token, root)
}

fn signer(settings: &mut TokenSettings) {
    settings.isolation = Isolation::Process {
        program: std::env::current_exe().unwrap(),
        // What follows is for the signer, and to the test harness names of tests that are not there.
        arguments: [SIGNER, "--exact", "--nocapture", "--"]
            .map(str::to_owned)
            .to_vec(),
    };
}

#[test]
fn without_a_socket_there_is_no_signer() {
    with_softhsm(|hsm| {
        let settings = hsm.settings(&hsm.faulty());
        if std::env::args().any(|argument| argument == "--inherited") {
            return serve_inherited(&settings).unwrap();
        }
        assert!(
            serve_inherited(&settings).is_err(),
            "descriptor 0 is no socket"
        );
    });
}

#[test]
fn a_signer_derives_the_same_and_another_one_after_it_crashed() {
    with_softhsm(|hsm| {
        let token = hsm.token(&hsm.faulty());
        let here = derive(&generate::secret(&token, "root", None).unwrap(), b"x").unwrap();
        raise_generation(&token, &uri(ROOT), Raise::Revoke).unwrap();
        let mut settings = hsm.settings(&hsm.faulty());
        signer(&mut settings);
        settings.hang_timeout = Duration::from_secs(2);
        let away = Token::open(settings).unwrap();
        let root = root(&away);
        assert_eq!(derive(&root, b"x").unwrap(), here);
        let revoked = Generation {
            current: 1,
            floor: 1,
        };
        assert_eq!(step::wait(root.generation()).unwrap(), revoked);
        let error = away.secret(&uri("pkcs11:object=none"), Extractable::Refuse);
        let told = error.expect_err("no such secret").to_string();
        assert!(told.contains("object=root"), "{told}");

        hsm.faults("crash_every = 1");
        let error = derive(&root, b"x").expect_err("the signer ends");
        assert!(error.to_string().contains("signer"), "{error}");
        hsm.faults("");
        until("another signer derives", || derive(&root, b"x").is_ok());
        assert_eq!(derive(&root, b"x").unwrap(), here);
    });
}

#[test]
fn a_deadline_holds_and_a_failure_costs_a_session() {
    with_softhsm(|hsm| {
        let (token, root) = faulty(hsm, |settings| {
            settings.deadline = Duration::from_millis(300);
        });
        let before = derive(&root, b"x").unwrap();
        hsm.faults("hang_every = 1");
        let start = Instant::now();
        let error = derive(&root, b"x").expect_err("hangs");
        assert!(matches!(error, HsmError::Deadline { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2));
        hsm.faults("error_every = 1\nerror_code = 0xB3");
        let error = derive(&root, b"x").expect_err("fails");
        assert_eq!(
            error.to_string(),
            "C_Sign failed: CKR_SESSION_HANDLE_INVALID"
        );
        hsm.faults("");
        until("it is back", || token.health().state == TokenState::Up);
        until("it derives", || derive(&root, b"x").is_ok());
        assert_eq!(derive(&root, b"x").unwrap(), before);
    });
}

#[test]
fn a_token_that_was_away_derives_again_and_one_that_is_gone_refuses_at_once() {
    with_softhsm(|hsm| {
        let (token, root) = faulty(hsm, |_| {});
        let before = derive(&root, b"x").unwrap();
        hsm.faults("token_gone = 1");
        until("it is away", || {
            let start = Instant::now();
            let failed = derive(&root, b"x").is_err();
            assert!(start.elapsed() < Duration::from_secs(5));
            failed && token.health().state != TokenState::Up
        });
        assert!(step::wait(root.generation()).is_err());
        hsm.faults("");
        until("it is back", || derive(&root, b"x").is_ok());
        assert_eq!(derive(&root, b"x").unwrap(), before);
    });
}

/// `edge` behind the fault module and `spare` in a library of its own, with these secrets.
fn pair(hsm: &Hsm, values: [u8; 2]) -> [Token; 2] {
    let faulty = hsm.token(&hsm.faulty());
    let library = hsm.file("libspare.so");
    fs::copy(hsm.softhsm(), &library).unwrap();
    let so_pin = PinSource::File(hsm.file("so-pin")).read().unwrap();
    let pin = hsm.pin().read().unwrap();
    init_token(&library, SlotChoice::Free, "spare", &so_pin, &pin).unwrap();
    let mut settings = hsm.settings(&library);
    settings.name = "spare".to_owned();
    settings.select = TokenSelect::Label("spare".to_owned());
    let spare = Token::open(settings).unwrap();
    let tokens = [faulty, spare];
    for ((token, module), value) in tokens.iter().zip([hsm.faulty(), library]).zip(values) {
        let session = beside(&module, token);
        session
            .create_object(&template("root", &[value; 32]))
            .unwrap();
    }
    tokens
}

#[test]
fn members_with_different_secrets_are_no_group() {
    with_softhsm(|hsm| {
        let group = Group::new("pair", pair(hsm, [1, 2]).to_vec(), None);
        let error = group.secret(&uri(ROOT), Extractable::Refuse);
        let error = error.expect_err("two secrets");
        assert!(matches!(error, HsmError::GroupKeysDiffer { .. }), "{error}");
        assert!(error.to_string().contains("`pair`"), "{error}");
    });
}

#[test]
fn a_member_derives_for_another_and_the_highest_generation_of_those_there_counts() {
    with_softhsm(|hsm| {
        let [faulty, spare] = pair(hsm, [1, 1]);
        raise_generation(&spare, &uri(ROOT), Raise::Rotate).unwrap();
        let group = Group::new("pair", vec![faulty.clone(), spare], None);
        let root = group.secret(&uri(ROOT), Extractable::Refuse).unwrap();
        let before = derive(&root, b"x").unwrap();
        let raised = Generation {
            current: 1,
            floor: 0,
        };
        assert_eq!(step::wait(root.generation()).unwrap(), raised);
        hsm.faults("error_every = 1");
        for _ in 0..20 {
            assert_eq!(derive(&root, b"x").unwrap(), before);
        }
        assert!(group.failovers() > 0);
        assert_eq!(step::wait(root.generation()).unwrap(), raised);
        hsm.faults("");
        until("the member is back", || {
            faulty.health().state == TokenState::Up
        });
        assert_eq!(group.generation(&uri(ROOT)).unwrap(), raised);
    });
}

#[test]
fn a_member_that_returns_with_another_secret_derives_nothing() {
    with_softhsm(|hsm| {
        let [faulty, spare] = pair(hsm, [1, 2]);
        hsm.faults("token_gone = 1");
        until("it is away", || {
            let _ = faulty.list();
            faulty.health().state != TokenState::Up
        });
        // Only the spare is looked at now; what the other one holds is seen when it returns.
        let group = Group::new("pair", vec![faulty.clone(), spare], None);
        let root = group.secret(&uri(ROOT), Extractable::Refuse).unwrap();
        let ours = derive(&root, b"x").unwrap();
        hsm.faults("");
        until("it is back", || faulty.health().state == TokenState::Up);
        for _ in 0..10 {
            assert_eq!(derive(&root, b"x").unwrap(), ours);
        }
        assert!(group.failovers() > 0, "it was asked");
        let error = group.secret(&uri(ROOT), Extractable::Refuse);
        assert!(matches!(error, Err(HsmError::GroupKeysDiffer { .. })));
    });
}
