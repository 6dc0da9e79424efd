//! Whether a client that was let in may stay, and how it is told that it may not.
//!
//! What the handshake asked ends the connection where it does not hold any more; what a route asked beyond it does so
//! where a request in progress rests on it.

use std::cell::Cell;
use std::rc::Weak;

use portcullis_config::ClientCertMode;
use rustls_pki_types::UnixTime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Client, View};
use crate::path::CanonicalPath;
use crate::proxy::worker::Worker;
use crate::reason::Reason;
use crate::snapshot::SiteRules;
use crate::telemetry::RefusalRecord;
use crate::trust::{Demand, Met, Refused};

/// How long a responder has, at least, before it is asked again about a client who is served already.
const ASKING_SECONDS: i64 = 5;

/// That a client has to leave: no new request is served, and those in progress have until a deadline.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    by: Cell<Option<Instant>>,
    reason: Cell<Option<Reason>>,
    bell: Notify,
}

impl Client {
    /// Whether there is a certificate that can cease to be good.
    pub(in crate::proxy) fn can_be_revoked(&self) -> bool {
        !self.shown.chain().is_empty()
    }

    /// Whether the time has come to look at the certificate again.
    pub(in crate::proxy) fn is_past(&self, now: UnixTime) -> bool {
        self.good_until.get() < i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
    }

    /// Looks whether the certificate is still good for the site, and ends the connection where it is not: the client
    /// was revoked, denied or expired, or its CA removed.
    pub(in crate::proxy) fn review(&self, worker: &Worker, now: UnixTime) {
        if self.farewell.by.get().is_some() {
            return;
        }
        let view = self.view(worker);
        let Some(rules) = view.rules() else {
            return; // The site is gone: requests are answered 421.
        };
        if rules.handshake.mode() == ClientCertMode::Ignore {
            return; // The site asks for no certificates any more; routes decide for themselves.
        }
        match rules.handshake.met_by(&self.shown, now) {
            Ok(met) => {
                let again_at = self.again_at(&rules.handshake, &met, now);
                self.good_until.set(again_at);
                if rules.demands.len() > 1 {
                    self.review_routes(worker, (&view, rules), now);
                }
            }
            Err(refused) => self.dismiss(worker, &refused),
        }
    }

    /// The same for what routes asked beyond the handshake: of requests in progress, and of those that are to come.
    fn review_routes(&self, worker: &Worker, (view, rules): (&View, &SiteRules), now: UnixTime) {
        let in_use = self.demands_in_use(rules);
        for (at, demand) in rules.demands.iter().enumerate() {
            let known = view.callers[at].get().is_some_and(Result::is_ok);
            if !in_use[at] && !known {
                continue;
            }
            match demand.met_by(&self.shown, now) {
                Ok(met) => {
                    let again_at = self.again_at(demand, &met, now);
                    self.good_until.set(again_at.min(self.good_until.get()));
                }
                Err(refused) if in_use[at] => return self.dismiss(worker, &refused),
                // The next request is told, for it is decided in a new view.
                Err(_) => drop(self.view.take()),
            }
        }
    }

    /// Which demands of the site requests in progress rest on.
    fn demands_in_use(&self, rules: &SiteRules) -> Vec<bool> {
        let mut resting = self.resting.borrow_mut();
        resting.retain(|rests| rests.strong_count() > 0);
        let mut in_use = vec![false; rules.demands.len()];
        for rests in resting.iter().filter_map(Weak::upgrade) {
            // It is the form that was decided on, which reads as itself.
            let path = CanonicalPath::parse(&rests.0).ok();
            let found = path.and_then(|path| rules.routes.find(&path).map(|found| found.demand));
            in_use[found.unwrap_or(0)] = true;
        }
        in_use
    }

    /// When a client that meets a demand is looked at again. An OCSP answer that ran out is asked for.
    fn again_at(&self, demand: &Demand, met: &Met, now: UnixTime) -> i64 {
        match &met.proof {
            Some(proof) if proof.is_pending() => {
                demand.ask_again(&self.shown);
                let soon = i64::try_from(now.as_secs()).unwrap_or(i64::MAX) + ASKING_SECONDS;
                soon.min(proof.not_after())
            }
            Some(proof) => proof.good_until(),
            None => i64::MAX,
        }
    }

    /// Tells the connection that it has to end.
    fn dismiss(&self, worker: &Worker, refused: &Refused) {
        let limit = worker.snapshot().timeouts.revoked;
        self.farewell.by.set(Some(Instant::now() + limit));
        self.farewell.reason.set(Some(refused.reason));
        self.farewell.bell.notify_waiters();
        worker.shared.metrics.connections_dismissed.inc();
        let detail = match &*refused.detail {
            "" => "the connection ends".to_owned(),
            detail => format!("{detail}; the connection ends"),
        };
        worker.refuse(&RefusalRecord {
            detail: Some(&detail),
            ..RefusalRecord::of_client(refused.reason, &self.facts)
        });
    }

    /// Whether the connection has to end.
    pub(in crate::proxy) fn is_dismissed(&self) -> bool {
        self.farewell.by.get().is_some()
    }

    /// Why the connection has to end, if it has to.
    pub(in crate::proxy) fn dismissed_for(&self) -> Option<Reason> {
        self.farewell.reason.get()
    }

    /// Waits until the connection has to end.
    pub(in crate::proxy) async fn dismissed(&self) {
        if self.farewell.by.get().is_none() {
            self.farewell.bell.notified().await;
        }
    }

    /// Waits until the time of a connection that has to end is over.
    pub(in crate::proxy) async fn overdue(&self) {
        loop {
            match self.farewell.by.get() {
                // Boxed: nearly every connection waits for the bell only.
                Some(by) => return Box::pin(sleep_until(by)).await,
                None => self.farewell.bell.notified().await,
            }
        }
    }
}
