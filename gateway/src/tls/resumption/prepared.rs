//! A handshake that is about to begin, and how it comes out.

use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig};

use super::exchange::Exchange;
use super::stats::Declined;
use crate::trust::{Proof, Shown};

/// A handshake that is about to begin.
pub(crate) struct Prepared {
    /// For rustls.
    pub(in crate::tls) config: Arc<ServerConfig>,
    /// What the handshake goes by; `None` where resumption is off.
    pub(super) exchange: Option<Arc<Exchange>>,
    /// The client of the session that rustls is handed.
    pub(super) returning: Option<Returning>,
    /// Why what was offered is not resumed.
    pub(super) declined: Option<Declined>,
}

/// The client of a session.
pub(super) struct Returning {
    pub(super) shown: Shown,
    /// Its id in the store, which is good for one use.
    pub(super) stored: Option<Vec<u8>>,
}

/// How a handshake came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was offered.
    Fresh,
    /// What was offered was resumed.
    Resumed,
    /// What was offered was not.
    Declined(Declined),
}

impl Prepared {
    /// A handshake at a site without resumption.
    pub(in crate::tls) fn without(config: &Arc<ServerConfig>) -> Self {
        Self {
            config: Arc::clone(config),
            exchange: None,
            returning: None,
            declined: None,
        }
    }

    /// Whether a session is at hand, so that nothing will be signed, unless suite or version do not fit.
    pub(in crate::tls) fn is_returning(&self) -> bool {
        self.returning.is_some()
    }

    /// Takes note of how the handshake goes, before its next step.
    pub(in crate::tls) fn follow(&self, kind: Option<HandshakeKind>, proof: Option<&Proof>) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        exchange.follow(kind);
        if let Some(proof) = proof {
            exchange.set_proof(proof);
        }
    }

    /// Who came, if it was this session that was resumed.
    pub(in crate::tls) fn conclude(self, kind: Option<HandshakeKind>) -> (Option<Shown>, Outcome) {
        match (kind, self.returning) {
            (Some(HandshakeKind::Resumed), Some(returning)) => {
                if let (Some(id), Some(exchange)) = (returning.stored, &self.exchange) {
                    exchange.used(&id);
                }
                (Some(returning.shown), Outcome::Resumed)
            }
            (_, Some(_)) => {
                if let Some(exchange) = &self.exchange {
                    exchange.declined(Declined::Parameters);
                }
                (None, Outcome::Declined(Declined::Parameters))
            }
            (_, None) => (
                None,
                self.declined.map_or(Outcome::Fresh, Outcome::Declined),
            ),
        }
    }
}
