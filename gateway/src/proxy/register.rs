//! Who is inside with a certificate, so that a revocation reaches those too who ask for nothing.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::time::Instant;

use super::client::Client;
use super::worker::Worker;

/// How long one look may take: the worker has requests to serve. What is left waits for the next look.
const SLICE: Duration = Duration::from_millis(2);

/// How often everybody is looked at, also when nothing seems to have changed: lists and answers run out.
const ROUND: Duration = Duration::from_secs(30);

/// The connections of a worker whose clients showed a certificate.
#[derive(Debug, Default)]
pub(super) struct Register {
    clients: RefCell<Vec<Weak<Client>>>,
    /// Who is still to be looked at since the last change.
    due: RefCell<Vec<Weak<Client>>>,
    /// Generation and epoch of the last change.
    seen: Cell<(u64, u64)>,
    /// When everybody was last put on the list.
    round: Cell<Option<Instant>>,
}

impl Register {
    /// Takes in a client, if there is something about it that can change.
    pub(super) fn enter(&self, client: &Rc<Client>) {
        if client.can_be_revoked() {
            self.clients.borrow_mut().push(Rc::downgrade(client));
        }
    }

    /// Looks after everybody: at those whose certificate ran out, and, after a reload or a revocation, at all.
    pub(super) fn look(&self, worker: &Worker) {
        let snapshot = worker.snapshot();
        let sites = snapshot.rules.sites.iter();
        let epoch = sites.fold(0, |sum: u64, site| sum.wrapping_add(site.handshake.epoch()));
        let now = UnixTime::now();
        let mut clients = self.clients.borrow_mut();
        let mut due = self.due.borrow_mut();
        clients.retain(|client| client.strong_count() > 0);
        let changed =
            self.seen.replace((snapshot.generation, epoch)) != (snapshot.generation, epoch);
        let round = self.round.get().is_none_or(|last| last.elapsed() >= ROUND);
        if changed || round {
            self.round.set(Some(Instant::now()));
            due.clone_from(&clients);
        } else if due.is_empty() {
            // Not beside those who are left from the look before: they would be looked at twice.
            let past = |client: &&Weak<Client>| {
                let client = client.upgrade();
                client.is_some_and(|client| client.is_past(now) && !client.is_dismissed())
            };
            due.extend(clients.iter().filter(past).cloned());
        }
        drop(clients);
        let end = Instant::now() + SLICE;
        while let Some(client) = due.pop() {
            if let Some(client) = client.upgrade() {
                client.review(worker, now);
            }
            if Instant::now() >= end {
                break;
            }
        }
    }
}
