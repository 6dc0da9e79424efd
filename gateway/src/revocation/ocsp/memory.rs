//! What is known about certificates, in two generations: the younger fills up, becomes the elder, and the elder
//! is forgotten. Bounded, and every step takes the same time however much is remembered.

use std::collections::HashMap;

use super::Verdict;
use super::question::CertId;

/// One certificate's status.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) verdict: Verdict,
    /// When the answer was made; `i64::MIN` when there was none.
    pub(super) this_update: i64,
    /// Not used after this.
    pub(super) until: i64,
    /// When somebody last asked.
    pub(super) used: i64,
}

#[derive(Debug)]
pub(super) struct Memory {
    young: HashMap<CertId, Known>,
    old: HashMap<CertId, Known>,
    half: usize,
}

impl Memory {
    pub(super) fn new(entries: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: entries.div_ceil(2).max(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// What is known, also when it is out of date.
    pub(super) fn get(&self, id: &[u8]) -> Option<&Known> {
        self.young.get(id).or_else(|| self.old.get(id))
    }

    /// What is known, for somebody who asks now.
    pub(super) fn ask(&mut self, id: &[u8], now: i64) -> Option<&Known> {
        if !self.young.contains_key(id) {
            let (id, known) = self.old.remove_entry(id)?;
            self.put(id, known);
        }
        let known = self.young.get_mut(id)?;
        known.used = now;
        Some(known)
    }

    pub(super) fn put(&mut self, id: CertId, known: Known) {
        self.old.remove(&id);
        if self.young.len() >= self.half && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_is_remembered_than_allowed_and_what_is_used_stays() {
        let known = Known {
            verdict: Verdict::Good,
            this_update: 0,
            until: 0,
            used: 0,
        };
        let mut memory = Memory::new(10);
        for id in 0..100_u8 {
            memory.put([id].into(), known.clone());
            assert!(memory.len() <= 10);
            assert!(memory.ask(&[0], i64::from(id)).is_some(), "{id}");
        }
        assert!(memory.get(&[1]).is_none());
        assert!(memory.get(&[99]).is_some());
        assert_eq!(memory.get(&[0]).map(|known| known.used), Some(99));
    }
}
