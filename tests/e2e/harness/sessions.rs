//! A client's memory of sessions that serves an attacker: every session for every server, and none ever ends.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{ServerName, UnixTime};

/// The sessions; also the clock of their client, which stands still so that none of them expires.
pub(crate) struct Sessions {
    born: UnixTime,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    tls12: Option<Tls12ClientSessionValue>,
    /// The oldest goes first. Each is good for one use: rustls lets nobody copy it.
    tls13: VecDeque<Tls13ClientSessionValue>,
    /// Learns nothing more.
    closed: bool,
    offered: usize,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            born: UnixTime::now(),
            kept: Mutex::default(),
        }
    }

    /// What is there now is all it will ever offer.
    pub(crate) fn close(&self) {
        self.kept().closed = true;
    }

    /// How often a session was offered.
    pub(crate) fn offered(&self) -> usize {
        self.kept().offered
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        let mut kept = self.kept();
        if !kept.closed {
            kept.tls12 = Some(value);
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let mut kept = self.kept();
        kept.offered += usize::from(kept.tls12.is_some());
        kept.tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        if !kept.closed {
            kept.tls13.push_back(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.kept();
        let taken = kept.tls13.pop_front();
        kept.offered += usize::from(taken.is_some());
        taken
    }
}

impl TimeProvider for Sessions {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.born)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
