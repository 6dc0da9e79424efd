//! Who is inside with a certificate, so that a revocation reaches those too who ask for nothing.

mod rota;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::time::Instant;

use self::rota::Rota;
use super::client::Client;
use super::worker::Worker;

/// How long one look may take: the worker has requests to serve. What is left waits for the next look.
const SLICE: Duration = Duration::from_millis(2);

/// How often everybody is looked at, also when nothing seems to have changed: lists and answers run out.
const ROUND: Duration = Duration::from_secs(30);

/// The connections of a worker whose clients showed a certificate.
#[derive(Debug, Default)]
pub(super) struct Register {
    clients: RefCell<Rota<Weak<Client>>>,
    /// Whose certificate ran out.
    past: RefCell<Vec<Weak<Client>>>,
    /// The second in which it was looked whose did: no certificate ends within one.
    counted: Cell<u64>,
    /// Generation and epoch of the last change.
    seen: Cell<(u64, u64)>,
    /// When everybody's turn last came.
    round: Cell<Option<Instant>>,
}

/// Whether somebody is left to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Somebody is: look again soon.
    Some,
    /// Nobody is.
    None,
}

impl Register {
    /// Takes in a client, if there is something about it that can change.
    pub(super) fn enter(&self, client: &Rc<Client>) {
        if client.can_be_revoked() {
            self.clients.borrow_mut().enter(Rc::downgrade(client));
        }
    }

    /// Looks after everybody: at those whose certificate ran out, and, after a reload or a revocation, at all.
    pub(super) fn look(&self, worker: &Worker) -> Left {
        let end = Instant::now() + SLICE;
        let snapshot = worker.snapshot();
        let sites = snapshot.rules.sites.iter();
        let epoch = sites.fold(0, |sum: u64, site| sum.wrapping_add(site.handshake.epoch()));
        let now = UnixTime::now();
        self.count(now);
        let change = (snapshot.generation, epoch);
        let changed = self.seen.replace(change) != change;
        let round = self.round.get().is_none_or(|last| last.elapsed() >= ROUND);
        if changed || round {
            self.round.set(Some(Instant::now()));
            // Goes on from where it is: those who wait for their turn must not lose it to the next change.
            self.clients.borrow_mut().everybody();
        }
        while let Some(client) = self.next() {
            if let Some(client) = client.upgrade() {
                client.review(worker, now);
            }
            if Instant::now() >= end {
                break;
            }
        }
        match self.clients.borrow().is_done() && self.past.borrow().is_empty() {
            true => Left::None,
            false => Left::Some,
        }
    }

    fn next(&self) -> Option<Weak<Client>> {
        let past = self.past.borrow_mut().pop();
        past.or_else(|| self.clients.borrow_mut().next())
    }

    /// Once a second: forgets who left, and finds whose certificate ran out.
    fn count(&self, now: UnixTime) {
        if self.counted.replace(now.as_secs()) == now.as_secs() {
            return;
        }
        let mut past = Vec::new();
        self.clients.borrow_mut().retain(|entry| {
            let Some(client) = entry.upgrade() else {
                return false;
            };
            if client.is_past(now) && !client.is_dismissed() {
                past.push(Weak::clone(entry));
            }
            true
        });
        self.past.replace(past);
    }
}
