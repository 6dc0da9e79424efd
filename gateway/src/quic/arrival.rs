//! Datagrams that belong to no connection: the beginning of one, or strays.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use quinn_proto::{ConnectionId, DatagramEvent, Endpoint, Incoming};

use super::keys::Keys;
use super::routes::{Datagram, Place, Routes};
use super::socket::Socket;

/// A datagram that may begin a connection, and the endpoint that connection will have.
pub struct Arrival {
    pub(super) endpoint: Endpoint,
    pub(super) incoming: Incoming,
    pub(super) place: Place,
}

impl Arrival {
    /// Looks at a datagram that belongs to no connection. An answer that needs none is sent here.
    pub fn new(
        (datagram, id): (Datagram, ConnectionId),
        routes: &Rc<Routes>,
        (keys, socket): (&Keys, &Socket),
    ) -> Option<Self> {
        let place = routes.open(id);
        let generator = place.generator();
        let config = keys.endpoint(move || Box::new(generator.clone()));
        let server = Some(Arc::clone(&keys.arrivals));
        let mut endpoint = Endpoint::new(config, server, true, None);
        let mut answer = Vec::new();
        match datagram.enter(&mut endpoint, &mut answer)? {
            DatagramEvent::NewConnection(incoming) => Some(Self {
                endpoint,
                incoming,
                place,
            }),
            DatagramEvent::Response(transmit) => {
                socket.try_send(&transmit, &answer);
                None
            }
            DatagramEvent::ConnectionEvent(..) => None,
        }
    }

    /// Who sent it.
    pub fn remote(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Whether the client may be asked to show that its address is its own.
    pub fn may_retry(&self) -> bool {
        self.incoming.may_retry()
    }

    /// Has it come again with a token.
    pub fn retry(mut self, socket: &Socket) {
        let mut answer = Vec::new();
        if let Ok(transmit) = self.endpoint.retry(self.incoming, &mut answer) {
            socket.try_send(&transmit, &answer);
        }
    }

    /// Refuses it (CONNECTION_REFUSED).
    pub fn refuse(mut self, socket: &Socket) {
        let mut answer = Vec::new();
        let transmit = self.endpoint.refuse(self.incoming, &mut answer);
        socket.try_send(&transmit, &answer);
    }
}

/// Answers a datagram with a short header that belongs to nobody (RFC 9000, section 10.3).
pub struct Stray(Endpoint);

impl Stray {
    /// For the connections of a worker that are gone.
    pub fn new(keys: &Keys, routes: &Routes) -> Self {
        let ids = routes.stray();
        let config = keys.endpoint(move || Box::new(ids.clone()));
        Self(Endpoint::new(config, None, false, None))
    }

    /// Tells its sender so.
    pub fn reset(&mut self, datagram: Datagram, socket: &Socket) {
        let mut answer = Vec::new();
        let entered = datagram.enter(&mut self.0, &mut answer);
        if let Some(DatagramEvent::Response(transmit)) = entered {
            socket.try_send(&transmit, &answer);
        }
    }
}
