//! Keys of this process alone: forgotten with it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::source::Setup;
use super::{KeyRing, Look, Rotation, Status, TicketKey, TicketKeysError, Versions};

/// Makes a key for each epoch, and keeps it for as long as a ticket lives.
#[derive(Debug)]
pub struct Random {
    setup: Setup,
    /// Made here; the newest, which seals, last.
    keys: Vec<Arc<TicketKey>>,
    /// Keys of an earlier source, and until when they open. None of them seals: an operator who left a source may
    /// have had a reason.
    known: Vec<(Arc<TicketKey>, Option<i64>)>,
    made: i64,
    failures: u64,
}

impl Random {
    pub(super) fn new(setup: Setup, known: Vec<Arc<TicketKey>>) -> Self {
        Self {
            setup,
            keys: Vec::new(),
            known: known.into_iter().map(|key| (key, None)).collect(),
            made: 0,
            failures: 0,
        }
    }

    /// Those that were made here; the newest, which seals, is the last.
    pub(super) fn keys(&self) -> &[Arc<TicketKey>] {
        &self.keys
    }

    pub(super) fn look(&mut self, now: i64) -> Result<Look, TicketKeysError> {
        let Setup {
            rotate, lifetime, ..
        } = self.setup;
        let over = |key: &Arc<TicketKey>| now >= key.period().1;
        if self.keys.last().is_none_or(over) {
            self.make(now)?;
        }
        // A key outlives its period by the life of the tickets it sealed.
        self.keys
            .retain(|key| now < key.period().1.saturating_add(lifetime));
        // One of an earlier source sealed until now at most.
        for (key, until) in &mut self.known {
            until.get_or_insert(key.period().1.min(now).saturating_add(lifetime));
        }
        self.known
            .retain(|(_, until)| until.is_none_or(|until| now < until));
        let known = self.known.iter().map(|(key, _)| key);
        let opens = self.keys.iter().chain(known).cloned().collect();
        let newest = self.keys.last().cloned();
        let left = newest.as_ref().map_or(rotate, |key| key.period().1 - now);
        Ok(Look {
            ring: Some(KeyRing::new(newest, opens)),
            status: self.status(None),
            again: Duration::from_secs(u64::try_from(left.clamp(1, 3600)).unwrap_or(1)),
        })
    }

    pub(super) fn look_again(&mut self, now: i64) -> Look {
        self.look(now).unwrap_or_else(|error| {
            self.failures += 1;
            Look {
                ring: None,
                status: self.status(Some(error.0)),
                again: Duration::from_secs(1),
            }
        })
    }

    pub(super) fn rotate(&mut self, rotation: Rotation, now: i64) -> Result<String, String> {
        if rotation == Rotation::Revoke {
            self.keys.clear();
            self.known.clear();
        }
        self.make(now).map_err(|error| error.0)?;
        Ok(match rotation {
            Rotation::Keep => "another key seals; older tickets still open",
            Rotation::Revoke => "another key seals; older tickets do not open any more",
        }
        .to_owned())
    }

    fn make(&mut self, now: i64) -> Result<(), TicketKeysError> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut *secret)
            .map_err(|_| TicketKeysError("the system has no randomness".to_owned()))?;
        self.made += 1;
        let name = format!("random {}", self.made);
        let period = (now, now.saturating_add(self.setup.rotate));
        let key = TicketKey::new(&secret, Versions::All, name, period);
        self.keys.push(Arc::new(key));
        Ok(())
    }

    fn status(&self, error: Option<String>) -> Status {
        Status {
            source: "random",
            place: "this process".to_owned(),
            error,
            generation: None,
            epoch: Some(self.made),
            failures: self.failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Random {
        let setup = Setup {
            fleet: String::new(),
            generation: 0,
            rotate: 100,
            lifetime: 250,
            max_outage: 0,
            clock_skew: 0,
        };
        Random::new(setup, Vec::new())
    }

    fn sealed(look: &Look) -> Vec<u8> {
        let ring = look.ring.as_ref().unwrap();
        ring.seals().unwrap().seal(&[0; 32], b"").unwrap()
    }

    #[test]
    fn a_ticket_opens_for_its_lifetime_and_not_for_ever() {
        let mut source = source();
        let ticket = sealed(&source.look(1000).unwrap());
        for (now, opens) in [(1050, true), (1200, true), (1349, true), (1350, false)] {
            let ring = source.look(now).unwrap().ring.unwrap();
            assert_eq!(ring.open(&[0; 32], &ticket).is_ok(), opens, "at {now}");
            assert!(ring.opens().len() <= 4);
        }
    }

    #[test]
    fn a_key_of_an_earlier_source_opens_for_a_while_and_never_seals() {
        // As out of a file, without an end, and as derived ahead for an epoch to come.
        for period in [(900, i64::MAX), (1100, 1200)] {
            let name = "earlier".to_owned();
            let earlier = TicketKey::new(&[7; 32], Versions::All, name, period);
            let ticket = earlier.seal(&[0; 32], b"").unwrap();
            let mut source = Random::new(source().setup, vec![Arc::new(earlier)]);
            for (now, opens) in [(1000, true), (1249, true), (1250, false)] {
                let look = source.look(now).unwrap();
                assert_ne!(sealed(&look)[..9], ticket[..9]);
                let ring = look.ring.unwrap();
                assert_eq!(ring.open(&[0; 32], &ticket).is_ok(), opens, "at {now}");
            }
        }
    }

    #[test]
    fn a_rotation_keeps_tickets_and_a_revocation_ends_them() {
        let mut source = source();
        let ticket = sealed(&source.look(1000).unwrap());
        source.rotate(Rotation::Keep, 1001).unwrap();
        let look = source.look(1001).unwrap();
        assert_ne!(sealed(&look)[..9], ticket[..9]);
        assert!(look.ring.unwrap().open(&[0; 32], &ticket).is_ok());
        source.rotate(Rotation::Revoke, 1002).unwrap();
        let ring = source.look(1002).unwrap().ring.unwrap();
        assert!(ring.open(&[0; 32], &ticket).is_err());
    }
}
