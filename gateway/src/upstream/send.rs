//! A request from its head to the head of its answer: over which endpoint, and again where that is safe.

use std::future::Future;
use std::io;

use http::Request;
use http::request::Parts;
use http::response;

use super::body::{Http2Body, RequestBody, ResponseBody};
use super::error::UpstreamError;
use super::http1::{self, Connection, Outcome};
use super::http2::{Sent, send_over};
use super::pool::{Pool, UpstreamCounters};
use super::retry::Retry;
use super::search::Search;
use super::slot::Slot;
use super::target::Place;
use crate::balance::Ask;
use crate::http1::HeadLimits;
use crate::patience::Wait;

/// What it takes to send a request.
pub(super) struct Sending<'a> {
    pub(super) pool: &'a Pool,
    pub(super) counters: &'a UpstreamCounters,
    pub(super) limits: HeadLimits,
    pub(super) ask: Ask,
}

/// What is thought of connections that were used before.
#[derive(Debug, Clone, Copy)]
enum Pooled {
    /// They are used again.
    Welcome,
    /// One of them turned out to be closed: a fresh one, now.
    Doubtful,
}

type Answer = Result<(response::Parts, ResponseBody), UpstreamError>;

impl Sending<'_> {
    /// Over HTTP/1.1.
    pub(super) fn http1(
        self,
        (parts, mut body): (Parts, RequestBody),
        mut place: Place,
    ) -> impl Future<Output = Answer> {
        let (pool, counters) = (self.pool, self.counters);
        let mut retry = Retry::new(pool, counters, &parts.method, &body);
        let mut exchange = http1::Exchange {
            parts,
            limits: self.limits,
            settings: pool.settings(),
            patience: retry.patience(),
            begun: None,
        };
        let mut search = Search::new(pool, self.ask);
        let mut pooled = Pooled::Welcome;
        // What is made before the block is in it once; the parameters of an async function are there twice.
        async move {
            loop {
                let slot = search.next()?;
                let reached = reach(&mut search, &slot, pooled, counters).await;
                let Some((connection, fresh)) = reached else {
                    continue;
                };
                let since = pool.begin(&slot, &mut place);
                let outcome = exchange.run(connection, body).await;
                retry.begun = exchange.begun;
                body = match outcome {
                    Outcome::Answered(head, _)
                        if retry.declines(head.parts.status)
                            && search.has_other(&slot)
                            && retry.again() =>
                    {
                        search.leave(&slot);
                        RequestBody::Empty
                    }
                    Outcome::Answered(mut head, answer) => {
                        pool.answered(&slot, since);
                        search.mark(&slot, &mut head.parts);
                        return Ok(answer.into_response(*head, &slot, place));
                    }
                    Outcome::Failed(error) => return Err(pool.failed(&slot, error)),
                    Outcome::Unsent(error, unsent) if fresh => {
                        search.failed(&slot, error);
                        unsent
                    }
                    // Closed by the upstream while it was idle, before it read the request: nothing was lost.
                    Outcome::Stale(unsent) | Outcome::Unsent(_, unsent) => {
                        counters.retries.inc();
                        pooled = Pooled::Doubtful;
                        unsent
                    }
                    Outcome::Unanswered(error) => {
                        let error = pool.failed(&slot, error);
                        if !retry.again() {
                            return Err(error);
                        }
                        search.leave(&slot);
                        RequestBody::Empty
                    }
                };
                exchange.patience = retry.patience();
            }
        }
    }

    /// Over HTTP/2.
    pub(super) fn http2(
        self,
        request: Request<RequestBody>,
        mut place: Place,
    ) -> impl Future<Output = Answer> {
        let (pool, counters) = (self.pool, self.counters);
        let mut retry = Retry::new(pool, counters, request.method(), request.body());
        let (parts, body) = request.into_parts();
        // hyper keeps what it was given, so that there is something to send again only if it is copied before.
        let copy = retry.is_possible().then(|| Box::new(parts.clone()));
        let mut next = Some(Request::from_parts(parts, body));
        let mut search = Search::new(pool, self.ask);
        let mut pooled = Pooled::Welcome;
        async move {
            loop {
                let slot = search.next()?;
                let sender = slot.multiplexed.sender(&slot, &mut search, counters);
                let Some(mut sender) = sender.await else {
                    continue;
                };
                let Some(request) = next.take().or_else(|| again(copy.as_deref())) else {
                    return Err(UpstreamError::Closed(io::ErrorKind::BrokenPipe.into()));
                };
                let since = pool.begin(&slot, &mut place);
                let patience = retry.patience();
                let (sent, begun) = send_over(&mut sender, pool.settings(), patience, request);
                retry.begun.get_or_insert(begun);
                match sent.await {
                    Sent::Answered(head, _)
                        if retry.declines(head.status)
                            && search.has_other(&slot)
                            && retry.again() =>
                    {
                        search.leave(&slot);
                    }
                    Sent::Answered(mut head, rest) => {
                        pool.answered(&slot, since);
                        search.mark(&slot, &mut head);
                        let body = rest.map_or(ResponseBody::Empty, |(incoming, upload)| {
                            let wait = Wait::new(pool.settings().body_timeout);
                            let body = Http2Body::new(incoming, wait, upload, place);
                            ResponseBody::Http2(Box::new(body))
                        });
                        return Ok((head, body));
                    }
                    Sent::Unsent(error, unsent) => {
                        slot.multiplexed.forget();
                        next = Some(unsent);
                        if let Pooled::Doubtful = pooled {
                            search.failed(&slot, io::Error::other(error));
                        } else {
                            counters.retries.inc();
                            pooled = Pooled::Doubtful;
                        }
                    }
                    Sent::Failed(error) => {
                        let ours =
                            matches!(error, UpstreamError::Http2(_) | UpstreamError::Timeout);
                        let error = pool.failed(&slot, error);
                        if !ours || copy.is_none() || !retry.again() {
                            return Err(error);
                        }
                        search.leave(&slot);
                    }
                }
            }
        }
    }
}

/// A connection to an endpoint, and whether it is a new one; `None` where it has to be another endpoint.
async fn reach(
    search: &mut Search<'_>,
    slot: &Slot,
    pooled: Pooled,
    counters: &UpstreamCounters,
) -> Option<(Connection, bool)> {
    if let Pooled::Welcome = pooled
        && let Some(connection) = search.take_idle(slot)
    {
        return Some((connection, false));
    }
    let opened = Box::pin(search.connect(slot, counters)).await?;
    Some((Connection::new(opened), true))
}

/// The same request once more, where there is a copy of it.
fn again(copy: Option<&Parts>) -> Option<Request<RequestBody>> {
    copy.map(|parts| Request::from_parts(parts.clone(), RequestBody::Empty))
}
