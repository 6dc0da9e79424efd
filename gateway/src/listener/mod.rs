//! Sockets that accept clients.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::limit::Slot;
use crate::proxy::Worker;
use crate::reason::Reason;
use crate::telemetry::RefusalRecord;

pub mod quic;
pub mod tcp;

/// Takes a connection in, if `limits.connections` has a place for it. Refusals are counted and logged here.
fn admit(peer: SocketAddr, listener: &str, worker: &Rc<Worker>) -> Option<(Slot, OpenConnection)> {
    let metrics = &worker.shared.metrics;
    metrics.connections.inc();
    let Some(slot) = worker.shared.connections.try_take() else {
        let refused = RefusalRecord::of_connection(Reason::ConnectionLimit, peer, listener);
        worker.refuse(&refused);
        return None;
    };
    metrics.connections_open.inc();
    Some((slot, OpenConnection(Rc::clone(worker))))
}

/// Counts an open connection, also when its task panics.
struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.shared.metrics.connections_open.dec();
    }
}
