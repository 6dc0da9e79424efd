//! What the pool costs against a bare loop of `C_SignInit` and `C_Sign` on the same module in the same run.
//!
//! Rounds are interleaved and the best pair of neighbours is not chosen: medians are. Run in release, with
//! nothing else on the machine (`make exams`).
#![expect(
    unsafe_code,
    reason = "the loop to be measured against calls the module itself"
)]

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, ObjectClass};
use cryptoki_sys::{CK_FUNCTION_LIST, CK_MECHANISM, CKM_ECDSA, CKR_OK};
use portcullis_hsm::{Key, KeyKind, QueueBound, Sessions, Token, step};
use rustls::SignatureScheme;

use crate::harness::{Hsm, LABEL, count, with_softhsm};
use crate::keys::make;
use crate::steps::cpu;

/// Short and many, for the machine's own speed drifts within seconds.
const ROUNDS: usize = 25;
const ROUND: Duration = Duration::from_millis(200);
/// Longer where 64 callers fill and drain a queue that takes 32 ms.
const LONG_ROUND: Duration = Duration::from_secs(1);

/// The functions of a module, called with nothing in between.
struct Bare {
    list: CK_FUNCTION_LIST,
    _library: libloading::Library,
}

impl Bare {
    fn load(module: &Path) -> Bare {
        type Get = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> cryptoki_sys::CK_RV;
        // SAFETY: a PKCS#11 module, loaded by the token of this test already.
        let library = unsafe { libloading::Library::new(module) }.unwrap();
        let mut list = std::ptr::null_mut();
        // SAFETY: the one symbol that every module has, with its type; `list` is a local.
        let rv = unsafe { library.get::<Get>(b"C_GetFunctionList\0").unwrap()(&raw mut list) };
        assert_eq!(rv, CKR_OK);
        // SAFETY: CKR_OK, so it points to the module's table.
        let list = unsafe { *list };
        Bare {
            list,
            _library: library,
        }
    }

    /// `C_SignInit` and `C_Sign` with a buffer at once.
    fn sign(&self, session: &cryptoki::session::Session, key: cryptoki::object::ObjectHandle) {
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_ECDSA,
            pParameter: std::ptr::null_mut(),
            ulParameterLen: 0,
        };
        let (mut data, mut signature, mut len) = ([7_u8; 32], [0_u8; 128], 128);
        let init = self.list.C_SignInit.unwrap();
        let sign = self.list.C_Sign.unwrap();
        // SAFETY: an open session of this thread, and locals that outlive the calls.
        let rv = unsafe { init(session.handle(), &raw mut mechanism, key.handle()) };
        assert_eq!(rv, CKR_OK);
        let (data, signature) = (data.as_mut_ptr(), signature.as_mut_ptr());
        // SAFETY: as above; the buffer is as long as it says.
        let rv = unsafe { sign(session.handle(), data, 32, signature, &raw mut len) };
        assert_eq!((rv, len), (CKR_OK, 64));
    }
}

/// Signatures a second of `threads` bare loops.
fn bare(module: &Path, token: &Token, threads: usize, round: Duration) -> f64 {
    let pkcs11 = cryptoki::context::Pkcs11::new(module).unwrap();
    let slot = token.info().slot.try_into().unwrap();
    let bare = Bare::load(module);
    at_once(("bare", round), threads, |end| {
        let session = pkcs11.open_ro_session(slot).unwrap();
        let private = Attribute::Class(ObjectClass::PRIVATE_KEY);
        let key = session.find_objects(&[private]).unwrap()[0];
        let mut made = 0;
        while Instant::now() < end {
            bare.sign(&session, key);
            made += 1;
        }
        made
    })
}

/// Signatures a second of `callers` that wait for the pool.
fn pooled(key: &Key, callers: usize, round: Duration) -> f64 {
    at_once(("caller", round), callers, |end| {
        let scheme = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let signer = key.signing_key().choose_scheme(&scheme).unwrap();
        let mut made = 0;
        while Instant::now() < end {
            signer.sign(b"message").unwrap();
            made += 1;
        }
        made
    })
}

/// Signatures a second of one thread that has this many steps in flight, as a network thread has.
fn stepped(key: &Key, steps: usize) -> f64 {
    let scheme = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let begin = || {
        let signer = key.signing_key().choose_scheme(&scheme).unwrap();
        Box::pin(step::run(move || signer.sign(b"message").unwrap()))
    };
    at_once(("network", ROUND), 1, |end| {
        let waking = Arc::new(Waking(thread::current()));
        let waker = Waker::from(waking);
        let mut cx = Context::from_waker(&waker);
        let mut running: Vec<_> = (0..steps).map(|_| begin()).collect();
        let mut made = 0;
        while Instant::now() < end {
            let before = made;
            for step in &mut running {
                // The next one is queued at once, as a network thread would.
                while step.as_mut().poll(&mut cx).is_ready() {
                    made += 1;
                    *step = begin();
                }
            }
            if made == before {
                thread::park();
            }
        }
        made
    })
}

/// Wakes the thread that serves the steps.
struct Waking(Thread);

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn at_once(
    (name, round): (&str, Duration),
    threads: usize,
    work: impl Fn(Instant) -> u32 + Sync,
) -> f64 {
    let barrier = Barrier::new(threads);
    let begun = Instant::now();
    let total: u32 = thread::scope(|scope| {
        let one = || {
            barrier.wait();
            work(Instant::now() + round)
        };
        let spawn = |_| {
            let named = thread::Builder::new().name(name.to_owned());
            named.spawn_scoped(scope, one).unwrap()
        };
        let all: Vec<_> = (0..threads).map(spawn).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
    f64::from(total) / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Interleaved: pool, bare, pool, bare. The median ratio, told with its spread.
fn ratio(what: &str, mut pool: impl FnMut() -> f64, mut bare: impl FnMut() -> f64) -> f64 {
    let pairs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (pool(), bare())).collect();
    let ratios: Vec<f64> = pairs.iter().map(|(pool, bare)| pool / bare).collect();
    let (low, high) = ratios
        .iter()
        .fold((f64::MAX, 0.0), |(low, high): (f64, f64), r| {
            (low.min(*r), high.max(*r))
        });
    let middle = median(ratios);
    let of = |pick: fn(&(f64, f64)) -> f64| median(pairs.iter().map(pick).collect());
    eprintln!(
        "EXAM {what}: pool {:.0}/s, bare {:.0}/s, ratio {middle:.3} ({low:.3}..{high:.3})",
        of(|pair| pair.0),
        of(|pair| pair.1)
    );
    middle
}

fn token(hsm: &Hsm, module: &Path, sessions: usize) -> (Token, Key) {
    hsm.init(module, LABEL);
    let mut settings = hsm.settings(module);
    settings.sessions = match sessions {
        0 => Sessions::Auto,
        n => Sessions::Count(count(n)),
    };
    settings.queue = QueueBound::Count(count(1024));
    let token = Token::open(settings).unwrap();
    let key = make(&token, KeyKind::EcdsaP256, "site");
    (token, key)
}

#[test]
fn exams_a_pool_keeps_four_slow_engines_busy() {
    with_softhsm(|hsm| {
        let module = hsm.faulty();
        let (token, key) = token(hsm, &module, 4);
        for (what, more) in [
            ("2 ms x 4 engines, 64 callers", ""),
            ("... length query charged", "charge_length_query = 1\n"),
        ] {
            hsm.faults(&format!("delay_us = 2000\nengines = 4\n{more}"));
            let ratio = ratio(
                what,
                || pooled(&key, 64, LONG_ROUND),
                || bare(&module, &token, 4, LONG_ROUND),
            );
            assert!(ratio >= 0.97, "{ratio}");
        }
    });
}

#[test]
fn exams_a_pool_of_a_fast_token_costs_little() {
    with_softhsm(|hsm| {
        let module = hsm.softhsm().to_owned();
        let (token, key) = token(hsm, &module, 0);
        let sessions = token.tune().unwrap();
        eprintln!("EXAM SoftHSM: {sessions} sessions measured");
        ratio(
            "SoftHSM P-256, 8 threads that wait",
            || pooled(&key, 8, ROUND),
            || bare(&module, &token, 8, ROUND),
        );
        let ratio = ratio(
            "SoftHSM P-256, 8 steps of one network thread",
            || stepped(&key, 8),
            || bare(&module, &token, 8, ROUND),
        );
        assert!(ratio >= 0.95, "{ratio}");
    });
}

#[test]
fn exams_one_caller_waits_little_longer_for_a_pool() {
    with_softhsm(|hsm| {
        let module = hsm.softhsm().to_owned();
        let (token, key) = token(hsm, &module, 2);
        let (mut latency, mut cost) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let time = |work: &dyn Fn() -> f64| {
                let before = cpu();
                let rate = work();
                let made = rate * ROUND.as_secs_f64();
                (1e6 / rate, (cpu() - before).as_secs_f64() * 1e6 / made)
            };
            let pool = time(&|| pooled(&key, 1, ROUND));
            let bare = time(&|| bare(&module, &token, 1, ROUND));
            latency.push(pool.0 - bare.0);
            cost.push(pool.1 - bare.1);
        }
        let (latency, cost) = (median(latency), median(cost));
        eprintln!("EXAM SoftHSM P-256, one caller: {latency:.1} us later, {cost:.1} us more CPU");
        assert!(latency <= 60.0, "{latency}");
        assert!(cost <= 15.0, "{cost}");
    });
}
