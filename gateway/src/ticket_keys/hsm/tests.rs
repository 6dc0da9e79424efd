//! Two gateways and a token, with a clock that is stepped.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use portcullis_hsm::step;

use super::*;

const BOUND: [u8; 32] = [5; 32];
const START: i64 = 1_000_000;

/// A token with a secret, which can be taken away.
#[derive(Debug)]
struct Token {
    name: &'static str,
    away: AtomicBool,
    derived: AtomicUsize,
    generation: Mutex<Generation>,
}

impl Token {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            away: AtomicBool::new(false),
            derived: AtomicUsize::new(0),
            generation: Mutex::default(),
        })
    }

    fn raise(&self, current: u64, floor: u64) {
        *self.generation.lock().unwrap() = Generation { current, floor };
    }

    fn there(&self) -> Result<(), HsmError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(HsmError::Closed {
                token: self.name.to_owned(),
            }),
            false => Ok(()),
        }
    }

    fn derived(&self) -> usize {
        self.derived.swap(0, Ordering::Relaxed)
    }
}

impl Root for Arc<Token> {
    fn place(&self) -> &str {
        self.name
    }

    async fn derive(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, HsmError> {
        self.there()?;
        self.derived.fetch_add(1, Ordering::Relaxed);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.name.as_bytes());
        let made = hmac::sign(&key, context);
        Ok(Zeroizing::new(made.as_ref().try_into().unwrap()))
    }

    async fn generation(&self) -> Result<Generation, HsmError> {
        self.there()?;
        Ok(*self.generation.lock().unwrap())
    }
}

/// A gateway: a source, and the ring it gave last.
struct Gateway {
    source: Hsm<Arc<Token>>,
    ring: KeyRing,
}

impl Gateway {
    /// Epochs of 100 seconds, tickets that live for 250, an outage of 500.
    fn start(tokens: &[&Arc<Token>], now: i64) -> Result<Self, TicketKeysError> {
        let setup = Setup {
            fleet: "fleet".to_owned(),
            generation: 0,
            rotate: 100,
            lifetime: 250,
            max_outage: 500,
            clock_skew: 20,
        };
        let roots = tokens.iter().map(|token| Arc::clone(token)).collect();
        let mut source = Hsm::new(setup, roots);
        let look = step::wait(source.begin(now))?;
        let ring = look.ring.expect("the first ring");
        Ok(Self { source, ring })
    }

    fn look(&mut self, now: i64) -> Status {
        let look = step::wait(self.source.look(now));
        if let Some(ring) = look.ring {
            self.ring = ring;
        }
        look.status
    }

    fn seal(&self) -> Option<Vec<u8>> {
        let key = self.ring.seals()?;
        assert_eq!(key.versions(), Versions::Tls13, "a key that comes again");
        key.seal(&BOUND, b"session")
    }

    fn opens(&self, ticket: &[u8]) -> bool {
        self.ring.open(&BOUND, ticket).is_ok()
    }
}

#[test]
fn without_its_token_a_source_does_not_begin_and_says_whose_fault_it_is() {
    let token = Token::new("root");
    token.away.store(true, Ordering::Relaxed);
    let error = Gateway::start(&[&token], START)
        .map(drop)
        .expect_err("away");
    assert!(error.0.contains("`root`"), "{error}");
}

#[test]
fn a_ticket_of_one_gateway_opens_on_another_through_rotations_and_restarts() {
    let token = Token::new("root");
    let mut here = Gateway::start(&[&token], START).unwrap();
    let mut there = Gateway::start(&[&token], START - 20).unwrap();
    for now in (START..START + 1000).step_by(10) {
        here.look(now);
        there.look(now - 20);
        for (from, to) in [(&here, &there), (&there, &here)] {
            let ticket = from.seal().expect("a key");
            assert!(to.opens(&ticket), "at {now}");
        }
        let ticket = here.seal().unwrap();
        let restarted = Gateway::start(&[&token], now + 230).unwrap();
        assert!(restarted.opens(&ticket), "at {now}");
    }
    let stranger = Gateway::start(&[&Token::new("other")], START + 990).unwrap();
    assert!(!stranger.opens(&here.seal().unwrap()));
}

#[test]
fn within_an_epoch_nothing_is_derived_and_the_ring_loses_a_key_at_most() {
    let token = Token::new("root");
    let mut gateway = Gateway::start(&[&token], START).unwrap();
    assert!(token.derived() > 3);
    let mut rings = 0;
    for now in START..START + 100 {
        let look = step::wait(gateway.source.look(now));
        rings += usize::from(look.ring.is_some());
        assert!(look.again <= Duration::from_secs(10));
    }
    assert_eq!((token.derived(), rings), (0, 1));
    gateway.look(START + 100);
    assert_eq!(token.derived(), 1, "the one after next");
}

#[test]
fn an_outage_takes_no_ticket_away_and_ends_the_sealing_in_the_end() {
    let token = Token::new("root");
    let mut gateway = Gateway::start(&[&token], START).unwrap();
    gateway.look(START + 50);
    token.away.store(true, Ordering::Relaxed);
    let mut tickets: Vec<(i64, Vec<u8>)> = Vec::new();
    for now in (START + 60..START + 1200).step_by(10) {
        let status = gateway.look(now);
        assert!(status.error.is_some_and(|error| error.contains("`root`")));
        for (sealed, ticket) in &tickets {
            let young = now - sealed <= 250;
            assert!(gateway.opens(ticket) || !young, "of {sealed} at {now}");
        }
        let ticket = gateway.seal();
        assert_eq!(ticket.is_some(), now <= START + 550, "at {now}");
        tickets.extend(ticket.map(|ticket| (now, ticket)));
    }
    assert!(gateway.ring.opens().is_empty(), "all tickets are old");
    token.away.store(false, Ordering::Relaxed);
    let status = gateway.look(START + 1200);
    assert_eq!(status.error, None);
    assert!(status.failures > 100 && gateway.seal().is_some());
}

#[test]
fn what_was_sealed_in_an_outage_opens_after_it() {
    let token = Token::new("root");
    let mut gateway = Gateway::start(&[&token], START).unwrap();
    token.away.store(true, Ordering::Relaxed);
    for now in (START..=START + 490).step_by(10) {
        gateway.look(now);
    }
    let ticket = gateway.seal().unwrap();
    token.away.store(false, Ordering::Relaxed);
    for now in (START + 500..START + 1000).step_by(10) {
        gateway.look(now);
        let opens = gateway.opens(&ticket);
        assert!(opens || now > START + 500 + 250, "at {now}");
        assert!(!opens || now <= START + 500 + 250 + 20, "at {now}");
    }
}

#[test]
fn a_rotation_keeps_tickets_and_a_revocation_ends_them_for_ever() {
    let token = Token::new("root");
    let mut gateway = Gateway::start(&[&token], START).unwrap();
    let mut other = Gateway::start(&[&token], START).unwrap();
    let first = gateway.seal().unwrap();
    token.raise(1, 0);
    let done = step::wait(gateway.source.rotate(Rotation::Keep, START + 10)).unwrap();
    assert!(
        done.contains("generation 1 of the token seals in 12 s"),
        "{done}"
    );
    let status = gateway.look(START + 10);
    assert_eq!(status.generation, Some((1, 0)));
    // Not before everybody has looked.
    assert_eq!(gateway.seal().unwrap()[..9], first[..9]);
    other.look(START + 10 + LOOK);
    assert_eq!(other.seal().unwrap()[..9], first[..9]);
    gateway.look(START + 10 + kept::HEAD_START);
    let second = gateway.seal().unwrap();
    assert_ne!(first[..9], second[..9]);
    assert!(gateway.opens(&first) && gateway.opens(&second) && other.opens(&second));
    let kept = step::wait(gateway.source.rotate(Rotation::Revoke, START + 22));
    assert!(kept.is_err_and(|error| error.contains("accepts generation 0")));
    token.raise(2, 2);
    let done = step::wait(gateway.source.rotate(Rotation::Revoke, START + 23)).unwrap();
    assert!(done.contains("generation 2 of the token seals;"), "{done}");
    gateway.look(START + 23);
    let third = gateway.seal().unwrap();
    assert!(!gateway.opens(&first) && !gateway.opens(&second) && gateway.opens(&third));
    // A token that was restored from a backup brings nothing back.
    token.raise(0, 0);
    let status = gateway.look(START + 30);
    assert!(status.error.is_some_and(|error| error.contains("had 2")));
    assert!(!gateway.opens(&first) && gateway.opens(&third));
    assert_eq!(gateway.seal().unwrap()[..9], third[..9]);
}

#[test]
fn a_revocation_that_is_seen_just_before_an_outage_ends_tickets_all_the_same() {
    let token = Token::new("root");
    let mut gateway = Gateway::start(&[&token], START).unwrap();
    let first = gateway.seal().unwrap();
    let generation = Generation {
        current: 1,
        floor: 1,
    };
    gateway.source.roots[0].note(generation, START + 5);
    token.away.store(true, Ordering::Relaxed);
    gateway.look(START + 10);
    assert!(!gateway.opens(&first) && gateway.seal().is_none());
}

#[test]
fn an_older_root_opens_and_does_not_seal_and_may_be_gone() {
    let (old, new) = (Token::new("old"), Token::new("new"));
    old.raise(3, 2);
    let before = Gateway::start(&[&old], START).unwrap();
    let ticket = before.seal().unwrap();
    let mut both = Gateway::start(&[&new, &old], START).unwrap();
    assert!(both.opens(&ticket));
    let alone = Gateway::start(&[&new], START).unwrap();
    assert!(alone.opens(&both.seal().unwrap()), "the first one seals");
    old.away.store(true, Ordering::Relaxed);
    for now in (START..START + 2000).step_by(100) {
        let status = both.look(now);
        assert!(status.error.is_some_and(|error| error.contains("`old`")));
        assert!(both.seal().is_some(), "at {now}");
    }
}

#[test]
fn a_clock_that_is_set_back_seals_on_and_does_not_prolong_an_outage() {
    let token = Token::new("root");
    let mut gateway = Gateway::start(&[&token], START).unwrap();
    let ticket = gateway.seal().unwrap();
    gateway.look(START - 1000);
    assert!(gateway.seal().is_some());
    gateway.look(START);
    assert!(gateway.opens(&ticket));
    token.away.store(true, Ordering::Relaxed);
    gateway.look(START - 400);
    assert!(gateway.seal().is_some(), "with a key of later");
    gateway.look(START + 101);
    assert!(gateway.seal().is_some(), "with the key of its epoch");
    gateway.look(START + 301);
    assert!(
        gateway.seal().is_none(),
        "701 seconds after {}",
        START - 400
    );
}

#[test]
fn thousands_of_keys_are_derived_bit_by_bit_and_what_seals_first() {
    let token = Token::new("root");
    let setup = Setup {
        rotate: 1,
        lifetime: 1000,
        clock_skew: 0,
        ..Gateway::start(&[&token], START).unwrap().source.setup
    };
    token.derived();
    let mut source = Hsm::new(setup, vec![Arc::clone(&token)]);
    let look = step::wait(source.begin(START)).unwrap();
    assert_eq!((token.derived(), look.again), (DERIVED, Duration::ZERO));
    assert!(look.ring.unwrap().seals().is_some());
    for _ in 0..3 {
        step::wait(source.look(START));
    }
    let look = step::wait(source.look(START));
    assert_eq!(look.again, Duration::from_secs(1));
    // The epochs of a lifetime, this one, two ahead, and one more.
    assert_eq!(source.keys.len(), 1000 + 1 + 2 + 1);
}
