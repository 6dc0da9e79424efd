//! The way of one request to an endpoint that takes a connection.
//!
//! Who does not is not asked again for this request; the next choice is among the others. Until then no byte of the
//! request was written, so this is right for every method.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::response;
use tokio::time::Instant;

use super::connect::{connect, share};
use super::ejection::Cause;
use super::error::UpstreamError;
use super::http1::Connection;
use super::pool::{Pool, UpstreamCounters};
use super::slot::Slot;
use super::sticky;
use super::stream::Stream;
use super::tls::Trusted;
use crate::balance::Ask;

/// Endpoints that may be silent before the last gets all the time that is left.
const SHARES: usize = 3;

/// Looks for an endpoint.
pub(super) struct Search<'a> {
    pool: &'a Pool,
    ask: Ask,
    /// Names of endpoints that did not take a connection.
    tried: Vec<u64>,
    /// Of all attempts to connect; set by the first.
    end: Option<Instant>,
    last: Option<io::Error>,
}

impl<'a> Search<'a> {
    pub(super) fn new(pool: &'a Pool, ask: Ask) -> Self {
        let now = pool.time();
        Self {
            pool,
            ask: Ask { now, ..ask },
            tried: Vec::new(),
            end: None,
            last: None,
        }
    }

    /// The endpoint to try next.
    pub(super) fn next(&mut self) -> Result<Rc<Slot>, UpstreamError> {
        let late = |end: Instant| Instant::now() >= end;
        let over = !self.tried.is_empty() && self.end.is_some_and(late);
        let found = (!over).then(|| self.pool.choose(&self.ask, &self.tried));
        found.flatten().ok_or_else(|| {
            let none = || io::ErrorKind::AddrNotAvailable.into();
            UpstreamError::Connect(self.last.take().unwrap_or_else(none))
        })
    }

    /// A connection of it that waits to be used again.
    pub(super) fn take_idle(&self, slot: &Slot) -> Option<Connection> {
        slot.take_idle(self.pool.settings().idle_timeout, self.pool.epoch())
    }

    /// Connects to it; `None` where it has to be another one.
    pub(super) async fn connect(
        &mut self,
        slot: &Slot,
        counters: &UpstreamCounters,
    ) -> Option<(Stream, Trusted)> {
        let timeout = self.connect_timeout();
        let end = *self.end.get_or_insert_with(|| Instant::now() + timeout);
        let left = self.pool.slots().len().saturating_sub(self.tried.len());
        let tls = self.pool.tls();
        match connect(&slot.endpoint, tls.as_deref(), share(end, left.min(SHARES))).await {
            Ok(opened) => {
                counters.connections.inc();
                Some(opened)
            }
            Err(error) => {
                self.failed(slot, error);
                None
            }
        }
    }

    /// Of what is believed of the service now.
    pub(super) fn epoch(&self) -> u64 {
        self.pool.epoch()
    }

    /// How long a connection may take to come about.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.pool.settings().connect_timeout
    }

    /// It took no connection, or one that was none.
    pub(super) fn failed(&mut self, slot: &Slot, error: io::Error) {
        self.pool.blame(slot, Cause::Connect);
        self.tried.push(slot.endpoint.name);
        self.last = Some(error);
    }

    /// Whether there is one to ask instead of this.
    pub(super) fn has_other(&self, slot: &Slot) -> bool {
        let slots = self.pool.slots();
        let mut others = slots
            .iter()
            .filter(|it| it.endpoint.name != slot.endpoint.name);
        others.any(|it| it.endpoint.is_up() && !self.tried.contains(&it.endpoint.name))
    }

    /// Goes on to another one, which has the whole time to connect. Where all were tried they are tried again.
    pub(super) fn leave(&mut self, slot: &Slot) {
        self.tried.push(slot.endpoint.name);
        if self.tried.len() >= self.pool.slots().len() {
            self.tried.clear();
        }
        self.end = None;
        self.ask.sticky = None;
    }

    /// Has the client come back to where its answer is from.
    pub(super) fn mark(&self, slot: &Slot, head: &mut response::Parts) {
        let name = slot.endpoint.name;
        if let Some(cookie) = &self.pool.settings().sticky
            && self.ask.sticky != Some(name)
        {
            sticky::set(&mut head.headers, cookie, name);
        }
    }
}
