//! How a bundle came to its verdict about a chain, for people.
//!
//! There is no second verdict: the bundle walks the chain as it does for a client, and the reason it stops with
//! names the check. What it passed on the way was passed, and what comes behind was not reached.

use rustls_pki_types::{CertificateDer, UnixTime};

use super::bundle::Bundle;
use super::checks::{CHECKS, Check};
use super::proof::Proof;
use super::revoked::Asker;
use super::walk::Role;
use super::walk::Stopped;
use crate::revocation::Refused;

/// What a bundle says about a chain, and how far the chain came.
#[derive(Debug, Clone)]
pub struct Account {
    /// The verdict.
    pub verdict: Result<Proof, Refused>,
    /// The path to an anchor, where one was found, also where the chain is refused later.
    pub path: Option<Proof>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is wrong.
    Passed,
    /// The chain is refused because of it.
    Failed,
    /// Nothing is known: another check failed first.
    NotReached,
}

impl Bundle {
    /// What [`super::Demand::verify`] hears from this bundle, and how it comes to that. Learns and counts nothing.
    pub(super) fn account(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Account {
        match self.walk(chain, (now, Asker::Operator), Role::Client) {
            Ok(proof) => Account {
                path: Some(proof.clone()),
                verdict: Ok(proof),
            },
            Err(Stopped { refused, path }) => Account {
                verdict: Err(refused),
                path: path.map(|path| *path),
            },
        }
    }
}

impl Account {
    /// How one check ended. A deny list is the process's and no bundle's: it is never reached here.
    pub fn outcome(&self, check: Check) -> Outcome {
        if check == Check::DenyList {
            return Outcome::NotReached;
        }
        let Err(refused) = &self.verdict else {
            return Outcome::Passed;
        };
        // A reason that belongs to no check would be a defect; then the first one is to blame.
        let failed = Check::of(refused.reason).unwrap_or(Check::Readable);
        let place = |check| CHECKS.iter().position(|known| *known == check);
        if check == failed {
            Outcome::Failed
        } else if check.is_of_path_building() && self.path.is_some() {
            Outcome::Passed
        } else if check.is_of_path_building() || place(check) > place(failed) {
            Outcome::NotReached
        } else {
            Outcome::Passed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn refused(reason: Reason) -> Account {
        Account {
            verdict: Err(Refused {
                reason,
                detail: String::new(),
            }),
            path: None,
        }
    }

    #[test]
    fn one_check_fails_and_nothing_behind_it_is_said_to_pass() {
        for reason in Reason::ALL {
            let (Some(failed), account) = (Check::of(*reason), refused(*reason)) else {
                continue;
            };
            if failed == Check::DenyList {
                continue;
            }
            let outcomes: Vec<_> = CHECKS.iter().map(|it| account.outcome(*it)).collect();
            let count = |wanted| outcomes.iter().filter(|it| **it == wanted).count();
            assert_eq!(count(Outcome::Failed), 1, "{reason}");
            let at = outcomes.iter().position(|it| *it == Outcome::Failed);
            let behind = &outcomes[at.unwrap() + 1..];
            assert!(!behind.contains(&Outcome::Passed), "{reason}");
        }
    }

    #[test]
    fn without_a_path_nothing_is_said_about_the_other_checks_of_path_building() {
        let account = refused(Reason::ClientCertNameConstraint);
        for check in [Check::Validity, Check::Eku, Check::Chain] {
            assert_eq!(account.outcome(check), Outcome::NotReached);
        }
        assert_eq!(account.outcome(Check::Key), Outcome::Passed);
    }
}
