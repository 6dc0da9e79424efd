//! Which keys are wanted at a moment, and which of those that are there seals: plain arithmetic over the clock.
//!
//! What it promises: a ticket that one gateway seals now is opened by another whose clock differs by no more than
//! the tolerated skew, for as long as a ticket lives; no more than a bounded number of keys is wanted, whatever
//! the configuration says; nothing below the floor is wanted or seals.

use portcullis_hsm::Generation;

use super::super::source::Setup;

/// Epochs ahead that are wanted at least: the next one may begin while the token is away, and the one after it.
const EPOCHS_AHEAD: i64 = 2;
/// Keys of a root that are wanted at most: twice what the configuration lets a session last over. Those that
/// are left out open the oldest tickets, which costs a full handshake each.
const KEYS_MOST: usize = 1 << 15;
/// Generations back that are wanted at most, the current one included.
const GENERATIONS: u64 = 4;

/// What tells one key from every other of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct KeyId {
    /// Place of its root in the configuration; the first seals.
    pub(super) root: usize,
    pub(super) generation: u64,
    pub(super) epoch: i64,
}

/// The epoch of a moment.
pub(super) fn epoch(setup: &Setup, now: i64) -> i64 {
    now.div_euclid(length(setup))
}

/// Seconds since the Unix epoch between which a key seals.
pub(super) fn period(setup: &Setup, epoch: i64) -> (i64, i64) {
    let begin = epoch.saturating_mul(length(setup));
    (begin, begin.saturating_add(length(setup)))
}

/// The keys of a root that are wanted at `now`, in the order in which they are to be derived: what seals, what will
/// seal, and what opens, the youngest first.
pub(super) fn wanted(setup: &Setup, root: usize, kept: Generation, now: i64) -> Vec<KeyId> {
    let epoch_at = |moment: i64| epoch(setup, moment);
    let current = epoch_at(now);
    // One more than the skew asks for: until the next look the clock goes on.
    let ahead = epoch_at(now.saturating_add(setup.clock_skew)).saturating_add(1);
    let last = ahead.max(current.saturating_add(EPOCHS_AHEAD));
    let oldest = now
        .saturating_sub(setup.lifetime)
        .saturating_sub(setup.clock_skew);
    // One less: a ring is replaced some time after an epoch has ended, and until then its key seals.
    let first = epoch_at(oldest).saturating_sub(1);
    let of = |generation| {
        let epochs = (current..=last).chain((first..current).rev());
        epochs.map(move |epoch| KeyId {
            root,
            generation,
            epoch,
        })
    };
    let generations = (lowest(kept)..=kept.current).rev();
    generations.flat_map(of).take(KEYS_MOST).collect()
}

/// The lowest generation that opens.
pub(super) fn lowest(kept: Generation) -> u64 {
    kept.floor.max(kept.current.saturating_sub(GENERATIONS - 1))
}

/// The key that seals at `now` out of those that are there: of the first root and its youngest generation the
/// one of this epoch. Without that, while the token has not been away for longer than `max_outage`, the one
/// before it, or if there is none either, since the clock was set back, the one after it.
pub(super) fn seals(
    setup: &Setup,
    there: impl Iterator<Item = KeyId>,
    now: i64,
    last_success: i64,
) -> Option<KeyId> {
    let current = epoch(setup, now);
    let rank = |key: &KeyId| {
        let past = key.epoch <= current;
        let distance = key.epoch.abs_diff(current);
        (key.generation, past, u64::MAX - distance)
    };
    let best = there.filter(|key| key.root == 0).max_by_key(rank)?;
    let within = now.saturating_sub(last_success) <= setup.max_outage;
    (best.epoch == current || within).then_some(best)
}

/// Of what a key is derived: each part after its length, so that no two are made of the same bytes.
pub(super) fn context(setup: &Setup, key: KeyId) -> Vec<u8> {
    let mut context = Vec::with_capacity(64 + setup.fleet.len());
    let parts: [&[u8]; 5] = [
        b"tickets",
        setup.fleet.as_bytes(),
        &setup.generation.to_be_bytes(),
        &key.generation.to_be_bytes(),
        &key.epoch.to_be_bytes(),
    ];
    for part in parts {
        context.extend((part.len() as u64).to_be_bytes());
        context.extend(part);
    }
    context
}

/// Never zero, for it divides.
fn length(setup: &Setup) -> i64 {
    setup.rotate.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn setup(rotate: i64, lifetime: i64, clock_skew: i64) -> Setup {
        Setup {
            fleet: "fleet".to_owned(),
            generation: 0,
            rotate,
            lifetime,
            max_outage: 1000,
            clock_skew,
        }
    }

    const fn of(current: u64, floor: u64) -> Generation {
        Generation { current, floor }
    }

    fn key(generation: u64, epoch: i64) -> KeyId {
        KeyId {
            root: 0,
            generation,
            epoch,
        }
    }

    #[test]
    fn nothing_below_the_floor_is_wanted() {
        let setup = setup(100, 400, 20);
        let lowest = |kept| {
            let wanted = wanted(&setup, 0, kept, 10_000);
            wanted.iter().map(|key| key.generation).min().unwrap()
        };
        assert_eq!(lowest(of(3, 3)), 3);
        assert_eq!(lowest(of(3, 2)), 2);
        assert_eq!(lowest(of(0, 0)), 0);
        assert_eq!(lowest(of(1000, 0)), 1000 - (GENERATIONS - 1));
    }

    #[test]
    fn the_number_of_keys_is_bounded_whatever_is_configured() {
        for (rotate, lifetime, skew) in [
            (1, 7 * 86_400, 3600),
            (0, i64::MAX, i64::MAX),
            (i64::MAX, 1, 0),
        ] {
            for now in [0, 1_800_000_000, i64::MAX / 2] {
                let wanted = wanted(&setup(rotate, lifetime, skew), 0, of(u64::MAX, 0), now);
                let count = wanted.len();
                assert!((1..=KEYS_MOST).contains(&count), "{count}");
            }
        }
    }

    #[test]
    fn what_seals_is_derived_first_and_every_key_once() {
        let setup = setup(100, 400, 20);
        let wanted = wanted(&setup, 0, of(2, 1), 10_050);
        assert_eq!(wanted[..3], [key(2, 100), key(2, 101), key(2, 102)]);
        let epochs: HashSet<_> = wanted.iter().map(|key| key.epoch).collect();
        assert_eq!(epochs, (95..=102).collect());
        assert_eq!(wanted.iter().collect::<HashSet<_>>().len(), wanted.len());
        assert_eq!(wanted.len(), 8 * 2);
    }

    /// A ticket that A seals by its clock is wanted by B by its clock, for as long as it lives, and between two
    /// looks of both.
    #[test]
    fn a_ticket_opens_on_another_gateway_within_skew_and_lifetime() {
        for rotate in [1, 2, 60, 3600] {
            for skew in [0, 1, 30, 120] {
                let setup = setup(rotate, 100, skew);
                let pause = rotate.min(10);
                for a in (1_000_000..1_000_000 + 3 * rotate.min(200)).step_by(7) {
                    let wanted_by = |now| wanted(&setup, 0, of(0, 0), now);
                    let there = wanted_by(a).into_iter();
                    let sealed = seals(&setup, there, a, a).unwrap();
                    for difference in [-skew, -skew / 2, 0, skew] {
                        // B looked up to `pause` ago by its own clock; the ticket is new, or as old as can be.
                        for late in [0, pause] {
                            for age in [0, 50, 100] {
                                let b = a + difference + age;
                                let known = wanted_by(b - late);
                                assert!(
                                    known.contains(&sealed),
                                    "rotate {rotate} skew {skew} a {a} b {b} late {late}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn past_its_end_a_key_seals_on_for_the_outage_and_no_longer() {
        let setup = setup(100, 400, 20);
        let there = [key(0, 100), key(0, 101), key(0, 102)];
        let at = |now| seals(&setup, there.into_iter(), now, 10_050);
        assert_eq!(at(10_050), Some(key(0, 100)));
        assert_eq!(at(10_150), Some(key(0, 101)));
        assert_eq!(at(10_299), Some(key(0, 102)));
        assert_eq!(at(10_300), Some(key(0, 102)), "past its end");
        assert_eq!(at(11_050), Some(key(0, 102)));
        assert_eq!(at(11_051), None, "the outage is too long");
        assert_eq!(at(10_150 - 1000), Some(key(0, 100)), "the clock went back");
    }

    #[test]
    fn a_key_derived_ahead_seals_in_its_epoch_however_long_the_outage() {
        let mut setup = setup(100, 400, 20);
        setup.max_outage = 0;
        let there = [key(0, 100), key(0, 102)];
        let at = |now| seals(&setup, there.into_iter(), now, 10_050);
        assert_eq!(at(10_250), Some(key(0, 102)));
        assert_eq!((at(10_150), at(10_300)), (None, None));
    }

    #[test]
    fn the_youngest_generation_of_the_first_root_seals() {
        let setup = setup(100, 400, 20);
        let other = KeyId {
            root: 1,
            ..key(9, 100)
        };
        let there = [key(1, 100), key(2, 100), key(2, 101), other];
        let sealing = seals(&setup, there.into_iter(), 10_050, 10_050);
        assert_eq!(sealing, Some(key(2, 100)));
        let none = seals(&setup, [other].into_iter(), 10_050, 10_050);
        assert_eq!(none, None);
    }

    #[test]
    fn no_two_keys_have_one_context() {
        let of = |fleet: &str, generation, key| {
            let setup = Setup {
                fleet: fleet.to_owned(),
                generation,
                ..setup(100, 400, 20)
            };
            context(&setup, key)
        };
        let contexts = [
            of("a", 0, key(0, 0)),
            of("b", 0, key(0, 0)),
            of("a", 1, key(0, 0)),
            of("a", 0, key(1, 0)),
            of("a", 0, key(0, 1)),
            of("a\0", 0, key(0, 0)),
            of("", 0, key(0, 0)),
        ];
        let different: HashSet<_> = contexts.iter().collect();
        assert_eq!(different.len(), contexts.len());
        // Two roots are two secrets; and what was derived once must be derived so for ever.
        let expected = b"\0\0\0\0\0\0\0\x07tickets\0\0\0\0\0\0\0\x01a\
            \0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\
            \0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\
            \0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0";
        assert_eq!(contexts[0], expected);
    }
}
