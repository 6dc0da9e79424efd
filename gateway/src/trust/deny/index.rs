//! The deny list as it is looked up.

use std::collections::{HashMap, HashSet};

use portcullis_config::parse_sha256;

use super::{DenyKind, Parts};
use crate::identity::{Identity, spiffe_matches};

/// For lookups. Values are `until`.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) sha256: HashMap<[u8; 32], Option<u64>>,
    pub(super) serial: HashMap<String, Option<u64>>,
    pub(super) spiffe: HashMap<String, Option<u64>>,
    pub(super) patterns: Vec<(String, Option<u64>)>,
}

impl Index {
    pub(super) fn new(parts: &Parts) -> Self {
        let mut index = Self::default();
        for sum in &parts.configured.sha256 {
            index.sha256.insert(*sum, None);
        }
        for serial in &parts.configured.serial {
            index.serial.insert(serial.clone(), None);
        }
        for id in &parts.configured.spiffe {
            index.add_spiffe(id, None);
        }
        for entry in &parts.added {
            match entry.kind {
                DenyKind::Sha256 => {
                    if let Ok(sum) = parse_sha256(&entry.value) {
                        index.sha256.entry(sum).or_insert(entry.until);
                    }
                }
                DenyKind::Serial => {
                    index
                        .serial
                        .entry(entry.value.clone())
                        .or_insert(entry.until);
                }
                DenyKind::Spiffe => index.add_spiffe(&entry.value, entry.until),
            }
        }
        index
    }

    fn add_spiffe(&mut self, id: &str, until: Option<u64>) {
        if id.ends_with('*') {
            self.patterns.push((id.to_owned(), until));
        } else {
            self.spiffe.entry(id.to_owned()).or_insert(until);
        }
    }

    /// The entry that denies, in words.
    pub(super) fn find(&self, identity: &Identity, now: u64) -> Option<String> {
        let holds = |until: &&Option<u64>| until.is_none_or(|until| now < until);
        if self.sha256.get(&identity.sha256).filter(holds).is_some() {
            return Some(format!("sha256 {}", identity.sha256_hex()));
        }
        if self.serial.get(&identity.serial).filter(holds).is_some() {
            return Some(format!("serial {}", identity.serial));
        }
        // Every URI counts: a second one must not hide the first.
        let ids: HashSet<&str> = identity.uris.iter().map(String::as_str).collect();
        if let Some(id) = ids
            .iter()
            .find(|id| self.spiffe.get(**id).filter(holds).is_some())
        {
            return Some(format!("spiffe {id}"));
        }
        let matching = |(pattern, until): &&(String, Option<u64>)| {
            holds(&until) && ids.iter().any(|id| spiffe_matches(pattern, id))
        };
        let (pattern, _) = self.patterns.iter().find(matching)?;
        Some(format!("spiffe {pattern}"))
    }
}
