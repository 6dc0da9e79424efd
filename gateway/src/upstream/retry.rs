//! Whether a request that was sent may be sent again, and how long a try may take.
//!
//! Only what is idempotent and has no body: a service that saw it already takes no harm. What never left needs no
//! such permission.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::body::RequestBody;
use super::pool::{Pool, UpstreamCounters};

/// The tries of one request.
pub(super) struct Retry<'a> {
    pool: &'a Pool,
    counters: &'a UpstreamCounters,
    /// How often it may be sent again.
    left: u32,
    /// When the first try waited for its answer.
    pub(super) begun: Option<Instant>,
}

impl<'a> Retry<'a> {
    pub(super) fn new(
        pool: &'a Pool,
        counters: &'a UpstreamCounters,
        method: &Method,
        body: &RequestBody,
    ) -> Self {
        pool.budget().earn();
        let left = match is_safe(method, body) {
            true => pool.settings().retries.attempts,
            false => 0,
        };
        Self {
            pool,
            counters,
            left,
            begun: None,
        }
    }

    /// How long the next try may wait for the head of its answer.
    pub(super) fn patience(&self) -> Duration {
        let whole = self.remaining();
        match self.pool.settings().retries.per_try {
            Some(limit) if self.is_possible() => whole.min(limit),
            _ => whole,
        }
    }

    /// Whether it may be sent again after a failure.
    pub(super) fn is_possible(&self) -> bool {
        self.left > 0 && self.pool.budget().is_good()
    }

    /// Sends it again, if it may: this counts.
    pub(super) fn again(&mut self) -> bool {
        if self.left == 0 || self.remaining().is_zero() {
            return false;
        }
        if !self.pool.budget().spend() {
            self.counters.over_budget.inc();
            return false;
        }
        self.left -= 1;
        self.counters.retries.inc();
        true
    }

    /// Whether this answer counts as none.
    pub(super) fn declines(&self, status: StatusCode) -> bool {
        let on = &self.pool.settings().retries.on;
        !on.is_empty() && self.left > 0 && on.contains(&status.as_u16())
    }

    /// Of the response timeout, which holds for all tries together.
    fn remaining(&self) -> Duration {
        let whole = self.pool.settings().response_timeout;
        let begun = self.begun.map(|begun| begun.elapsed());
        begun.map_or(whole, |past| whole.saturating_sub(past))
    }
}

/// RFC 9110, section 9.2.2; and there is nothing that was streamed and is gone.
pub(super) fn is_safe(method: &Method, body: &RequestBody) -> bool {
    method.is_idempotent() && matches!(body, RequestBody::Empty)
}
