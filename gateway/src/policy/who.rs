//! Which sets of roles a client is in. Rules that name the same roles share one set, so that a request asks
//! only for the numbers of its client's sets.

use std::collections::HashMap;

use portcullis_config::{RoleRef, Rule};

/// The sets of roles that rules are about, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct WhoTable {
    not_roles: Vec<Vec<RoleRef>>,
    anyone: Vec<u32>,
    verified: Vec<u32>,
    by_role: Vec<Vec<u32>>,
}

/// Which roles an identity has; worked out once per connection and snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSet {
    pub(super) verified: bool,
    /// Sorted.
    pub(super) roles: Box<[u32]>,
    /// Numbers of the sets in [`WhoTable`], sorted.
    pub(super) who: Box<[u32]>,
}

impl RoleSet {
    /// Whether the client has this role.
    pub fn has(&self, role: &RoleRef) -> bool {
        match role {
            RoleRef::Anyone => true,
            RoleRef::Verified => self.verified,
            RoleRef::Role(at) => {
                u32::try_from(*at).is_ok_and(|at| self.roles.binary_search(&at).is_ok())
            }
        }
    }
}

impl WhoTable {
    /// The table, and the number of each rule's set.
    pub(super) fn new(rules: &[Rule], roles: usize) -> (Self, Vec<u32>) {
        let mut table = Self {
            by_role: vec![Vec::new(); roles],
            ..Self::default()
        };
        let mut known = HashMap::new();
        let mut numbers = Vec::with_capacity(rules.len());
        for rule in rules {
            let set = (role_keys(&rule.roles), role_keys(&rule.not_roles));
            let number = *known.entry(set).or_insert_with(|| table.add(rule));
            numbers.push(number);
        }
        (table, numbers)
    }

    fn add(&mut self, rule: &Rule) -> u32 {
        let number = u32::try_from(self.not_roles.len()).unwrap_or(u32::MAX);
        self.not_roles.push(rule.not_roles.clone());
        for role in &rule.roles {
            match role {
                RoleRef::Anyone => self.anyone.push(number),
                RoleRef::Verified => self.verified.push(number),
                RoleRef::Role(at) => self.by_role.get_mut(*at).into_iter().for_each(|sets| {
                    sets.push(number);
                }),
            }
        }
        number
    }

    /// The sets of a client with these roles (sorted).
    pub(super) fn role_set(&self, verified: bool, roles: Vec<u32>) -> RoleSet {
        let mut set = RoleSet {
            verified,
            roles: roles.into(),
            who: Box::default(),
        };
        let mut who = self.anyone.clone();
        if verified {
            who.extend(&self.verified);
        }
        let named = set
            .roles
            .iter()
            .flat_map(|at| self.by_role.get(*at as usize));
        who.extend(named.flatten());
        who.sort_unstable();
        who.dedup();
        let excepted = |number: u32| self.not_roles.get(number as usize).into_iter().flatten();
        who.retain(|number| !excepted(*number).any(|role| set.has(role)));
        set.who = who.into();
        set
    }
}

/// Roles as a sorted list that tells equal sets.
fn role_keys(roles: &[RoleRef]) -> Vec<usize> {
    let mut keys: Vec<_> = roles
        .iter()
        .map(|role| match role {
            RoleRef::Anyone => 0,
            RoleRef::Verified => 1,
            RoleRef::Role(at) => at + 2,
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
