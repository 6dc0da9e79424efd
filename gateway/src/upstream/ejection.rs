//! Who is left out, why, and when they come back.
//!
//! Workers tell what failed; what takes time is done by one task of the control runtime, which is woken for it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::error::UpstreamError;
use super::health::Unwell;
use super::target::Target;

/// Steps of a slow start.
const STEPS: u32 = 20;

/// Why an endpoint was ejected: its last failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It took no connection, or was not believed over TLS.
    Connect = 0,
    /// No answer in time.
    Timeout = 1,
    /// The connection ended before the answer, or its HTTP/2 stream did.
    Closed = 2,
    /// The answer was no HTTP.
    Protocol = 3,
}

impl Cause {
    /// Every cause, in order.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Closed, Self::Protocol];

    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }

    /// What an error says against the endpoint; nothing where it is somebody else's.
    pub(super) fn of(error: &UpstreamError) -> Option<Self> {
        match error {
            UpstreamError::Connect(_) => Some(Self::Connect),
            UpstreamError::Timeout => Some(Self::Timeout),
            // hyper does not tell a broken connection from a broken rule.
            UpstreamError::Closed(_) | UpstreamError::Http2(_) => Some(Self::Closed),
            UpstreamError::Head(_) | UpstreamError::Body(_) | UpstreamError::UnexpectedUpgrade => {
                Some(Self::Protocol)
            }
            UpstreamError::Busy | UpstreamError::Client(_) | UpstreamError::NotHttp => None,
        }
    }
}

impl Target {
    /// A request to an endpoint failed.
    pub(super) fn failed(&self, endpoint: &Endpoint, cause: Cause) {
        let settings = &self.settings.ejection;
        if settings.failures == 0 {
            return;
        }
        let row = endpoint.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if row < settings.failures || endpoint.is_ejected() {
            return;
        }
        if !self.eject(endpoint, cause) {
            return;
        }
        let (upstream, at, cause) = (&*self.name, endpoint.label(), cause.as_str());
        tracing::warn!(
            upstream,
            endpoint = at,
            cause,
            "endpoint ejected: requests to it fail"
        );
        self.tell_if_all_are_out();
        self.wake.notify_one();
    }

    /// Leaves an endpoint out, if there is room for it among those that may be.
    fn eject(&self, endpoint: &Endpoint, cause: Cause) -> bool {
        // Nothing is behind the lock that could be broken by a panic.
        let _deciding = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let (settings, endpoints) = (&self.settings.ejection, self.endpoints());
        let ejected = endpoints.iter().filter(|it| it.is_ejected()).count();
        if ejected >= settings.max_share.of(endpoints.len()) {
            return false;
        }
        let back_at = millis(self.age() + settings.period);
        endpoint.back_at.store(back_at, Ordering::Relaxed);
        endpoint.eject(cause)
    }

    /// What an endpoint said when it was asked whether it is well.
    pub(super) fn heard(&self, endpoint: &Endpoint, said: Result<(), Unwell>) {
        let Some(settings) = &self.settings.health else {
            return;
        };
        let (upstream, at) = (&*self.name, endpoint.label());
        match said {
            Ok(()) if endpoint.well(settings.healthy) => {
                tracing::info!(upstream, endpoint = at, "endpoint is well again");
                self.start_slowly(endpoint);
                self.wake.notify_one();
            }
            Err(unwell) if endpoint.unwell(settings.unhealthy) => {
                tracing::warn!(upstream, endpoint = at, cause = %unwell, "endpoint is not well");
                self.tell_if_all_are_out();
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Brings back who was left out for long enough, and warms up who is back; says when to look again.
    pub(super) fn tend(&self) -> Option<Duration> {
        let now = self.age();
        let mut next: Option<Duration> = None;
        let mut look = |wait: Duration| next = Some(next.map_or(wait, |next| next.min(wait)));
        for endpoint in self.endpoints().iter() {
            if endpoint.is_ejected() {
                let back_at = Duration::from_millis(endpoint.back_at.load(Ordering::Relaxed));
                match back_at.checked_sub(now).filter(|wait| !wait.is_zero()) {
                    Some(wait) => look(wait),
                    None => self.take_back(endpoint),
                }
            }
            let since = Duration::from_millis(endpoint.warms_since.load(Ordering::Relaxed));
            if let (Some(whole), false) = (self.settings.slow_start, since.is_zero()) {
                match endpoint.warm_up(now.saturating_sub(since), whole) {
                    true => look((whole / STEPS).max(Duration::from_millis(1))),
                    false => endpoint.warms_since.store(0, Ordering::Relaxed),
                }
            }
        }
        next
    }

    fn take_back(&self, endpoint: &Endpoint) {
        // On probation: the next failure is enough.
        let probation = self.settings.ejection.failures.saturating_sub(1);
        endpoint.failures.store(probation, Ordering::Relaxed);
        self.start_slowly(endpoint);
        endpoint.readmit();
        let (upstream, at) = (&*self.name, endpoint.label());
        tracing::info!(upstream, endpoint = at, "endpoint is used again");
    }

    /// Begins with a small share, where the operator wants that.
    pub(super) fn start_slowly(&self, endpoint: &Endpoint) {
        if let Some(whole) = self.settings.slow_start {
            endpoint.warm_up(Duration::ZERO, whole);
            let now = millis(self.age()).max(1); // 0 means that it does not.
            endpoint.warms_since.store(now, Ordering::Relaxed);
        }
    }

    fn tell_if_all_are_out(&self) {
        if !self.endpoints().iter().any(|endpoint| endpoint.is_up()) {
            let upstream = &*self.name;
            tracing::error!(
                upstream,
                "every endpoint is left out, so all of them are used"
            );
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
