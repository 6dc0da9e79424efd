//! Where a connection comes from, and what that alone says in records.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::identity::ClientIdentity;
use crate::snapshot::{Snapshot, normalize_host};
use crate::telemetry::access_log::ConnectionFacts;
use crate::tls::HandedOn;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    /// The client, as a trusted proxy announced it where one stands in front.
    pub(super) client: SocketAddr,
    /// The other end of the socket.
    pub(super) peer: SocketAddr,
    /// Whether it is the connection of a trusted proxy for itself.
    pub(super) own: Own,
}

/// Whether a trusted proxy connects for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Yes,
    No,
}

impl From {
    /// What records say of a connection for a name that is passed through.
    pub(super) fn facts(
        self,
        handed_on: &HandedOn,
        listener: &Arc<str>,
        snapshot: &Snapshot,
    ) -> Option<ConnectionFacts> {
        let names = snapshot.rules.listener(listener)?.names.as_ref()?;
        let passthrough = names.passthrough_of(&normalize_host(&handed_on.server_name))?;
        let passthrough = snapshot.rules.passthroughs[passthrough].name();
        let identity = match self.own {
            Own::Yes => ClientIdentity::Local,
            Own::No => ClientIdentity::Unterminated,
        };
        let at = (listener, passthrough.into());
        let mut facts = ConnectionFacts::unterminated(self.client, at, identity);
        facts.proxy = self.proxy();
        Some(facts)
    }

    /// The proxy that announced the client.
    pub(super) fn proxy(self) -> Option<IpAddr> {
        (self.client != self.peer).then(|| self.peer.ip())
    }
}
