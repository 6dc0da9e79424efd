//! The generation of a secret: a counter kept in the token beside it, which ends what was derived before.
//!
//! What it promises: reading takes the highest that is there, so that neither a member that was missed nor an
//! object left behind by an interrupted change brings an ended generation back.

use serde::{Deserialize, Serialize};

/// Which generation derives now, and from which on what was derived still counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The one that derives.
    pub current: u64,
    /// The oldest that is still accepted; at most [`Self::current`].
    pub floor: u64,
}

impl Generation {
    /// The higher of both, number by number.
    #[must_use]
    pub fn max(self, other: Generation) -> Generation {
        let floor = self.floor.max(other.floor);
        Generation {
            current: self.current.max(other.current).max(floor),
            floor,
        }
    }

    /// `CKA_VALUE` of its object: both numbers, big endian.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let both = u128::from(self.current) << 64 | u128::from(self.floor);
        both.to_be_bytes()
    }

    /// What a value says; `None` if it is of another form.
    pub(crate) fn from_bytes(value: &[u8]) -> Option<Generation> {
        let (current, floor) = value.split_first_chunk::<8>()?;
        let read = Generation {
            current: u64::from_be_bytes(*current),
            floor: u64::from_be_bytes(floor.try_into().ok()?),
        };
        (read.floor <= read.current).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::Generation;

    const fn of(current: u64, floor: u64) -> Generation {
        Generation { current, floor }
    }

    #[test]
    fn what_is_no_generation_is_not_read_as_one() {
        for value in [
            &[][..],
            &[0; 15],
            &[0; 17],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
        ] {
            assert_eq!(Generation::from_bytes(value), None, "{value:?}");
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for written in [of(0, 0), of(7, 3), of(u64::MAX, u64::MAX), of(1 << 40, 1)] {
            assert_eq!(Generation::from_bytes(&written.to_bytes()), Some(written));
        }
    }

    #[test]
    fn of_two_the_higher_numbers_count() {
        assert_eq!(of(5, 1).max(of(4, 4)), of(5, 4));
        assert_eq!(of(2, 0).max(of(9, 7)), of(9, 7));
        assert_eq!(Generation::default().max(of(0, 0)), of(0, 0));
    }
}
