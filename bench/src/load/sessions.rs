//! Sessions to resume, of one client: TLS 1.3 tickets first in, first out and used once; a TLS 1.2 session for each
//! server name.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// What one client keeps. The key share of its hellos is settled, whatever the server chose before.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The most tickets for one server name; 0 keeps nothing.
    bound: usize,
    key_share: NamedGroup,
    kept: Mutex<HashMap<ServerName<'static>, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    tls13: Fifo<Tls13ClientSessionValue>,
    tls12: Option<Tls12ClientSessionValue>,
}

impl Sessions {
    pub(super) fn new(bound: usize, key_share: NamedGroup) -> Self {
        Self {
            bound,
            key_share,
            kept: Mutex::default(),
        }
    }

    /// Nothing here panics while it holds the lock.
    fn kept(&self) -> MutexGuard<'_, HashMap<ServerName<'static>, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        Some(self.key_share)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.bound > 0 {
            self.kept().entry(name).or_default().tls12 = Some(value);
        }
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept().get(name)?.tls12.clone()
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        if let Some(kept) = self.kept().get_mut(name) {
            kept.tls12 = None;
        }
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        if self.bound > 0 {
            let mut kept = self.kept();
            kept.entry(name).or_default().tls13.push(value, self.bound);
        }
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().get_mut(name)?.tls13.take()
    }
}

/// Keeps sessions for others and offers none: a client whose handshakes are full.
#[derive(Debug)]
pub(super) struct Collecting(pub(super) Arc<Sessions>);

impl ClientSessionStore for Collecting {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// First in, first out. The oldest goes where there is no room: it is the next to expire.
#[derive(Debug)]
struct Fifo<T>(VecDeque<T>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Fifo<T> {
    fn push(&mut self, value: T, bound: usize) {
        while self.0.len() >= bound.max(1) {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    fn take(&mut self) -> Option<T> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_taken_once_and_the_oldest_first() {
        let mut fifo = Fifo::default();
        assert_eq!(fifo.take(), None::<u32>);
        (1..=3).for_each(|ticket| fifo.push(ticket, 8));
        assert_eq!([fifo.take(), fifo.take()], [Some(1), Some(2)]);
        fifo.push(4, 8);
        assert_eq!(
            [fifo.take(), fifo.take(), fifo.take()],
            [Some(3), Some(4), None]
        );
    }

    #[test]
    fn where_there_is_no_room_the_oldest_goes() {
        let mut fifo = Fifo::default();
        (1..=9).for_each(|ticket| fifo.push(ticket, 4));
        assert_eq!(fifo.0, [6, 7, 8, 9]);
    }
}
