//! The keys of a fleet as they lie in a store, and what has to be added when.
//!
//! A key seals from its time until the next one's. At any time the next is there for a whole epoch already, so that
//! every gateway has read it before one seals with it. Plain: time comes in, bytes go out.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Rotation;
use super::key_file::Bytes32;
use super::scope::append;
use super::source::Setup;
use super::wrap::WrapKeys;

const FORMAT: u8 = 1;

/// Keys of one record: the oldest go first. With the defaults there are seven.
pub(super) const KEYS_MAX: usize = 512;

/// Larger is no record of ours.
const SIZE_MAX: usize = 256 * 1024;

/// One key and when it begins to seal.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SharedKey {
    pub(super) id: u64,
    pub(super) from: i64,
    pub(super) secret: Bytes32,
}

/// The keys of a fleet, by the time they begin.
#[derive(Clone, Default)]
pub(super) struct Shared {
    /// Counts the writes.
    pub(super) version: u64,
    /// The lowest id that opens.
    pub(super) floor: u64,
    pub(super) keys: Vec<SharedKey>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u8,
    version: u64,
    floor: u64,
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    id: u64,
    from: i64,
    wrapped: String,
}

impl Shared {
    /// Reads a record, all or nothing.
    pub(super) fn read(raw: &[u8], wrap: &WrapKeys, fleet: &str) -> Result<Self, String> {
        let record: Option<Record> = match raw.len() > SIZE_MAX {
            true => None,
            false => serde_json::from_slice(raw).ok(),
        };
        let record = record.filter(|record| record.format == FORMAT);
        let record = record.ok_or("what lies there is no record of ticket keys of this version")?;
        let keys = record.keys.iter().map(|entry| {
            let wrapped = STANDARD.decode(&entry.wrapped).ok();
            let bound = bound(fleet, entry.id, entry.from);
            let secret = wrapped.and_then(|wrapped| wrap.unwrap(&bound, &wrapped));
            secret.map(|secret| SharedKey {
                id: entry.id,
                from: entry.from,
                secret,
            })
        });
        let keys: Option<Vec<SharedKey>> = keys.collect();
        let keys =
            keys.ok_or("the keys there do not unwrap: is `wrap` the same on every gateway?")?;
        // The numbers of keys are bound to them, the floor is not: one that is out of reach would make every key to
        // come one that no revocation ends.
        let highest = keys.iter().map(|key| key.id).max();
        if highest.is_some_and(|highest| record.floor > highest) {
            return Err("the lowest key that opens there was never made".to_owned());
        }
        let mut shared = Self {
            version: record.version,
            floor: record.floor,
            keys,
        };
        shared.raise(record.floor);
        shared.sort();
        Ok(shared)
    }

    /// The record.
    pub(super) fn write(&self, wrap: &WrapKeys, fleet: &str) -> Result<Vec<u8>, String> {
        let entry = |key: &SharedKey| {
            let wrapped = wrap.wrap(&bound(fleet, key.id, key.from), &key.secret);
            wrapped.map(|wrapped| Entry {
                id: key.id,
                from: key.from,
                wrapped: STANDARD.encode(wrapped),
            })
        };
        let keys: Option<Vec<Entry>> = self.keys.iter().map(entry).collect();
        let record = Record {
            format: FORMAT,
            version: self.version,
            floor: self.floor,
            keys: keys.ok_or("the system has no randomness")?,
        };
        serde_json::to_vec(&record).map_err(|error| error.to_string())
    }

    /// What opened below this does not any more.
    pub(super) fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.keys.retain(|key| key.id >= self.floor);
    }

    /// Adds the keys of this and the next epoch where they are missing; tells whether they were. A key that is made late,
    /// after an outage, seals `head_start` seconds from now, when every gateway has it: until then the last one does.
    pub(super) fn advance(
        &mut self,
        setup: &Setup,
        (now, head_start): (i64, i64),
    ) -> Result<bool, String> {
        let rotate = setup.rotate;
        let begin = |at: i64| at.div_euclid(rotate) * rotate;
        // What a gateway with a wrong clock made for a far day is no reason to make nothing until then.
        let believed = now + 2 * rotate + setup.clock_skew;
        let mut added = false;
        loop {
            let mut known = self.keys.iter().rev();
            let last = known.find(|key| key.from <= believed);
            let end = last.map(|last| begin(last.from) + rotate);
            if end.is_some_and(|end| end > now + rotate) {
                return Ok(added);
            }
            let from = end.map(|end| end.max(now + head_start));
            self.add(from.unwrap_or_else(|| begin(now)))?;
            added = true;
        }
    }

    /// Replaces the key that seals, from `from` on, and those to come.
    pub(super) fn rotate(&mut self, rotation: Rotation, now: i64, from: i64) -> Result<(), String> {
        match rotation {
            Rotation::Keep => self.keys.retain(|key| key.from <= now),
            Rotation::Revoke => self.raise(self.next_id()),
        }
        self.add(from)
    }

    /// Leaves out what no ticket needs any more.
    pub(super) fn prune(&mut self, setup: &Setup, now: i64) {
        let needed = self.needed(setup, now);
        let most = self.keys.len().saturating_sub(KEYS_MAX);
        self.keys.drain(..most.max(needed));
    }

    /// Where the keys begin that still open: one stopped to seal when the next one began, and opens for as long
    /// as the tickets live that it sealed.
    pub(super) fn needed(&self, setup: &Setup, now: i64) -> usize {
        let over = now - setup.lifetime - setup.clock_skew;
        let next = self.keys.iter().skip(1);
        next.take_while(|next| next.from < over).count()
    }

    /// The place of the key that seals: the last that has begun, or the first.
    pub(super) fn seals(&self, now: i64) -> usize {
        let begun = self.keys.iter().take_while(|key| key.from <= now).count();
        begun.saturating_sub(1)
    }

    fn add(&mut self, from: i64) -> Result<(), String> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).map_err(|_| "the system has no randomness".to_owned())?;
        let id = self.next_id();
        self.keys.push(SharedKey { id, from, secret });
        self.sort();
        Ok(())
    }

    fn next_id(&self) -> u64 {
        let highest = self.keys.iter().map(|key| key.id).max();
        self.floor.max(highest.unwrap_or(0).saturating_add(1))
    }

    fn sort(&mut self) {
        self.keys.sort_by_key(|key| (key.from, key.id));
    }
}

/// What a wrapped key is bound to.
fn bound(fleet: &str, id: u64, from: i64) -> Vec<u8> {
    let mut bound = b"portcullis ticket key v1\0".to_vec();
    append(&mut bound, fleet.as_bytes());
    bound.extend_from_slice(&id.to_be_bytes());
    bound.extend_from_slice(&from.to_be_bytes());
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: Setup = Setup {
        fleet: String::new(),
        generation: 0,
        rotate: 100,
        lifetime: 250,
        max_outage: 1000,
        clock_skew: 10,
    };

    fn froms(shared: &Shared) -> Vec<i64> {
        shared.keys.iter().map(|key| key.from).collect()
    }

    #[test]
    fn a_record_of_another_fleet_or_tampered_with_is_not_read() {
        let wrap = WrapKeys::of(&[1]);
        let mut shared = Shared::default();
        shared.advance(&SETUP, (1010, 0)).unwrap();
        let raw = shared.write(&wrap, "a").unwrap();
        let read = Shared::read(&raw, &wrap, "a").unwrap();
        assert!(read.keys == shared.keys);
        assert!(Shared::read(&raw, &wrap, "b").is_err());
        assert!(Shared::read(&raw, &WrapKeys::of(&[2]), "a").is_err());
        assert!(Shared::read(b"{}", &wrap, "a").is_err());
        let text = String::from_utf8(raw).unwrap();
        for (from, to) in [
            ("\"floor\":0", "\"floor\":3"),
            ("\"floor\":0", "\"floor\":18446744073709551615"),
            ("1000", "1001"),
            ("\"id\":1", "\"id\":3"),
            ("\"format\":1", "\"format\":2"),
        ] {
            let tampered = text.replace(from, to);
            assert_ne!(text, tampered);
            assert!(Shared::read(tampered.as_bytes(), &wrap, "a").is_err());
        }
    }

    #[test]
    fn the_next_key_is_there_for_a_whole_epoch_before_it_seals() {
        let mut shared = Shared::default();
        assert!(shared.advance(&SETUP, (1010, 0)).unwrap());
        assert_eq!(froms(&shared), [1000, 1100]);
        let mut seen = froms(&shared);
        for now in 1011..3000 {
            let added = shared.advance(&SETUP, (now, 0)).unwrap();
            assert_eq!(added, now % 100 == 0, "at {now}");
            shared.prune(&SETUP, now);
            let sealing = shared.keys[shared.seals(now)].from;
            assert_eq!(sealing, now / 100 * 100);
            assert!(seen.contains(&sealing));
            seen = froms(&shared);
            assert!(shared.keys.len() <= 5, "{seen:?}");
            // A ticket that is 250 seconds old, by a clock that is ten seconds behind.
            assert!(seen[0] <= (now - 260).max(1000) / 100 * 100);
        }
    }

    #[test]
    fn after_a_long_outage_a_key_is_made_that_seals_when_every_gateway_has_it() {
        let mut shared = Shared::default();
        shared.advance(&SETUP, (1010, 0)).unwrap();
        shared.advance(&SETUP, (9_999, 10)).unwrap();
        assert_eq!(froms(&shared), [1000, 1100, 10_009]);
        let sealing = |now| shared.keys[shared.seals(now)].from;
        assert_eq!((sealing(10_008), sealing(10_009)), (1100, 10_009));
        shared.prune(&SETUP, 9_999);
        // The last before the outage may have sealed until a moment ago.
        assert_eq!(froms(&shared), [1100, 10_009]);
    }

    #[test]
    fn a_gateway_whose_clock_is_years_ahead_does_not_stop_the_others() {
        let mut shared = Shared::default();
        shared.advance(&SETUP, (1_000_000, 0)).unwrap();
        assert!(shared.advance(&SETUP, (1010, 0)).unwrap());
        assert_eq!(froms(&shared)[..2], [1000, 1100]);
        assert_eq!(shared.keys[shared.seals(1010)].from, 1000);
        assert!(!shared.advance(&SETUP, (1011, 0)).unwrap());
    }

    #[test]
    fn a_rotation_replaces_what_is_to_come_and_a_revocation_everything() {
        let mut shared = Shared::default();
        shared.advance(&SETUP, (1010, 0)).unwrap();
        let ids = |shared: &Shared| shared.keys.iter().map(|key| key.id).collect::<Vec<_>>();
        shared.rotate(Rotation::Keep, 1020, 1030).unwrap();
        shared.advance(&SETUP, (1020, 0)).unwrap();
        assert_eq!(froms(&shared), [1000, 1030, 1100]);
        assert_eq!(ids(&shared), [1, 2, 3]);
        assert_eq!(shared.seals(1029), 0);
        assert_eq!(shared.seals(1030), 1);
        shared.rotate(Rotation::Revoke, 1040, 1040).unwrap();
        shared.advance(&SETUP, (1040, 0)).unwrap();
        assert_eq!((ids(&shared), shared.floor), (vec![4, 5], 4));
        assert_eq!(froms(&shared), [1040, 1100]);
    }

    #[test]
    fn short_epochs_and_long_lives_are_bounded() {
        let mut shared = Shared::default();
        let setup = Setup {
            rotate: 1,
            lifetime: 604_800,
            ..SETUP
        };
        for now in 0..2000 {
            shared.advance(&setup, (now, 0)).unwrap();
            shared.prune(&setup, now);
        }
        assert_eq!(shared.keys.len(), KEYS_MAX);
        let raw = shared.write(&WrapKeys::of(&[1]), "a").unwrap();
        assert!(raw.len() < SIZE_MAX / 2, "{}", raw.len());
    }
}
